"""A page server, a browser, and a platform that lets the page be a client."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.e2e.street_platform import StreetPlatform

playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors" / "interop"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    # a machine without a network still has itself to talk to
    "--allow-loopback-in-peer-connection",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("interop"))


class _Pages(http.server.SimpleHTTPRequestHandler):
    extensions_map: ClassVar = {".js": "text/javascript", ".html": "text/html", ".json": "application/json"}

    def translate_path(self, path: str) -> str:
        name = path.partition("?")[0].lstrip("/") or "index.html"
        folder, _, file = name.rpartition("/")
        return str((VECTORS if folder == "vectors" else HERE) / Path(file).name)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="session")
def page_origin() -> Iterator[str]:
    """The origin that serves the client's page; not the platform's."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def chromium() -> str:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    return CHROMIUM


@pytest.fixture(scope="session")
def platform(
    tmp_path_factory: pytest.TempPathFactory, page_origin: str, chromium: str
) -> Iterator[StreetPlatform]:
    del chromium  # without it there is nothing to start a platform for
    platform = StreetPlatform(
        tmp_path_factory.mktemp("interop"), environment={"COUNTENANCE_ALLOWED_ORIGINS": page_origin}
    )
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture
def complaints() -> list[str]:
    """What the page's console says; what is left of it at the end fails the test."""
    return []


@pytest.fixture
async def page(chromium: str, page_origin: str, complaints: list[str]) -> AsyncIterator[playwright_api.Page]:
    """The client's page, with its functions on `window`."""
    async with playwright_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(page_origin)
        await page.wait_for_function("() => Boolean(window.view && window.checkVectors)")
        yield page
        await browser.close()
    assert complaints == []
