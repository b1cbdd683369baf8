"""A real browser with a fresh profile, watched for complaints and for requests to anybody else."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import pytest

playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
Browser, Page = playwright_api.Browser, playwright_api.Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(kw_only=True)
class Watched:
    """One tab, and what went on in it.

    Attributes:
        page: the tab.
        complaints: errors and warnings on its console, and uncaught exceptions.
        requests: every URL that it asked for.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def strangers(self, *allowed: str) -> list[str]:
        return [url for url in self.requests if not url.startswith(allowed)]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    async with playwright_api.async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET_ARGUMENTS)
        yield opened
        await opened.close()


async def open_tab(
    browser: Browser, *, scheme: Literal["light", "dark"] = "light", width_px: int = 1200
) -> Watched:
    """Open a tab in a context of its own."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width_px, "height": 900}, accept_downloads=True
    )
    context.set_default_timeout(20_000)
    watched = Watched(page=await context.new_page())
    watched.page.on(
        "console",
        lambda message: (
            watched.complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    return watched
