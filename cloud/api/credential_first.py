"""Routes that check the credential, and what kind of body comes, before they read a byte of it.

FastAPI reads and parses a body before it looks at dependencies, so that whoever has no credential could make the
server wait for a body, or read one. Here the admission that a route depends on comes first; the dependency then finds
it done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from cloud.api.context import ApiContext, context_of
from cloud.api.security import (
    admitted_admin,
    admitted_agent,
    admitted_erasing_key,
    admitted_key,
    admitted_withdrawing_agent,
)
from cloud.web.problems import ProblemError

Admission = Callable[[ApiContext, Request], Awaitable[object]]

_ADMISSIONS: dict[object, Admission] = {
    admitted_admin: lambda context, request: admitted_admin(context, request, None),
    admitted_key: lambda context, request: admitted_key(context, request, None, None),
    admitted_erasing_key: lambda context, request: admitted_erasing_key(context, request, None, None),
    admitted_agent: lambda context, request: admitted_agent(context, request, None),
    admitted_withdrawing_agent: lambda context, request: admitted_withdrawing_agent(context, request, None),
}


class CredentialFirstRoute(APIRoute):
    """A route whose credential is checked before its body is read; one without a credential is as any other."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the admission before what FastAPI does."""
        handle = super().get_route_handler()
        admissions = list(_admissions_of(self.dependant))
        takes_body = self.body_field is not None

        async def admit_first(request: Request) -> Response:
            for admission in admissions:
                await admission(context_of(request), request)
            if takes_body:
                _require_json(request)
            return await handle(request)

        return admit_first


def _require_json(request: Request) -> None:
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type and media_type.strip().lower() != "application/json":
        raise ProblemError(415, "unsupported-media-type", "Send the body as application/json.")


def _admissions_of(dependant: Dependant) -> Iterator[Admission]:
    if dependant.call in _ADMISSIONS:
        yield _ADMISSIONS[dependant.call]
    for inner in dependant.dependencies:
        yield from _admissions_of(inner)
