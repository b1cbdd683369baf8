"""A viewing outlives its connection: it goes on where there is a network again, and the time between is one gap."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud.demo.agents import Agent, Viewer, _spawn
from cloud.demo.studio import Seat
from tests.e2e.street_platform import StreetPlatform, Watched
from tests.e2e.test_street import assert_accounted_for, assert_in_its_place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

AWAY_S = 14.0
"""Past the ten seconds after which ingest calls a silent session lost."""

OF_THE_OUTAGE = frozenset({"not_connected", "busy_channel", "lost"})


def outages(street: StreetPlatform, watched: Watched, seat: Seat) -> list[list[int]]:
    """Give the runs of at least twenty frames that the network took; a busy machine drops single ones at any time."""
    query = "SELECT first_frame, last_frame, reason FROM session_gap WHERE session_id = %(session)s"
    flagged = {
        frame
        for first, last, reason in street.rows(query, seat)
        if reason in OF_THE_OUTAGE
        for frame in range(first, last + 1)
    }
    runs: list[list[int]] = []
    for frame in sorted(flagged - set(watched.columns["frame"])):
        if runs and frame - runs[-1][-1] <= 15:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return [run for run in runs if len(run) >= 20]


def start_cut_off_agent(street: StreetPlatform, viewer: Viewer) -> Agent:
    """Start an agent process whose network can be cut (`tests.e2e.cut_off`)."""
    log, summary = viewer.home / "run.log", viewer.home / "summary.json"
    command = [
        sys.executable, "-m", "tests.e2e.cut_off", "run", "--invite", viewer.seat.invite,
        "--home", str(viewer.home), "--camera", viewer.camera, "--summary", str(summary),
        "--loop", "--duration", f"{viewer.duration_s:g}", "--fps", str(viewer.fps),
    ]  # fmt: skip
    return Agent(viewer, street.call(_spawn(command, log)), log, summary)


def stop_ingest_in_order(street: StreetPlatform, agent: Agent) -> None:
    os.kill(street.platform.children["ingest"].pid, signal.SIGTERM)


def still_ingest(street: StreetPlatform, agent: Agent) -> None:
    ingest = street.platform.children["ingest"].pid
    os.kill(ingest, signal.SIGSTOP)
    try:
        time.sleep(AWAY_S)
    finally:
        os.kill(ingest, signal.SIGCONT)


def cut_the_network(street: StreetPlatform, agent: Agent) -> None:
    os.kill(agent.pid, signal.SIGUSR1)
    time.sleep(AWAY_S)
    assert street.call(street.studio.session(agent.viewer.seat))["close_reason"] == "lost"
    os.kill(agent.pid, signal.SIGUSR2)


@pytest.mark.parametrize(
    ("outage", "away_s"),
    [(stop_ingest_in_order, 0.0), (still_ingest, AWAY_S), (cut_the_network, AWAY_S)],
)
def test_a_viewing_goes_on_after_an_outage_and_the_time_between_is_one_gap(
    street: StreetPlatform,
    performed_film: Path,
    outage: Callable[[StreetPlatform, Agent], None],
    away_s: float,
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=away_s + 30)
    agent = start_cut_off_agent(street, viewer)
    street.stored_until(viewer.seat, 90)
    outage(street, agent)
    before = max(street.kept_frames(viewer.seat)["frame"])
    watched = street.finish(agent, timeout_s=away_s + 90)

    assert watched.report["exit_reason"] == "duration reached"
    assert watched.report["reconnects"] >= 1
    assert watched.frames["captured"] == watched.report["frames_captured"]
    assert_accounted_for(watched)
    assert_in_its_place(watched)
    assert sum(frame > before + 30 for frame in watched.columns["frame"]) >= 90, "it did not go on"
    assert len(outages(street, watched, viewer.seat)) == 1
    assert street.call(street.studio.session(viewer.seat))["close_reason"] == "closed"


def test_a_lost_session_is_readable_and_can_be_withdrawn(
    street: StreetPlatform, performed_film: Path
) -> None:
    viewer = street.consented_viewer(performed_film, loop=True, duration_s=120)
    agent = street.start_agent(viewer)
    street.stored_until(viewer.seat, 60)
    os.kill(agent.pid, signal.SIGKILL)
    state = lambda: street.call(street.studio.session(viewer.seat))["state"]  # noqa: E731
    assert street.wait_until(lambda: state() == "sealed", timeout_s=40)
    timeline = street.call(street.studio.timeline(viewer.seat, resolution="frame"))
    assert len(timeline["columns"]["frame"]) >= 60
    street.withdraw(viewer)
    assert street.wait_until(lambda: state() == "erased", timeout_s=20)
