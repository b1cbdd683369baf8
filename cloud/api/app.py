"""The FastAPI application, assembled from its routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from cloud.api.context import ApiContext
from cloud.api.openapi import describe
from cloud.api.routes import join, models, privacy, results, sessions, studies, studios
from cloud.dashboard.pages import dashboard_routes
from cloud.observability import probe_routes
from cloud.web.cross_origin import JoinFromPages
from cloud.web.middleware import BodyLimit, ReservedPlaces, Surround
from cloud.web.problems import add_problem_handlers

API_VERSION = "1"

_DESCRIPTION = """\
Second-by-second audience expression timelines from sealed face crops.

The API carries accounts, studies, consent and numbers; no face, sealed or not, ever passes through it.
Values describe the expression a face shows, never what its owner feels. Errors are
`application/problem+json` with a stable `type`.
"""


class _DescribedApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API once; the routes do not change."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self, self.state.context.policy)
        return self.openapi_schema


def create_app(context: ApiContext) -> ASGIApp:
    """Assemble the application.

    Args:
        context: everything that the routes reach.
    """
    app = _DescribedApp(
        title="Countenance",
        version=API_VERSION,
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        # A redirect would be made from the Host header, which anybody can write.
        redirect_slashes=False,
        routes=[*probe_routes(context.readiness), *dashboard_routes()],
    )
    app.state.context = context
    modules = (studios, studies, sessions, results, models, join, privacy)
    for module in modules:
        app.include_router(module.router)
    own = [*app.routes, *(route for module in modules for route in module.router.routes)]
    add_problem_handlers(app, allowed_methods=lambda path: _allowed_methods(own, path))
    is_https = context.settings.public_url.startswith("https://")
    # Outside the reserved places, so that a page's preflight of a withdrawal is answered there too.
    with_pages = JoinFromPages(
        ReservedPlaces(BodyLimit(app)), allowed_origins=context.settings.allowed_origins
    )
    return Surround(with_pages, is_https=is_https)


def _allowed_methods(routes: Sequence[BaseRoute], path: str) -> set[str]:
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.path_regex.match(path)
        for method in route.methods or ()
    }
