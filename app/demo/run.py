"""`sizer demo`: the whole performance, from an empty folder to the proof at the end."""

import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from confluent_kafka import KafkaException
from rich.console import Console
from rich.live import Live

from app.broker import BrokerError
from app.demo.accounts import PARTITIONS, SEED
from app.demo.board import Board, News
from app.demo.children import ChildDied
from app.demo.closing import print_closing
from app.demo.market import SECOND, WINDOW_END, WINDOW_START, MarketClock
from app.demo.neighbour import wall_now
from app.demo.stage import WORKERS, Stage, WireFormat
from app.demo.table import Situation, picture, plain_line
from app.demo.watcher import Watcher
from app.replay import verify_topics
from app.settings import Settings

SPEED: Final = 300  # market seconds in a second of the wall
LENGTH: Final = (WINDOW_END - WINDOW_START) / SECOND / SPEED  # seconds of the wall
_KILL_AT: Final = LENGTH / 2
_START_PATIENCE: Final = 90.0  # seconds
_END_PATIENCE: Final = 60.0  # seconds for the last answers and the last positions, behind the market's close
_PROMPT: Final = 0.5  # seconds: what has waited for less is being answered
_READ_SECONDS: Final = 0.05
_TABLE_EVERY: Final = 0.25
_LINE_EVERY: Final = 3.0
_GROUP_EVERY: Final = 0.5
_RATE_OVER: Final = 2.0
_TERMINATED: Final = 128 + signal.SIGTERM
_INTERRUPTED: Final = 128 + signal.SIGINT


class DemoFailed(Exception):  # noqa: N818 - what happened
    """The performance did not go as it must; the message says how."""


class _Terminated(BaseException):
    """SIGTERM: as KeyboardInterrupt, it passes through whatever we are in."""


def run_demo(*, keep: bool, wire_format: WireFormat = "json") -> int:
    """Run the demo; return the exit status: 0 only if every decision was there once and recomputed identically.

    `keep`: leave all running afterwards, until Ctrl-C. `wire_format`: what all records are written in. Whatever
    happens, no process is left behind.
    """
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="sizer-demo-", ignore_cleanup_errors=True) as folder:
        stage = Stage(Path(folder), wire_format)
        try:
            with _termination():
                return _Performance(stage, console, keep=keep).run()
        except KeyboardInterrupt:
            console.print("stopped")
            return _INTERRUPTED
        except _Terminated:
            return _TERMINATED
        except (BrokerError, ChildDied, DemoFailed, KafkaException) as error:
            print(f"sizer: {error}", file=sys.stderr)
            return 1
        finally:
            _deaf_to_signals(stage)


