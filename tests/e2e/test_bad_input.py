"""Hostile datagrams through real processes: each is refused for its own reason, and no good frame suffers."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.hostile import BOMB_FRAMES, REORDERED_FRAMES
from tests.e2e.street_platform import StreetPlatform
from tests.e2e.test_frame_by_frame import differing, settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FRAMES = 84
ROUNDS = FRAMES // 7
_REFUSED = re.compile(r'countenance_(ingest|classify)_refused_total\{reason="(\w+)"\} ([\d.]+)')


def refusals(street: StreetPlatform) -> dict[tuple[str, str], int]:
    """Read what ingest and classify refused so far, by reason, from their metrics."""
    found: dict[tuple[str, str], int] = {}
    for name in ("ingest", "classify"):
        with urllib.request.urlopen(f"{street.platform.children[name].ops_url}/metrics") as page:
            text = page.read().decode()
        found |= {(who, reason): int(float(count)) for who, reason, count in _REFUSED.findall(text)}
    return found


def test_no_hostile_datagram_changes_a_record_or_stops_a_process(street: StreetPlatform) -> None:
    quiet = street.consented_viewer(Path("replay"))
    reference = settled(street, street.start_replay(quiet, frames=FRAMES, fps=60, is_patient=True))
    assert sorted(reference) == list(range(FRAMES)), "the quiet run is no reference"

    before, restarts = refusals(street), dict(street.platform.restarts)
    viewer = street.consented_viewer(Path("replay"))
    # patient, so that each attack meets a street that has taken the frame before it
    agent = street.start_replay(viewer, frames=FRAMES, fps=30, kind="hostile", is_patient=True)
    records = settled(street, agent)

    good = {frame: record for frame, record in records.items() if frame < BOMB_FRAMES}
    assert sorted(good) == list(range(FRAMES))
    assert differing(good, reference) == []
    assert {n for n in records if n >= BOMB_FRAMES} == {
        REORDERED_FRAMES + 2 * frame + n for frame in range(6, FRAMES, 7) for n in (0, 1)
    }
    after = refusals(street)
    # a busy machine may be late with an honest datagram; that is no attack
    grown = {at: after[at] - before.get(at, 0) for at in after if at[1] != "stale"}
    grown = {at: count for at, count in grown.items() if count}
    assert grown == {
        ("ingest", "replayed"): ROUNDS,
        ("ingest", "malformed"): ROUNDS + 1,
        ("ingest", "foreign_session"): ROUNDS,
        ("classify", "seal"): 2 * ROUNDS,
        ("classify", "content"): ROUNDS,
    }
    # the agent was told of each kind; what was refused in the last second may not have reached it
    told = json.loads((viewer.home / "refused.json").read_text())
    told.pop("stale", None)
    assert set(told) == {reason for _, reason in grown}
    assert all(count <= grown[at] for at in grown for reason, count in told.items() if reason == at[1])
    assert dict(street.platform.restarts) == restarts
    summary = street.call(street.studio.summary(viewer.seat))
    assert summary["duplicates"] == 0
    assert summary["redelivered"] >= ROUNDS
