"""Consent ends the street at once, and no plaintext crop is found outside the agent and the classify worker."""

from __future__ import annotations

import base64
import contextlib
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
import psycopg
import pytest
import redis

from cloud.keys.platform_keys import load_signing_public_key
from cloud.results.slots import SLOT_BYTES
from privacy.governance.erasure import verify_deletion_receipt
from tests.e2e.replay import crop_of, watermark
from tests.e2e.street_platform import (
    StreetPlatform,
    count_marks,
    count_plain_crops,
    read_memory,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def plain_crops_in_memory(pid: int) -> int:
    try:
        return count_plain_crops(read_memory(pid))
    except (PermissionError, FileNotFoundError):
        pytest.skip("this user may not read other processes' memory")


def marks_in_memory(pid: int) -> int:
    try:
        return count_marks(read_memory(pid), watermark())
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
    for path, content in street.files():
        assert count_plain_crops(content) == 0, path.name


@pytest.mark.parametrize("shift", range(7))
def test_the_canary_is_seen_however_a_raw_crop_would_be_spelled(shift: int) -> None:
    crop = bytes(shift) + crop_of(5, "raw").content
    for spelled in (crop, crop.hex().encode(), repr(crop).encode(), base64.b64encode(crop)):
        assert count_marks(b"before" + spelled + b"after", watermark()) >= 2
    assert count_marks(np.random.default_rng(2).bytes(1 << 20), watermark()) == 0


def test_no_raw_crop_is_found_in_any_process_or_file_of_the_platform(street: StreetPlatform) -> None:
    viewer = street.consented_viewer(Path("replay"))
    agent = street.start_replay(viewer, frames=18_000, fps=30, kind="raw")
    street.stored_until(viewer.seat, 60)
    query = "SELECT slots FROM frame_pack WHERE session_id = %(session)s"
    pack = bytes(street.rows(query, viewer.seat)[0][0])
    assert marks_in_memory(agent.pid) > 0, "the search finds nothing where crops must be"
    records = [
        pack[at : at + SLOT_BYTES]
        for at in range(0, len(pack), SLOT_BYTES)
        if any(pack[at : at + SLOT_BYTES])
    ]
    pids = street.platform.pids
    for name in ("ingest", "aggregate", "api", "lifecycle", "redis", "postgres"):
        assert marks_in_memory(pids[name]) == 0, name
    for backend in psutil.Process(pids["postgres"]).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            content = read_memory(backend.pid, is_shared_left_out=True)
            assert count_marks(content, watermark()) == 0, backend.name()
    assert not agent.has_ended, "no frame was on its way while the search went on"
    street.call(agent.stop())
    found_in_wal = 0
    for path, content in street.files():
        assert count_marks(content, watermark()) == 0, path.name
        found_in_wal += "pg_wal" in path.parts and any(record in content for record in records)
    assert found_in_wal, "the search does not even find stored records in what PostgreSQL writes ahead"


def test_when_crops_are_scored_no_copy_of_any_is_left_in_the_classify_worker(street: StreetPlatform) -> None:
    viewer = street.consented_viewer(Path("replay"))
    agent = street.start_replay(viewer, frames=18_000, fps=30, kind="raw")
    street.stored_until(viewer.seat, 150)
    assert marks_in_memory(agent.pid) > 0, "the search finds nothing where crops must be"
    street.call(agent.stop())
    time.sleep(1)
    assert marks_in_memory(street.platform.pids["classify"]) == 0


def test_withdrawing_while_watching_stores_no_further_frame_and_deletes_the_rest(
    street: StreetPlatform, performed_film: Path
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=60.0)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 60)
    began = time.monotonic()
    street.withdraw(viewer)
    assert len(street.kept_frames(viewer.seat)) == 0 or street.wait_until(
        lambda: len(street.kept_frames(viewer.seat)) == 0, timeout_s=20
    )
    assert street.status_of(agent, timeout_s=20) == 4
    assert time.monotonic() - began < 30, "the agent went on watching"
    time.sleep(3)
    assert len(street.kept_frames(viewer.seat)) == 0
    kinds = street.rows(
        "SELECT kind FROM consent_event WHERE session_id = %(session)s ORDER BY at", viewer.seat
    )
    assert kinds[-1][0] == "withdrawn"


def test_a_withdrawal_stops_the_stream_although_the_row_is_held_and_redis_has_no_memory_left(
    street: StreetPlatform, performed_film: Path
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=60.0)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 30)
    token = viewer.seat.invite.partition("#")[2]
    with (
        psycopg.connect(street.platform.postgres_urls.app_url) as other,
        redis.Redis.from_url(street.platform.redis_url) as server,
    ):
        other.execute("SELECT set_config('app.tenant', %s, false)", (token.partition(".")[0],))
        other.execute("SELECT 1 FROM session WHERE id = %s FOR UPDATE", (viewer.seat.session_id,))
        before = server.config_get("maxmemory")["maxmemory"]
        server.config_set("maxmemory", "1")
        try:
            answer = httpx.post(
                f"{street.platform.api_url}/v1/join/withdraw",
                json={},
                headers={"Authorization": f"Bearer {token}"},
                timeout=5.0,
            )
            assert (answer.status_code, answer.json()["stream"]) == (202, "stopped")
            assert street.status_of(agent, timeout_s=10) == 4
        finally:
            server.config_set("maxmemory", before)
        other.rollback()
    state = "SELECT state FROM session WHERE id = %(session)s"
    assert street.wait_until(lambda: street.rows(state, viewer.seat) == [("erased",)], timeout_s=30)
    receipt = httpx.get(
        f"{street.platform.api_url}/v1/join/deletion-receipt", headers={"Authorization": f"Bearer {token}"}
    )
    assert receipt.status_code == 200 and receipt.json()["receipt"]


def test_a_viewer_who_withdraws_while_watching_gets_the_receipt_of_the_deletion(
    street: StreetPlatform, performed_film: Path
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=60.0)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 30)
    street.withdraw(viewer)
    assert street.status_of(agent, timeout_s=20) == 4
    (kept,) = viewer.home.glob("*.deletion")
    key = load_signing_public_key(street.platform.state_dir)
    assert str(verify_deletion_receipt(kept.read_text(), key).session) == viewer.seat.session_id