class _Performance:
    """One run, act by act."""

    def __init__(self, stage: Stage, console: Console, *, keep: bool) -> None:
        self._stage = stage
        self._console = console
        self._keep = keep
        self._board = Board()
        self._news: list[tuple[float, News]] = []
        self._live: Live | None = None
        self._shown_at = 0.0
        self._counts: deque[tuple[float, int]] = deque()
        self._clock = MarketClock(0, SPEED)
        self._began = time.monotonic()

    def run(self) -> int:
        """Play all acts; return the exit status."""
        registry = self._stage.registry
        kafka, both = "Kafka (at first its jars are fetched)", "Kafka and Schema Registry (at first both are fetched)"
        self._say(f"starting a real {kafka if registry is None else both}; the venue's dice have seed {SEED}")
        settings = self._stage.start_servers()
        where = "" if registry is None else f", the registry at {registry.url}: all records are Avro"
        self._say(f"Kafka is ready at {settings.bootstrap_servers}{where}")
        self._say("starting two workers, a generator and a venue")
        self._stage.start_processes()
        self._watcher = Watcher(settings)
        try:
            self._await_ready()
            self._say("all are ready: the market opens")
            self._open_market()
            with self._table():
                self._trade()
                self._finish()
            if not self._keep:
                self._stage.stop_processes()
            self._say("reading all topics again and recomputing every decision")
            audit = verify_topics(settings)
            print_closing(self._console, self._board, audit)
            self._say("done")
            if self._keep:
                self._stay(settings)
        finally:
            self._watcher.close()
        return 0 if audit.is_proved else 1

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_PATIENCE
        while not self._stage.is_ready:
            self._stage.check()
            self._board_takes(_GROUP_EVERY)  # nothing yet: a pause in which its consumer connects
            if time.monotonic() > deadline:
                tails = "".join(f"\n{child.name}{child.log_tail()}" for child in self._stage.workers)
                raise DemoFailed(f"the workers were not ready after {_START_PATIENCE:.0f} s{tails}")

    def _open_market(self) -> None:
        self._clock = MarketClock(wall_now(), SPEED)
        self._shown_at = time.monotonic()
        self._stage.open_market(self._clock.wall_start, SPEED)

    def _trade(self) -> None:
        """Let the market run to its close; halfway, kill a worker, and start it again when the other has taken over."""
        victim, survivor = self._stage.workers
        while self._elapsed < _KILL_AT:
            self._step()
        victim.kill()
        killed_at = wall_now()
        self._tell(f"{victim.name} is killed by SIGKILL, in the middle of its work")
        while not self._has_taken_over(killed_at):
            if self._elapsed > LENGTH + _END_PATIENCE:
                raise DemoFailed(f"{survivor.name} did not take over{survivor.log_tail()}")
            self._step()
        seconds = (wall_now() - killed_at) / SECOND
        self._tell(
            f"{survivor.name} answers for all partitions, {seconds:.1f} s after the kill; nothing waits any more"
        )
        victim.restart()
        self._tell(f"{victim.name} is started again")
        asked_at = time.monotonic()
        is_back = False
        while self._elapsed < LENGTH:
            self._step()
            if not is_back and time.monotonic() - asked_at >= _GROUP_EVERY:
                asked_at = time.monotonic()
                is_back = self._stage.group_size == WORKERS
                if is_back:
                    self._tell(f"{victim.name} is back: both share the partitions again")

    def _has_taken_over(self, killed_at: int) -> bool:
        """Every partition was answered after the kill, and no signal waits for long any more."""
        killed_ms = killed_at // 1000
        answered = [self._board.answered_at.get(partition, 0) for partition in range(PARTITIONS)]
        return min(answered) > killed_ms and self._oldest_waiting < _PROMPT

    def _finish(self) -> None:
        """Wait until every signal is answered and every position is closed."""
        self._tell("the market closes: no more signals; the last positions are being closed", kind="DEMO")
        generator = self._stage.neighbours[0]
        while generator.status is None or self._board.waiting or self._board.unfinished_orders:
            if self._elapsed > LENGTH + _END_PATIENCE:
                raise DemoFailed(
                    f"{_END_PATIENCE:.0f} s after the close {len(self._board.waiting)} signals have no answer and "
                    f"{self._board.unfinished_orders} orders are unfinished"
                )
            self._step()
        self._tell("every signal is answered, every position is closed", kind="DEMO")
        self._show()

    def _step(self) -> None:
        """Read what is there, look after the processes, show it from time to time."""
        self._board_takes(_READ_SECONDS)
        done = self._stage.check()
        if done is not None:
            self._tell(done)
        if time.monotonic() - self._shown_at >= (_LINE_EVERY if self._live is None else _TABLE_EVERY):
            self._show()

    def _board_takes(self, timeout: float) -> None:
        for seen in self._watcher.read(timeout):
            self._board.take(seen)
        while self._board.news:
            self._publish(self._board.news.pop(0))
        now = time.monotonic()
        self._counts.append((now, self._board.taken["signals"] + self._board.taken["fills"]))
        while now - self._counts[0][0] > _RATE_OVER:
            self._counts.popleft()

    @property
    def _elapsed(self) -> float:
        return (wall_now() - self._clock.wall_start) / SECOND

    @property
    def _oldest_waiting(self) -> float:
        oldest = min(self._board.waiting.values(), default=None)
        return 0.0 if oldest is None else max(0.0, wall_now() / SECOND - oldest / 1000)

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        (since, before), (until, after) = self._counts[0], self._counts[-1]
        situation = Situation(
            elapsed=self._elapsed,
            length=LENGTH,
            market_time=self._clock.market(wall_now()),
            speed=SPEED,
            workers=[(child.name, None if child.status is not None else child.pid) for child in self._stage.workers],
            rate=(after - before) / (until - since) if until > since else 0.0,
            oldest_waiting=self._oldest_waiting,
        )
        if self._live is None:
            print(plain_line(self._board, situation), flush=True)
        else:
            width, height = self._console.size
            self._live.update(picture(self._board, situation, self._news, width=width, height=height), refresh=True)

    def _tell(self, text: str, *, kind: str = "WORKER") -> None:
        self._publish(News(kind, text))

    def _publish(self, item: News) -> None:
        self._news.append((self._elapsed, item))
        if self._live is None:
            print(f"{self._elapsed:5.1f} s  {item.text}", flush=True)

    @contextmanager
    def _table(self) -> Iterator[None]:
        """Show a live table, if this is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}", soft_wrap=True)

    def _stay(self, settings: Settings) -> None:
        try:
            exports = f"export SIZER_BOOTSTRAP_SERVERS={settings.bootstrap_servers}"
            if settings.schema_registry_url is not None:
                exports += f"\nexport SIZER_SCHEMA_REGISTRY_URL={settings.schema_registry_url}"
            how = _HOW_TO_PLAY.format(exports=exports, python=sys.executable)
            self._console.print(how, soft_wrap=True)
            with self._table():
                while True:
                    self._step()
        except KeyboardInterrupt:
            self._console.print("stopped")


_HOW_TO_PLAY: Final = """
All is still running, until Ctrl-C. Paste this into another terminal and see the portfolio "mine" appear here:

{exports}
{python} - <<'END'
import json, os, time
from confluent_kafka import Producer
producer = Producer({{"bootstrap.servers": os.environ["SIZER_BOOTSTRAP_SERVERS"], "partitioner": "murmur2_random"}})
producer.produce("signals", key="mine", value=json.dumps({{
    "signal_id": str(time.time()), "portfolio_id": "mine", "symbol": "ES", "side": "BUY", "confidence": 0.9,
    "price": "1631.25", "portfolio_value": "100000", "generated_at": time.time_ns() // 1000}}))
producer.flush()
END
"""


@contextmanager
def _termination() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does."""

    def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _deaf_to_signals(stage: Stage) -> None:
    """End everything; an impatient second Ctrl-C must not leave half of it running."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stage.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
