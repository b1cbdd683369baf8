"""What surrounds every request: limits of size and time, security headers, metrics, one log line."""

from __future__ import annotations

import asyncio
import math
import re
import time

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.web.problems import ProblemError, problem_response

BODY_MAX_BYTES = 65_536
"""The largest request, a consent with its signature, is below 2 kB."""

BODY_S = 15.0
"""How long a body may take from when it is asked for."""

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
}
_HSTS = "max-age=31536000"

_REQUESTS = Counter("countenance_api_requests_total", "Requests.", ["method", "route", "status"])
_SECONDS = Histogram(
    "countenance_api_request_seconds",
    "Time to answer a request.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

log = structlog.get_logger(__name__)


class BodyLimit:
    """Refuse bodies over `BODY_MAX_BYTES`, whatever Content-Length says, and those that take longer than `BODY_S`.

    The body is read when the route asks for it, which is after the credential was checked, and never before.
    """

    def __init__(self, app: ASGIApp, *, limit_bytes: int = BODY_MAX_BYTES, limit_s: float = BODY_S) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            await problem_response(_bad_length())(scope, receive, send)
            return
        if len(declared) > _LENGTH_MAX_DIGITS or int(declared) > self._limit_bytes:
            await problem_response(self._too_large())(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        seen, deadline_s, is_whole = 0, math.inf, False

        async def bounded() -> Message:
            nonlocal seen, deadline_s, is_whole
            if is_whole:
                return await receive()
            deadline_s = min(deadline_s, clock() + self._limit_s)
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            seen += len(message.get("body", b""))
            if seen > self._limit_bytes:
                raise self._too_large()
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, bounded, send)

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413,
            "too-large",
            f"A request may have at most {self._limit_bytes} bytes.",
            headers={"Connection": "close"},
        )


class ReservedPlaces:
    """Serve only what ends something on a connection that has a reserved place (rule H3)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_reserved = scope["type"] == "http" and scope.get("state", {}).get("is_reserved", False)
        if is_reserved and not (scope["method"] == "POST" and _ENDINGS.fullmatch(scope["path"])):
            await problem_response(_no_place())(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Surround:
    """Add security headers, count the request, and log it without addresses or tokens."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        self._headers = {**_HEADERS, **({"Strict-Transport-Security": _HSTS} if is_https else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Content-Security-Policy", API_POLICY)
            await send(message)

        began = time.monotonic()
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            seconds = time.monotonic() - began
            # The template, never the path: a path may hold an id, a query worse.
            fixed = scope["path"] if scope["path"] in _FIXED else "unmatched"
            route = getattr(scope.get("route"), "path", fixed)
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            _REQUESTS.labels(method, route, str(status)).inc()
            _SECONDS.labels(route).observe(seconds)
            if route not in _QUIET:
                log.info("request", method=method, route=route, status=status, took_ms=round(1e3 * seconds))


def _bad_length() -> ProblemError:
    return ProblemError(
        400, "bad-request", "Content-Length is not a whole number.", headers={"Connection": "close"}
    )


def _too_slow() -> ProblemError:
    return ProblemError(
        408, "too-slow", "The request took too long to arrive.", headers={"Connection": "close"}
    )


def _no_place() -> ProblemError:
    return ProblemError(
        503,
        "busy",
        "Too many requests are being served; try again.",
        headers={"Retry-After": "1", "Connection": "close"},
    )


_LENGTH_MAX_DIGITS = 10
_ENDINGS = re.compile(r"/v1/join/withdraw|/v1/sessions/[^/]+/erase")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_FIXED = _QUIET | {"/", "/dashboard", "/v1/openapi.json"}
