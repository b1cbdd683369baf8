"""Health, readiness, metrics and logs of a process.

Logs are structured: a constant event, facts as fields. What may carry a face, a key or a token is
removed by `privacy.redaction` before a line is written, and an exception is logged as its type and
place only, because its text may quote a payload.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import prometheus_client
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cloud.config import Bind, LogFormat, Settings
from cloud.web.connections import ConnectionLimits
from cloud.web.http_server import serve_app
from privacy.redaction import redact_event

Readiness = Callable[[], Awaitable[Mapping[str, str]]]
"""Checks of a process by name, each `OK` or one line that says what is wrong."""

OK = "ok"

OPS_CONNECTIONS = ConnectionLimits(total=64, per_source=32, reserved=8)
"""A prober and a scraper or two need few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsServer:
    """A listening ops endpoint.

    Attributes:
        bind: where it really listens (the port is known even when 0 was asked for).
    """

    bind: Bind


@contextlib.asynccontextmanager
async def serve_ops(bind: Bind, *, readiness: Readiness) -> AsyncIterator[OpsServer]:
    """Serve /healthz, /readyz and /metrics in this loop for as long as the context is open.

    Args:
        bind: where to listen.
        readiness: awaited on every /readyz; ready means that every value is `OK`.

    Raises:
        ConfigError: the address cannot be bound.
    """
    async with serve_app(ops_app(readiness), bind, name="METRICS_BIND", limits=OPS_CONNECTIONS) as bound:
        yield OpsServer(bind=bound)


def probe_routes(readiness: Readiness) -> list[Route]:
    """Give /healthz and /readyz, for an application that the public reaches as well: they tell nothing but that."""
    ask = _Shared(readiness).ask

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": OK})

    async def readyz(_request: Request) -> Response:
        checks = dict(await ask())
        ready = all(state == OK for state in checks.values())
        return JSONResponse({"ready": ready, "checks": checks}, status_code=200 if ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def ops_app(readiness: Readiness) -> ASGIApp:
    """Build the application that serves nothing but health, readiness and metrics."""
    # When a series was first seen is of no use here, and doubles what is scraped.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

    async def metrics(_request: Request) -> Response:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return Starlette(routes=[*probe_routes(readiness), Route("/metrics", metrics)])


class _Shared:
    """Lets everybody who asks for readiness at one time share one check: it writes, and a flood must not write more."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._running: asyncio.Task[Mapping[str, str]] | None = None

    async def ask(self) -> Mapping[str, str]:
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._check())
        # Shielded: who goes away does not take the answer from the others.
        return await asyncio.shield(self._running)

    async def _check(self) -> Mapping[str, str]:
        return await self._readiness()


def configure_logging(settings: Settings) -> None:
    """Send structlog's and the standard library's records to stderr, redacted."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_exception,
        redact_event,
    ]
    final: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        # Not cached: whoever configures anew (a test, a restarted server) must reach loggers already used.
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=str(settings.role))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryFormatter([*shared, final]))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _name_exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its type and the place it came from; its text may quote a payload."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["where"] = _innermost(error.__traceback__)
    return event


def _innermost(trace: TracebackType | None) -> str:
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{trace.tb_frame.f_globals.get('__name__', '?')}.{code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


class _LibraryFormatter(logging.Formatter):
    """Writes a library's record as its template without arguments: those may hold addresses or SDP."""

    def __init__(self, processors: Sequence[structlog.typing.Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        event: Any = {
            "event": str(record.msg) if record.args else "library message",
            "logger": record.name,
            "exc_info": record.exc_info,
        }
        for processor in self._processors:
            event = processor(None, record.levelname.lower(), event)
        return str(event)
