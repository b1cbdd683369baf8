"""Consent ends the street at once, and no plaintext crop is found outside the agent and the classify worker."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.e2e.street_platform import StreetPlatform, count_plain_crops, files_under, read_memory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def plain_crops_in_memory(pid: int) -> int:
    try:
        return count_plain_crops(read_memory(pid))
    except (PermissionError, FileNotFoundError):
        pytest.skip("this user may not read other processes' memory")


@pytest.mark.parametrize("colour", [True, False])
def test_the_canary_is_seen_in_every_crop_the_agents_encoder_makes(colour: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3) if colour else (96, 96), np.uint8)
    encoded = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    assert count_plain_crops(b"before" + encoded + b"after") == 1


def test_no_plaintext_crop_leaves_the_agent_except_to_the_classify_worker(
    street: StreetPlatform, performed_film: Path
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=15.0)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 90)
    assert plain_crops_in_memory(agent.pid) > 0, "the search finds nothing where crops must be"
    pids = street.platform.pids
    for name in ("ingest", "aggregate", "api", "lifecycle", "redis", "postgres"):
        assert plain_crops_in_memory(pids[name]) == 0, name
    street.finish(agent)
    state = street.platform.state_dir
    for path in files_under(state / "postgres") + files_under(state / "logs") + files_under(state / "redis"):
        assert count_plain_crops(path.read_bytes()) == 0, path.name


def test_withdrawing_while_watching_stores_no_further_frame_and_deletes_the_rest(
    street: StreetPlatform, performed_film: Path
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=60.0)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 60)
    began = time.monotonic()
    street.withdraw(viewer)
    assert len(street.stored_frames(viewer.seat)) == 0 or street.wait_until(
        lambda: len(street.stored_frames(viewer.seat)) == 0, timeout_s=20
    )
    assert street.status_of(agent, timeout_s=20) == 4
    assert time.monotonic() - began < 30, "the agent went on watching"
    time.sleep(3)
    assert len(street.stored_frames(viewer.seat)) == 0
    kinds = street.rows(
        "SELECT kind FROM consent_event WHERE session_id = %(session)s ORDER BY at", viewer.seat
    )
    assert kinds[-1][0] == "withdrawn"
