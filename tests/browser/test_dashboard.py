"""The dashboard in a real browser, on the real API with PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from cloud.api.app import create_app
from cloud.api.revoking import Revoker
from cloud.api.server import build_context, store_readiness
from cloud.config import Bind, Role, load_settings
from cloud.database.connection import Pool
from cloud.streams.redis_sessions import RedisRevocations
from cloud.web.http_server import serve_app
from tests.browser.conftest import Watched, open_tab
from tests.browser.viewings import Hole, store_viewing
from tests.fixtures_postgres import Database
from tests.integration.api_client import ADMIN, Studio, state_with_admin_token

pytestmark = pytest.mark.xdist_group("browser")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """An API that listens, and a studio that is registered there."""

    url: str
    studio: Studio


@pytest.fixture
async def platform(
    database: Database, pool: Pool, redis_url: str, redis_client: Redis, tmp_path: Path
) -> AsyncIterator[Platform]:
    flags = {
        "STATE_DIR": str(state_with_admin_token(tmp_path)),
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
    }
    settings = load_settings(Role.API, environ={}, flags=flags)
    context = build_context(
        settings,
        pool,
        Revoker(RedisRevocations(redis_client)),
        readiness=store_readiness(pool, redis_client),
        # A little ahead: the pool key was made just now.
        now=lambda: datetime.now(UTC) + timedelta(minutes=1),
    )
    async with contextlib.AsyncExitStack() as stack:
        bound = await stack.enter_async_context(
            serve_app(create_app(context), Bind(host="127.0.0.1", port=0), name="API_BIND")
        )
        url = f"http://127.0.0.1:{bound.port}"
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
        made = await client.post("/v1/studios", json={"name": "Lighthouse"}, headers={"X-Admin-Token": ADMIN})
        body = made.json()
        yield Platform(url=url, studio=Studio(client=client, tenant=body["tenant_id"], key=body["api_key"]))


async def ask_for_sessions(tab: Watched, key: str) -> None:
    await tab.page.fill("#key", key)
    await tab.page.get_by_role("button", name="Show sessions").click()


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


async def test_a_studio_reads_its_sessions_and_a_report_and_nothing_goes_elsewhere(
    browser: Any, platform: Platform, pool: Pool
) -> None:
    studio = platform.studio
    study = await studio.launched_study()
    watched = await studio.invite(viewer="viewer-07", study=study)
    await watched.consent()
    await store_viewing(
        pool,
        tenant=studio.tenant,
        session=watched.session,
        start=datetime.now(UTC) - timedelta(seconds=20),
        seconds=10,
        holes=[Hole(first=60, last=149, reason="second_face")],
        ended=False,
    )
    await studio.invite(viewer="viewer-08", study=study)
    tab = await open_tab(browser)
    await tab.page.goto(platform.url + "/")
    assert tab.page.url == platform.url + "/dashboard"
    await ask_for_sessions(tab, studio.key)

    rows = tab.page.locator("#rows tr")
    await rows.first.wait_for()
    invited, live = [await row.inner_text() for row in await rows.all()]
    assert "viewer-08" in invited and "invited" in invited and "not begun" in invited
    assert "viewer-07" in live and "Harbour Lights" in live and "First cut" in live and "sad" in live
    assert not await tab.page.locator("#key").is_visible()
    assert await tab.page.input_value("#key") == ""

    await rows.nth(1).get_by_role("button", name="Timeline so far").click()
    report = tab.page.frame_locator("#frame")
    await report.locator(".main-svg").first.wait_for()
    assert await report.locator("h1").inner_text() == "Harbour Lights"
    text = await report.locator("body").inner_text()
    assert "210 of 300 captured frames scored" in text and "Opted out of sad: not read." in text
    assert "a second face in view" in text and "The session is live" in text
    # The frame is as tall as its page, and cannot reach out of its sandbox.
    await tab.page.wait_for_function("document.getElementById('frame').clientHeight > 1200")
    framed = next(frame for frame in tab.page.frames if frame.parent_frame)
    assert await framed.evaluate("self.origin") == "null"

    async with tab.page.expect_download() as download:
        await tab.page.get_by_role("button", name="CSV, per second").click()
    table = read_table(Path(await (await download.value).path()))
    assert len(table) == 10 and table[3]["gap_reasons"] == "second_face" and table[3]["happy"] == ""

    await tab.page.get_by_role("button", name="Forget the key").click()
    assert await tab.page.locator("#key").is_visible() and await rows.count() == 0
    assert tab.complaints == []
    assert tab.strangers(platform.url + "/", f"blob:{platform.url}/", "data:", "blob:null") == []
    stored = await tab.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert stored == [0, 0, ""]


async def test_a_key_that_is_not_right_is_refused_in_words_and_an_empty_studio_is_told_what_to_do(
    browser: Any, platform: Platform
) -> None:
    tab = await open_tab(browser, scheme="dark", width_px=420)
    await tab.page.goto(platform.url + "/dashboard")
    message = tab.page.get_by_role("alert")
    for wrong in ("wrong", platform.studio.key[:-3] + "xyz", "clé"):
        await ask_for_sessions(tab, wrong)
        await message.filter(has_text="This key is not valid").wait_for()
        assert not await tab.page.locator("#list").is_visible()
        await tab.page.evaluate("document.getElementById('message').textContent = ''")
    # The browser notes the two answers 401 by itself; a policy that was broken would be noted too.
    assert len(tab.complaints) == 2 and all("401" in complaint for complaint in tab.complaints)

    compliance = await platform.studio.make("/v1/keys", {"role": "compliance"})
    await ask_for_sessions(tab, compliance["api_key"])
    await message.filter(has_text="results:read").wait_for()

    await ask_for_sessions(tab, platform.studio.key)
    await tab.page.get_by_text("No viewer has been invited yet").wait_for()
    assert await tab.page.locator("#message").text_content() == ""
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 420


async def test_a_platform_that_does_not_answer_is_said_in_words(browser: Any, platform: Platform) -> None:
    tab = await open_tab(browser)
    await tab.page.goto(platform.url + "/dashboard")
    await tab.page.route("**/v1/**", lambda route: route.abort())
    await ask_for_sessions(tab, platform.studio.key)
    await tab.page.get_by_role("alert").filter(has_text="The platform does not answer").wait_for()
