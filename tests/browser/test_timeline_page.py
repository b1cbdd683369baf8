"""The timeline page in a real browser, opened from a file as a studio gets it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from cloud.analytics.traces import FrameTrace
from cloud.reports.page import TimelinePage, render_timeline_page
from cloud.reports.viewers import ViewerTimeline
from cloud.results.changes import Counted, FramesSkipped
from cloud.streams.scoring import ScoredFrames, ScoringModel
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
from privacy.protocol.expressions import Expression
from tests.browser.conftest import open_tab

pytestmark = pytest.mark.xdist_group("browser")
FRAMES = [frame for frame in range(600) if not 150 <= frame < 240 and not 400 <= frame < 405]
GAPS = [
    FramesSkipped(first_frame=150, last_frame=239, segment=0, media_time_ms=5_000, reason="no_face"),
    FramesSkipped(first_frame=400, last_frame=404, segment=0, media_time_ms=13_333, reason="busy_channel"),
]


def viewer(pseudonym: str, *, opted_out: frozenset[Expression] = frozenset()) -> ViewerTimeline:
    frame = np.array(FRAMES, np.int64)
    happy = (127 + 100 * np.sin(frame / 40)).astype(np.uint8)
    probabilities = np.zeros((len(frame), 6), np.uint8)
    probabilities[:, 0], probabilities[:, 5] = happy, 255 - happy
    return ViewerTimeline(
        pseudonym=pseudonym,
        session="11111111-1111-4111-8111-111111111111",
        trace=FrameTrace(
            frame=frame,
            segment=np.zeros(len(frame), np.int32),
            media_time_ms=(frame * 1000 / 30).astype(np.int32),
            probabilities=probabilities,
            confidence=probabilities.max(axis=1),
            attention=np.zeros(len(frame), np.uint8),
            flags=np.zeros(len(frame), np.uint8),
        ),
        gaps=GAPS,
        counters=Counted(captured=600, with_face=510, sent=505, skipped={"no_face": 90, "busy_channel": 5}),
        latency={"classified": [0] * 25 + [505], "committed": [0] * 60 + [505]},
        opted_out=opted_out,
        models=[ScoredFrames(model=installed(), frames=505)],
    )


def installed() -> ScoringModel:
    found = load_manifest(ARTIFACTS_DIR / "expression")
    variant = found.variant("int8")
    return ScoringModel(
        name=found.name, version=found.version, variant=variant.id, sha256=bytes.fromhex(variant.sha256)
    )


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = TimelinePage(
        title="Harbour Lights",
        study="First cut",
        duration_ms=24_000,
        viewers=[viewer("viewer-1"), viewer("viewer-2", opted_out=frozenset({Expression.SAD}))],
        made_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render_timeline_page(page), encoding="utf-8")
    return path


def luminance(colour: str) -> float:
    red, green, blue = (float(part) for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("scheme", "width_px"), [("light", 1200), ("dark", 420)])
async def test_the_page_draws_itself_from_a_file_and_asks_nobody(
    browser: Any, page_file: Path, scheme: Literal["light", "dark"], width_px: int
) -> None:
    tab = await open_tab(browser, scheme=scheme, width_px=width_px)
    await tab.page.goto(page_file.as_uri())
    for chart in ("#timeline-0", "#timeline-1"):
        await tab.page.locator(f"{chart} .main-svg").first.wait_for()
    first, second = tab.page.locator("#timeline-0"), tab.page.locator("#timeline-1")

    # To an expression: its frames, two smoothed runs around the missing seconds, dots. And the gaps' hovers.
    assert await first.locator(".scatterlayer .trace").count() == 6 * (1 + 2 + 1) + 1
    assert await first.locator(".barlayer .trace").count() == 1
    assert await second.locator(".scatterlayer .trace").count() == 5 * (1 + 2 + 1) + 1
    # Two gaps with a reason, and the four seconds after the viewer left.
    assert await first.locator(".shapelayer path").count() == 3
    labels = " ".join(await first.locator(".annotation-text").all_text_contents())
    assert "no face in view" in labels and "nothing received" in labels and "surprised" in labels
    assert "opted out" in " ".join(await second.locator(".annotation-text").all_text_contents())

    paper = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = await tab.page.evaluate("getComputedStyle(document.body).color")
    assert (luminance(paper) > luminance(ink) + 120) is (scheme == "light")
    assert abs(luminance(paper) - luminance(ink)) > 120
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert tab.complaints == []
    assert tab.strangers(page_file.as_uri(), "data:", "blob:") == []


async def test_hovering_tells_the_values_and_the_reason_of_a_gap(browser: Any, page_file: Path) -> None:
    tab = await open_tab(browser)
    await tab.page.goto(page_file.as_uri())
    drag = tab.page.locator("#timeline-0 .nsewdrag").first
    await drag.wait_for()
    box = await drag.bounding_box()

    async def hover_text(second: float) -> str:
        await tab.page.mouse.move(box["x"] + box["width"] * second / 24, box["y"] + box["height"] / 2)
        hover = tab.page.locator("#timeline-0 .hoverlayer")
        await hover.locator("text").first.wait_for()
        return " ".join(await hover.locator("text").all_text_contents())

    over_values = await hover_text(2.5)
    assert "2.5 s into the title" in over_values and "happy" in over_values and "neutral" in over_values
    await tab.page.mouse.move(0, 0)
    assert "no data: no face in view, 90 frames" in await hover_text(6.5)


async def test_a_reader_finds_who_what_why_and_by_which_model(browser: Any, page_file: Path) -> None:
    tab = await open_tab(browser)
    await tab.page.goto(page_file.as_uri())
    text = (await tab.page.locator("body").inner_text()).lower()
    for expected in (
        "harbour lights", "viewer-1", "505 of 600 captured frames scored", "71 % of the title's seconds",
        "network busy", "5.0\u20138.0", "26 ms", "what was on the face, not what was felt", "not what people felt",
        "what read the expressions", "expression 0.", "1,010 frames", "right on",
    ):  # fmt: skip
        assert expected in text, expected
    assert "_" not in text.replace("mini_xception", "")
    table = tab.page.locator("#timeline-0 ~ details").first
    await table.locator("summary").click()
    row = table.locator("tbody tr").nth(6)
    assert (await row.inner_text()).split("\t")[1:] == [""] * 6 + ["0/30", "0", "no face in view"]
