"""uvicorn's HTTP protocol with limits in time and number that uvicorn itself does not have (ADR 0116).

Rules:

H4  A request's head is whole within `head_s` of the connection's (or, on a connection kept open, the request's) first
    moment, its body within `body_s` of the head, however slowly bytes trickle in meanwhile. A connection kept open
    between two requests ends after `idle_s`.
H5  Whoever does not read an answer loses the connection after `write_s` in which the buffer did not drain.
H6  Where an answer was given before the body was read, the rest of the body is thrown away for `linger_s` at most.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud.web.connections import ConnectionTable, Standing, source_of
from cloud.web.problem_json import MEDIA_TYPE, problem_document

CLOSING_S = 2.0
LOG_EVERY_S = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a peer may take, in seconds (H4 to H6)."""

    head_s: float = 10.0
    body_s: float = 15.0
    idle_s: float = 15.0
    write_s: float = 20.0
    linger_s: float = 2.0


class GuardedConfig(uvicorn.Config):
    """A server's configuration with the limits of its connections."""

    def __init__(self, app: Any, *, table: ConnectionTable, patience: Patience, **options: Any) -> None:
        super().__init__(app, http=GuardedHttp, timeout_keep_alive=round(patience.idle_s), **options)
        self.table = table
        self.patience = patience
        self.given_up = _GivenUp()


class _Stage(Enum):
    HEAD = auto()
    IDLE = auto()
    BODY = auto()
    ANSWERING = auto()
    WRITING = auto()
    LINGERING = auto()


_STANDING = {
    _Stage.HEAD: Standing.WAITING,
    _Stage.IDLE: Standing.WAITING,
    _Stage.BODY: Standing.WAITING,
    _Stage.LINGERING: Standing.WAITING,
    _Stage.ANSWERING: Standing.ANSWERING,
    _Stage.WRITING: Standing.STALLED,
}


class GuardedHttp(H11Protocol):
    """One connection."""

    config: GuardedConfig

    def __init__(self, config: GuardedConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self._patience = config.patience
        self._stage: _Stage | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Find a place for the connection, at the cost of another if need be."""
        super().connection_made(transport)
        source = source_of(self.client[0] if self.client else None)
        admission = self.config.table.admit(self, source)
        if isinstance(admission.closed, GuardedHttp):
            admission.closed.give_up()
        if not admission.is_admitted:
            self.give_up()
            return
        self.app_state = {**self.app_state, "is_reserved": admission.is_reserved}
        self._enter(_Stage.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free its place."""
        self._stop_timer()
        self.config.table.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and see how far the request is."""
        super().data_received(data)
        self._settle()

    def on_response_complete(self) -> None:
        """Note that an answer is written."""
        super().on_response_complete()
        self._settle()

    def pause_writing(self) -> None:
        """The peer does not read: its time runs (H5)."""
        super().pause_writing()
        self._enter(_Stage.WRITING)

    def resume_writing(self) -> None:
        """The peer has read."""
        super().resume_writing()
        self._stage = None
        self._settle()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection on which nothing happened; what it did not read goes with it soon after."""
        super().timeout_keep_alive_handler()
        self._arm(CLOSING_S)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, "bad-request", "This is not a request in HTTP/1.1.")

    def give_up(self) -> None:
        """Close at once, for the sake of another connection."""
        self.config.given_up.count(self.loop.time())
        self._stop_timer()
        self.transport.abort()

    def _settle(self) -> None:
        if self._stage is _Stage.WRITING:
            return
        if self.transport.is_closing():
            self._enter(_Stage.WRITING)
        else:
            self._enter(self._seen_stage())

    def _seen_stage(self) -> _Stage:
        is_sending = self.conn.their_state is h11.SEND_BODY
        if self.cycle is not None and not self.cycle.response_complete:
            return _Stage.BODY if is_sending else _Stage.ANSWERING
        if is_sending:
            return _Stage.LINGERING
        return _Stage.HEAD if self.cycle is None or self.conn.trailing_data[0] else _Stage.IDLE

    def _enter(self, stage: _Stage) -> None:
        if stage is self._stage:
            return
        self._stage = stage
        self.config.table.stands(self, _STANDING[stage])
        self._stop_timer()
        patience = self._patience
        allowed_s = {
            _Stage.HEAD: patience.head_s,
            # The application refuses a slow body itself; this is for one that never asks for it.
            _Stage.BODY: patience.body_s + CLOSING_S,
            _Stage.IDLE: patience.idle_s + CLOSING_S,
            _Stage.WRITING: patience.write_s,
            _Stage.LINGERING: patience.linger_s,
        }.get(stage)
        if allowed_s is not None:
            self._arm(allowed_s)

    def _arm(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if self._stage is _Stage.HEAD and self.conn.trailing_data[0] and not self.transport.is_closing():
            self._refuse(408, "too-slow", "The request took too long to arrive.")
            self._arm(CLOSING_S)
        else:
            self.transport.abort()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = json.dumps(problem_document(status, code, detail)).encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _GivenUp:
    """Counts connections given up, and says so once in a while: under a flood a line for each would be another."""

    def __init__(self) -> None:
        self._count = 0
        self._said_at_s = float("-inf")

    def count(self, now_s: float) -> None:
        self._count += 1
        if now_s - self._said_at_s >= LOG_EVERY_S:
            log.warning("connections were closed to make room", count=self._count)
            self._count, self._said_at_s = 0, now_s
