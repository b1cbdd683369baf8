"""A client in JavaScript, written from the documents, speaks to a real platform from Chromium's own WebRTC stack."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.street_platform import StreetPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FRAMES = 90
EXIF = "[255, 225, 0, 16, 69, 120, 105, 102, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"
WITH_EXIF = f"(jpeg) => Uint8Array.from([255, 216, ...{EXIF}, ...jpeg.subarray(2)])"


async def invited(platform: StreetPlatform) -> str:
    viewer = await asyncio.to_thread(platform.invited_viewer, Path("page"))
    return viewer.seat.invite


async def view(page: Any, invite: str, options: str) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(f"(invite) => view({{invite, {options}}})", invite)
    return found


async def test_the_client_computes_every_vector(page: Any) -> None:
    checked = await page.evaluate("checkVectors('/vectors')")
    assert len(checked) == len(set(checked)) > 40
    assert {"HPKE blob", "device signature", "envelope of frame 100", "receipt", "stripped JPEG"} <= set(
        checked
    )


@pytest.mark.parametrize("strip", ["false", "true"], ids=["as the canvas writes it", "stripped"])
async def test_every_crop_of_a_canvas_is_acknowledged(
    platform: StreetPlatform, page: Any, strip: str
) -> None:
    invite = await invited(platform)
    report = await view(page, invite, f"frames: {FRAMES}, fps: 30, strip: {strip}")
    assert report["captured"] == FRAMES
    assert (report["acked"], report["sent"], report["skipped"]) == (FRAMES, FRAMES, {})
    assert report["refused"] == {}


async def test_crops_that_are_refused_are_told_by_reason(platform: StreetPlatform, page: Any) -> None:
    told = "({refused}) => refused.content >= 30"
    report = await view(
        page, await invited(platform), f"frames: 30, fps: 30, spoil: {WITH_EXIF}, isEnough: {told}"
    )
    assert (report["sent"], report["acked"]) == (30, 0)
    # repaired frames are refused again, and count again
    assert set(report["refused"]) == {"content"}
    assert report["refused"]["content"] >= 30


async def test_a_second_epoch_takes_over_and_no_crop_is_lost(platform: StreetPlatform, page: Any) -> None:
    report = await view(page, await invited(platform), "frames: 40, fps: 30, moveAt: 20")
    assert (report["sent"], report["acked"], report["refused"]) == (40, 40, {})


async def test_a_withdrawal_from_the_page_ends_in_a_signed_proof(platform: StreetPlatform, page: Any) -> None:
    report = await view(page, await invited(platform), "frames: 10, fps: 30, withdraw: true")
    assert report["deletion"]["session"] == report["session"]
    assert report["deletion"]["key_destroyed"] is True
    assert all(after == 0 for _, after in report["deletion"]["counts"].values())


async def test_a_page_of_another_origin_is_not_let_in(
    platform: StreetPlatform, page: Any, page_origin: str, complaints: list[str]
) -> None:
    invite = await invited(platform)
    await page.goto(page_origin.replace("127.0.0.1", "localhost"))
    await page.wait_for_function("() => Boolean(window.view)")
    found = await page.evaluate(
        "(invite) => view({invite, frames: 1, fps: 30}).then(() => 'let in', (error) => error.name)", invite
    )
    assert found == "TypeError"
    assert "blocked by CORS policy" in complaints[0]
    complaints.clear()
