"""The dashboard: one page that lists a studio's sessions and shows their timelines.

The API key is typed into the page, kept in its memory and sent to this API alone. The page holds no
data of its own, so it needs no session and no cookie.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from cloud.reports.page import report_script_digests


def dashboard_routes() -> list[Route]:
    """Give the dashboard's routes."""

    async def page(_request: Request) -> Response:
        return HTMLResponse(
            dashboard_page(),
            headers={"Content-Security-Policy": dashboard_policy(), "Cache-Control": "no-cache"},
        )

    async def home(_request: Request) -> Response:
        return RedirectResponse("/dashboard")

    return [Route("/dashboard", page), Route("/", home)]


@cache
def dashboard_page() -> str:
    """Write the page."""
    return Template(_asset("dashboard.html")).substitute(
        css=_asset("dashboard.css"), script=_asset("dashboard.js")
    )


@cache
def dashboard_policy() -> str:
    """Give the page's content-security policy.

    A report is shown in a frame made from a blob, which inherits this policy: so the report's two
    scripts are named here as well.
    """
    own = base64.b64encode(hashlib.sha256(_asset("dashboard.js").encode()).digest()).decode()
    digests = " ".join(f"'sha256-{digest}'" for digest in (own, *report_script_digests()))
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; frame-src blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


@cache
def _asset(name: str) -> str:
    return resources.files("cloud.dashboard").joinpath(name).read_text(encoding="utf-8")
