"""What surrounds every request: size limit, security headers, metrics, one log line."""

from __future__ import annotations

import time

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api.problems import ProblemError, problem_response

BODY_MAX_BYTES = 65_536
"""The largest request, a consent with its signature, is below 2 kB."""

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
    """Refuse bodies over `BODY_MAX_BYTES`, whatever Content-Length says."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int = BODY_MAX_BYTES) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared) > self._limit_bytes:
            await self._refuse(scope, receive, send)
            return
        # Small enough to be read whole before anything else looks at it.
        messages: list[Message] = []
        seen = 0
        while not messages or messages[-1].get("more_body", False):
            messages.append(await receive())
            seen += len(messages[-1].get("body", b""))
            if seen > self._limit_bytes:
                await self._refuse(scope, receive, send)
                return

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = ProblemError(413, "too-large", f"A request may have at most {self._limit_bytes} bytes.")
        await problem_response(problem)(scope, receive, send)


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


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_FIXED = _QUIET | {"/", "/dashboard", "/v1/openapi.json"}
