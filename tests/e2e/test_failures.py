"""What breaks on the way costs frames, and every lost frame is flagged; nothing is ever wrong or double."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from cloud.demo.schedule import Schedule, balanced_agreement
from tests.e2e.street_platform import StreetPlatform, Watched
from tests.e2e.test_street import assert_accounted_for, assert_in_its_place, leading

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

OUTAGE_S = 20.0


def looped_agreement(watched: Watched, schedule: Schedule) -> float:
    """Agreement of a film that was played again and again."""
    times = np.array(watched.columns["media_time_ms"]) % schedule.duration_ms
    return balanced_agreement(schedule, times.tolist(), leading(watched))["balanced"]


def longest_hole(watched: Watched) -> int:
    frames = np.array(sorted(watched.columns["frame"]))
    return int(np.diff(frames).max(initial=0))


@pytest.mark.parametrize("victim", ["classify", "aggregate"])
def test_killing_a_worker_under_load_leaves_no_double_and_no_wrong_value(
    street: StreetPlatform, performed_film: Path, schedule: Schedule, victim: str
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=20.0)
    agent = street.start_agent(viewer)
    child = street.platform.children[victim]
    restarts = child.restarts
    for wanted in (60, 150):
        street.stored_until(viewer.seat, wanted)
        child.kill()
    watched = street.finish(agent)
    assert child.restarts >= restarts + 2
    assert_accounted_for(watched)
    assert_in_its_place(watched)
    assert looped_agreement(watched, schedule) >= 0.6
    assert watched.frames["stored"] >= 0.5 * watched.frames["with_face"]


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_server_that_is_gone_for_twenty_seconds_costs_flagged_frames_only(
    street: StreetPlatform, performed_film: Path, schedule: Schedule, server: str
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=OUTAGE_S + 20)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 60)
    street.call(street.platform.stop_server(server))
    time.sleep(OUTAGE_S)
    street.call(street.platform.start_server(server))
    watched = street.finish(agent, timeout_s=OUTAGE_S + 90)
    assert_accounted_for(watched)
    assert_in_its_place(watched)
    assert looped_agreement(watched, schedule) >= 0.6
    after = np.array(watched.columns["media_time_ms"]) > (OUTAGE_S + 10) * 1000
    assert after.sum() >= 60, "the street did not come back"
