"""The same crops through a quiet run and through one in which everything fails: the same records, or a flagged gap.

What is compared is each stored frame's record, byte by byte, less the two facts that may differ by their nature: how
long the result took (two bytes), and whether the envelope was a repeat (one bit).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.demo.agents import Agent
from cloud.demo.studio import Seat
from cloud.results.frames import FRAME_DTYPE
from cloud.streams.entries import FLAG_LATE
from privacy.protocol.limits import FRAMES_PER_PACK
from tests.e2e.street_platform import StreetPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FRAMES = 510
QUIET_FPS = 75
OUTAGE_S = 3.0
SETTLE_S = 0.4

Records = Mapping[int, bytes]


def comparable(frames: Any) -> list[bytes]:
    """Give the bytes of records (`FRAME_DTYPE`) without what may differ between two runs of the same crops."""
    blanked = frames.copy()
    blanked["classified_delay"] = 0
    blanked["flags"] &= 0xFF ^ FLAG_LATE
    return [frame.tobytes() for frame in blanked]


def stored_records(street: StreetPlatform, seat: Seat) -> Records:
    """Read every stored record of a session, by frame."""
    frames = street.kept_frames(seat)
    numbers = frames["frame"].tolist()
    assert len(set(numbers)) == len(numbers), "a frame is stored twice"
    return dict(zip(numbers, comparable(frames), strict=True))


def settled(street: StreetPlatform, agent: Agent) -> Records:
    """Wait for the agent's end, and for its session to be closed with counts that stand still."""
    assert street.status_of(agent, timeout_s=60) == 0
    seat = agent.viewer.seat
    records: Records = {}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        before, records = records, stored_records(street, seat)
        if len(before) == len(records) and street.call(street.studio.session(seat))["closed_at"]:
            return records
        time.sleep(SETTLE_S)
    raise AssertionError("the session did not settle")


def flagged_frames(street: StreetPlatform, seat: Seat) -> set[int]:
    """List the frames that lie in a flagged gap."""
    query = "SELECT first_frame, last_frame FROM session_gap WHERE session_id = %(session)s"
    return {n for first, last in street.rows(query, seat) for n in range(first, last + 1)}


def wait_for_frame(street: StreetPlatform, seat: Seat, beyond: int) -> None:
    """Wait until a frame beyond this one is stored: the street works again."""
    query = "SELECT max(bucket) FROM frame_pack WHERE session_id = %(session)s"

    def is_there() -> bool:
        (newest,) = street.rows(query, seat)[0]
        return newest is not None and newest * FRAMES_PER_PACK >= beyond

    assert street.wait_until(is_there, timeout_s=15), f"nothing beyond frame {beyond} was stored"


def outage(street: StreetPlatform, server: str) -> None:
    street.call(street.platform.stop_server(server))
    time.sleep(OUTAGE_S)
    street.call(street.platform.start_server(server))


def disturb(street: StreetPlatform, seat: Seat) -> None:
    """Kill both workers and Redis, and take each server away, one after another while frames flow."""
    children = street.platform.children
    wait_for_frame(street, seat, 30)
    children["classify"].kill()
    wait_for_frame(street, seat, 90)
    children["aggregate"].kill()
    wait_for_frame(street, seat, 150)
    os.kill(street.platform.pids["redis"], signal.SIGKILL)
    wait_for_frame(street, seat, 210)
    outage(street, "redis")
    outage(street, "postgres")


def differing(records: Records, reference: Records) -> list[int]:
    """List the frames whose record is another one."""
    return [frame for frame, record in records.items() if record != reference[frame]]


def test_every_record_of_a_disturbed_run_equals_that_of_a_quiet_one_or_lies_in_a_flagged_gap(
    street: StreetPlatform,
) -> None:
    quiet = street.consented_viewer(Path("replay"))
    reference = settled(street, street.start_replay(quiet, frames=FRAMES, fps=QUIET_FPS, is_patient=True))
    assert sorted(reference) == list(range(FRAMES)), "the quiet run is no reference"
    assert len(set(reference.values())) == FRAMES, "frames that look alike would hide a swap"

    viewer = street.consented_viewer(Path("replay"))
    restarts = dict(street.platform.restarts)
    agent = street.start_replay(viewer, frames=FRAMES, fps=30)
    disturb(street, viewer.seat)
    records = settled(street, agent)
    for victim in ("classify", "aggregate"):
        assert street.platform.restarts[victim] > restarts[victim]
    assert differing(records, reference) == []
    missing = set(range(FRAMES)) - set(records)
    assert missing <= flagged_frames(street, viewer.seat), "frames are missing without a word"
    assert len(records) >= FRAMES // 2
    summary: dict[str, Any] = street.call(street.studio.summary(viewer.seat))
    assert summary["duplicates"] == 0
    assert sum(model["frames"] for model in summary["models"]) == len(records), (
        "no model is named, or one too often"
    )
    assert summary["frames"]["captured"] == FRAMES
    assert summary["frames"]["lost_unflagged"] == 0


def test_the_comparison_sees_one_changed_byte_and_one_swapped_frame() -> None:
    frames = np.frombuffer(bytes(range(2 * FRAME_DTYPE.itemsize)), FRAME_DTYPE)
    reference = dict(enumerate(comparable(frames)))
    offset = FRAME_DTYPE.fields["classified_delay"][1]
    for at in range(FRAME_DTYPE.itemsize):
        changed = bytearray(frames[:1].tobytes())
        changed[at] ^= 0x80
        (record,) = comparable(np.frombuffer(bytes(changed), FRAME_DTYPE))
        assert differing({0: record}, reference) == ([] if at in (offset, offset + 1) else [0])
    assert differing({0: reference[1], 1: reference[0]}, reference) == [0, 1]
