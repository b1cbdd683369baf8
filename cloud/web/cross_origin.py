"""Let pages of named origins be clients: they may call the join routes, and nothing else (protocol rule W17)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

JOIN_PATH = "/v1/join"
PREFLIGHT_MAX_AGE_S = 600


class JoinFromPages:
    """Answer cross-origin calls of the join routes for these origins; everybody else meets no CORS at all.

    No credentials mode is allowed: a call carries the invitation's token itself, and the platform sets no cookie.
    """

    def __init__(self, app: ASGIApp, *, allowed_origins: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed_origins)
        self._with_cors = CORSMiddleware(
            app,
            allow_origins=list(allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
            max_age=PREFLIGHT_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._with_cors if self._is_allowed(scope) else self._app
        await app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        path: str = scope["path"]
        is_join = path == JOIN_PATH or path.startswith(JOIN_PATH + "/")
        return is_join and Headers(scope=scope).get("origin") in self._allowed
