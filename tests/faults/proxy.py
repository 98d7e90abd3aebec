"""A network that can be spoilt: a TCP proxy for each broker, in a thread of its own."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from app.broker.ports import HOST

_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 seconds: closing sends RST."""


class Weather(NamedTuple):
    """How bytes are carried. `up`: from the client to the broker."""

    delay: float = 0.0
    """Seconds added to each piece, each way."""
    bytes_per_second: float | None = None
    """Each way and connection; None: as fast as it goes."""
    carries_up: bool = True
    carries_down: bool = True
    """Where it does not, bytes wait and no connection ends: what a cable does that was pulled out."""


FAIR = Weather()


class Network:
    """Proxies from some local ports to others."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        """`ports`: from the port that clients connect to, to the broker's."""
        self._ports = ports
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._weather = FAIR
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Begin to carry."""
        self._thread.start()
        self._call(self._open())

    def close(self) -> None:
        """End all connections and listen no more."""
        if self._thread.is_alive():
            self._call(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def become(self, weather: Weather) -> None:
        """Carry like this from now on, on open connections too; what was held back goes on its way."""
        self._call(self._become(weather))

    def reset(self) -> None:
        """End all connections by RST; new ones are welcome."""
        self._call(self._reset())

    def _call(self, task: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(task, self._loop).result(10)

    async def _open(self) -> None:
        for port, target in self._ports.items():

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target) -> None:
                await self._serve(reader, writer, target)

            self._servers.append(await asyncio.start_server(serve, HOST, port))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._reset()

    async def _become(self, weather: Weather) -> None:
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()

    async def _reset(self) -> None:
        for pair in self._connections:
            for writer in pair:
                sock = writer.get_extra_info("socket")
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, there_writer)
        self._connections.add(pair)
        ways = {
            asyncio.ensure_future(self._carry(reader, there_writer, is_up=True)),
            asyncio.ensure_future(self._carry(there_reader, writer, is_up=False)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(pair)
            for way in ways:
                way.cancel()
            for side in pair:
                side.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(_BYTES):
                while not (self._weather.carries_up if is_up else self._weather.carries_down):
                    await self._changed.wait()
                weather = self._weather
                rate = weather.bytes_per_second
                await asyncio.sleep(weather.delay + (0 if rate is None else len(data) / rate))
                writer.write(data)
                await writer.drain()
