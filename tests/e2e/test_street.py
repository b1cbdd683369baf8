"""From a film to SQL rows, through real processes, over loopback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloud.demo.schedule import Schedule, balanced_agreement
from cloud.demo.trailer import make_trailer
from privacy.protocol.expressions import EXPRESSIONS
from tests.e2e.street_platform import StreetPlatform, Watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

REAL_FILMS = ("videos/liveportrait_d9.mp4", "videos/single_face.mp4")


def leading(watched: Watched) -> list[str]:
    shares = np.array([watched.columns[name] for name in EXPRESSIONS], float).T
    return [str(EXPRESSIONS[index]) for index in shares.argmax(axis=1)]


def looked_at(watched: Watched) -> int:
    """Frames that a busy machine left time to look at; a test shares its cores with others."""
    return int(watched.frames["captured"] - watched.frames["skipped"].get("overload", 0))


def assert_accounted_for(watched: Watched) -> None:
    """Each captured frame is stored once, or in a gap with a reason."""
    frames = watched.frames
    assert frames["lost_unflagged"] == 0
    assert frames["captured"] == frames["sent"] + sum(frames["skipped"].values())
    assert frames["stored"] + frames["lost_flagged"] == frames["sent"]
    assert watched.summary["duplicates"] == 0
    assert len(set(watched.columns["frame"])) == len(watched.columns["frame"]) == frames["stored"]


def assert_in_its_place(watched: Watched) -> None:
    """Each frame carries the media time of its moment: no score landed in another frame's slot."""
    step_ms = 1000 / 30
    times = np.array(watched.columns["media_time_ms"], float)
    frames = np.array(watched.columns["frame"], float)
    offsets = times - frames * step_ms
    assert (np.abs(offsets - np.median(offsets)) < 250).mean() > 0.98
    assert (np.diff(times) >= 0).all()


def test_a_performed_film_becomes_rows_that_say_what_was_performed(
    street: StreetPlatform, performed_film: Path, schedule: Schedule
) -> None:
    seat, watched = street.watch(performed_film)
    assert_accounted_for(watched)
    assert_in_its_place(watched)
    assert watched.frames["captured"] == 300
    assert watched.frames["with_face"] >= 0.95 * looked_at(watched)
    assert watched.frames["stored"] >= 0.8 * watched.frames["with_face"]
    agreement = balanced_agreement(schedule, watched.columns["media_time_ms"], leading(watched))
    assert agreement["balanced"] >= 0.6
    stored = street.kept_frames(seat)
    assert sorted(stored["frame"].tolist()) == watched.columns["frame"]
    assert set(stored["probabilities"].astype(int).sum(axis=1).tolist()) == {255}


@pytest.mark.data
@pytest.mark.parametrize("name", REAL_FILMS)
def test_a_film_of_a_real_person_becomes_rows(street: StreetPlatform, data_folder: Path, name: str) -> None:
    seat, watched = street.watch(data_folder / name, loop=True, duration_s=8.0)
    assert_accounted_for(watched)
    assert_in_its_place(watched)
    assert watched.frames["with_face"] >= 0.95 * looked_at(watched)
    assert watched.frames["stored"] >= 0.8 * watched.frames["with_face"]
    assert len(street.kept_frames(seat)) == watched.frames["stored"]


def test_a_film_without_a_face_leaves_gaps_and_no_row(street: StreetPlatform, tmp_path: Path) -> None:
    trailer = make_trailer(tmp_path / "trailer.mp4", duration_ms=4000)
    seat, watched = street.watch(trailer.path)
    assert_accounted_for(watched)
    assert watched.frames["stored"] == 0
    assert watched.frames["skipped"]["no_face"] >= 0.5 * watched.frames["captured"]
    assert len(street.kept_frames(seat)) == 0


def test_an_agent_without_consent_opens_no_camera(street: StreetPlatform, performed_film: Path) -> None:
    viewer = street.invited_viewer(performed_film)
    agent = street.start_agent(viewer)
    assert street.status_of(agent) == 3
    assert street.call(street.studio.session(viewer.seat))["connected_at"] is None
