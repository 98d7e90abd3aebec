"""The worker's three pages, on Faust's web server: /livez, /readyz, /metrics. Faust's own pages are not served."""

import asyncio
import errno
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from faust.web import View
from faust.web.drivers import aiohttp as driver
from mode import Service

from app.errors import UserError

if TYPE_CHECKING:
    from app.stream.faust_app import SizerApp

_TICK_SECONDS = 0.5
_FORBIDDEN = (errno.EACCES, errno.EPERM)

_log = structlog.get_logger("sizer")


class _Page(View):
    app: "SizerApp"

    def _answer(self, well: str, ill: str, reason: str | None) -> Any:
        headers = {"Cache-Control": "no-store"}
        if reason is None:
            return self.json({"status": well}, headers=headers)
        return self.json({"status": ill, "reason": reason}, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)


class _Livez(_Page):
    view_name, view_path = "livez", "/livez"

    async def get(self, _: Any) -> Any:
        return self._answer("alive", "not alive", self.app.health.why_not_alive())


class _Readyz(_Page):
    view_name, view_path = "readyz", "/readyz"

    async def get(self, _: Any) -> Any:
        return self._answer("ready", "not ready", self.app.health.why_not_ready())


class _Metrics(_Page):
    view_name, view_path = "metrics", "/metrics"

    async def get(self, request: Any) -> Any:
        body, content_type = await self.app.exposition.write(request.headers.get("Accept", ""))
        return self.bytes(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


class Web(driver.Web):
    """Faust's web server with our pages and no others."""

    app: "SizerApp"
    default_blueprints = production_blueprints = debug_blueprints = optional_blueprints = ()

    def init_server(self) -> None:
        """Add the pages."""
        super().init_server()
        for page in (_Livez, _Readyz, _Metrics):
            self.add_view(page)

    async def start_server(self) -> None:
        """Listen; raises UserError if that cannot be done at this address."""
        settings = self.app.settings
        try:
            await super().start_server()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"SIZER_WEB_PORT={settings.web_port} is taken by another program: set another, or 0"
            elif error.errno in _FORBIDDEN:
                message = f"SIZER_WEB_PORT={settings.web_port} is not for this user: set one from 1024 on, or 0"
            else:
                message = (
                    f"SIZER_WEB_HOST={settings.web_host}: cannot listen there ({error.strerror or error}): set an"
                    " address of this machine, or 0.0.0.0 for all of them"
                )
            raise UserError(message) from None
        _log.info("listening", host=settings.web_host, port=settings.web_port)

    @Service.task
    async def _tick(self) -> None:
        """Find out how late the event loop is, and let time go by for the pulse."""
        while not self.should_stop:
            due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self.app.totals.loop_delay_seconds.add(max(0.0, time.monotonic() - due))
            self.app.pulse.tick(_TICK_SECONDS)
