from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.demo.results import (
    Viewing,
    agreement_of,
    seconds_table,
    summarise_run,
    viewer_timeline,
    write_results,
)
from cloud.demo.schedule import make_schedule
from cloud.demo.studio import Seat
from privacy.protocol.expressions import EXPRESSIONS

SCHEDULE = make_schedule(["happy", "neutral"], each_ms=2000)
FRAMES = 120


def viewing_of(*, read: str = "as shown", pseudonym: str = "viewer-a", known: bool = True) -> Viewing:
    """Four seconds at 30 frames a second; every frame read as `read`, or as it was shown."""
    times = [round(index * 1000 / 30) for index in range(FRAMES)]
    names = [
        SCHEDULE.moments[SCHEDULE.moment_at(t)].expression if read == "as shown" else read for t in times
    ]
    columns: dict[str, list[Any]] = {
        "frame": list(range(FRAMES)),
        "segment": [0] * FRAMES,
        "media_time_ms": times,
        **{str(e): [1.0 if name == e else 0.0 for name in names] for e in EXPRESSIONS},
        "confidence": [1.0] * FRAMES,
        "attention": [0.5] * FRAMES,
        "late": [False] * FRAMES,
        "grey": [False] * FRAMES,
        "uncertain": [index < 6 for index in range(FRAMES)],
        "out_of_scope": [index < 3 for index in range(FRAMES)],
    }
    latency = {"p50": 11.0, "p95": 11.0, "p99": 11.0, "count": FRAMES, "histogram": [0] * 10 + [FRAMES]}
    summary = {
        "frames": {
            "captured": 125,
            "with_face": 124,
            "sent": 121,
            "stored": FRAMES,
            "skipped": {"no_face": 1, "busy_channel": 3},
            "lost_flagged": 1,
            "lost_unflagged": 0,
            "uncertain": 6,
        },
        "duplicates": 0,
        "gaps": {"count": 2, "frames_by_reason": {"busy_channel": 3, "lost": 1}},
        "latency_ms": {"classified": latency, "committed": latency},
        "share_of_frames": {str(e): names.count(str(e)) / FRAMES for e in EXPRESSIONS},
        "opted_out": [],
    }
    gaps = {
        "first_frame": [120],
        "last_frame": [122],
        "segment": [0],
        "media_time_ms": [4000],
        "reason": ["lost"],
    }
    return Viewing(
        seat=Seat(session_id="0" * 32, pseudonym=pseudonym, invite="secret"),
        agent={"fps": 30.0},
        summary=summary,
        timeline={"columns": columns, "gaps": gaps},
        schedule=SCHEDULE if known else None,
    )


def test_a_timeline_that_follows_the_schedule_agrees_fully() -> None:
    agreement = agreement_of(viewing_of())
    assert agreement == {"happy": 1.0, "neutral": 1.0, "balanced": 1.0}


def test_a_timeline_that_never_changes_agrees_with_one_expression_alone() -> None:
    agreement = agreement_of(viewing_of(read="happy"))
    assert agreement == {"happy": 1.0, "neutral": 0.0, "balanced": 0.5}


def test_nothing_is_claimed_where_nothing_is_known() -> None:
    assert agreement_of(viewing_of(known=False)) is None
    assert summarise_run([viewing_of(known=False)], made_at=datetime.now(UTC))["schedule_agreement"] is None


def test_figures_of_viewers_add_up() -> None:
    figures = summarise_run([viewing_of(), viewing_of(pseudonym="viewer-b")], made_at=datetime.now(UTC))
    assert figures["sessions"] == 2
    assert figures["frames_captured"] == 250
    assert figures["frames_with_face"] == 248
    assert figures["frames_sent"] == 242
    assert figures["frames_skipped"] == 8
    assert figures["frames_skipped_by_reason"] == {"busy_channel": 6, "no_face": 2}
    assert figures["frames_stored"] == 240
    assert figures["frames_uncertain"] == 12
    assert figures["duplicates"] == 0
    assert figures["gaps"] == 4
    assert figures["latency_ms"]["captured_to_classified"] == {"p50": 11.0, "p95": 11.0, "p99": 11.0}


def test_the_agreement_told_is_the_worst_viewers() -> None:
    figures = summarise_run([viewing_of(), viewing_of(read="happy")], made_at=datetime.now(UTC))
    assert figures["schedule_agreement"] == 0.5


def test_shares_of_time_are_told_for_each_viewer() -> None:
    viewers = summarise_run([viewing_of()], made_at=datetime.now(UTC))["viewers"]
    assert viewers[0]["share_of_time"]["happy"] == pytest.approx(0.5)


def test_the_table_has_every_second_of_every_viewer_with_what_was_shown() -> None:
    text = seconds_table([viewing_of(), viewing_of(pseudonym="viewer-b")], duration_ms=4000)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["viewer"] for row in rows] == ["viewer-a"] * 4 + ["viewer-b"] * 4
    assert [row["shown"] for row in rows[:4]] == ["", "happy", "", "neutral"]
    assert rows[1]["happy"] == "1.0"
    assert [rows[0][name] for name in ("frames", "certain", "out_of_scope")] == ["30", "24", "3"]


def test_the_page_is_drawn_from_what_the_studio_was_given() -> None:
    timeline = viewer_timeline(viewing_of())
    assert len(timeline.trace) == FRAMES
    assert set(timeline.trace.probabilities.sum(axis=1)) == {255}
    assert timeline.gaps[0].frames == 3
    assert timeline.trace.flags.tolist() == [12] * 3 + [4] * 3 + [0] * (FRAMES - 6)
    assert [str(part.expression) for part in timeline.schedule] == ["happy", "neutral"]


def test_results_are_three_files_that_hold_no_invitation(tmp_path: Path) -> None:
    made = write_results(tmp_path, [viewing_of()], title="Harbour Lights", duration_ms=4000)
    assert {path.name for path, _ in made} == {"index.html", "summary.json", "timeline.csv"}
    assert all(path.stat().st_size > 0 and "secret" not in path.read_text() for path, _ in made)
