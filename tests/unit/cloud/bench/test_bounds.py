from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.bench.bounds import ViewerFigures, headline, is_held, table, viewers_held
from cloud.bench.cli import add_bench_commands
from cloud.bench.report import describe_machine, write_benchmark
from cloud.bench.street import figures_of
from cloud.errors import DemoError

GOOD = ViewerFigures(
    clip="clip.mp4",
    fps=30.0,
    face_share=1.0,
    stored_share=1.0,
    p50_ms=20.0,
    p99_ms=60.0,
    agent_core_share=0.2,
    agent_rss_mb=150.0,
    envelope_max_bytes=3000,
    duplicates=0,
)


def test_a_viewer_on_every_bound_is_held() -> None:
    edge = replace(GOOD, fps=29.0, face_share=0.95, stored_share=0.99, p50_ms=50.0, p99_ms=100.0)
    assert is_held([edge])


@pytest.mark.parametrize(
    "miss",
    [
        {"fps": 28.9},
        {"face_share": 0.949},
        {"stored_share": 0.9899},
        {"p50_ms": 51.0},
        {"p99_ms": 101.0},
        {"p50_ms": None, "p99_ms": None},
    ],
)
def test_one_viewer_who_misses_one_bound_spoils_the_level(miss: dict[str, float | None]) -> None:
    assert not is_held([GOOD, replace(GOOD, **miss)])


def test_a_level_without_viewers_is_not_held() -> None:
    assert not is_held([])


def test_held_viewers_end_at_the_first_level_that_fails() -> None:
    bad = replace(GOOD, fps=10.0)
    assert viewers_held({1: [GOOD], 2: [GOOD, GOOD], 4: [bad], 8: [GOOD]}) == 2
    assert viewers_held({1: [bad], 2: [GOOD]}) == 0


def test_the_headline_is_the_worst_viewer_at_two() -> None:
    slow = replace(GOOD, p99_ms=90.0, fps=29.5, agent_rss_mb=170.0)
    flat = headline({1: [GOOD], 2: [GOOD, slow], 4: [replace(GOOD, p99_ms=300.0, envelope_max_bytes=3400)]})
    assert (flat["p99_ms"], flat["fps_min"], flat["agent_rss_mb"]) == (90.0, 29.5, 170.0)
    assert flat["envelope_max_bytes"] == 3400
    assert flat["viewers_held"] == 2


def test_a_viewer_without_a_result_leaves_no_latency_to_boast_of() -> None:
    assert headline({2: [GOOD, replace(GOOD, p50_ms=None)]})["p50_ms"] is None


def test_duplicates_of_all_levels_are_counted() -> None:
    assert (
        headline({1: [replace(GOOD, duplicates=1)], 2: [GOOD, replace(GOOD, duplicates=2)]})["duplicates"]
        == 3
    )


def test_the_table_says_what_falls_short() -> None:
    text = table({1: [GOOD], 2: [GOOD, replace(GOOD, fps=20.0)]})
    assert "yes" in text.splitlines()[1]
    assert "20.0 fps < 29" in text.splitlines()[2]


def test_a_flagged_gap_counts_as_not_stored() -> None:
    summary = {
        "frames": {"captured": 100, "with_face": 100, "sent": 100, "stored": 90, "lost_flagged": 10},
        "latency_ms": {"classified": {"p50": 10.0, "p99": 20.0}},
        "duplicates": 0,
    }
    report = {"fps": 30, "agent_core_share": 0.1, "rss_max_mb": 100, "envelope_max_bytes": 2000}
    assert figures_of("clip.mp4", report, summary).stored_share == 0.9


def test_the_json_names_machine_versions_and_date_beside_a_flat_headline(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "street.json"
    write_benchmark(
        out, name="street", headline={"p50_ms": 1.0}, details={"levels": {}}, before=describe_machine()
    )
    written = json.loads(out.read_text())
    assert {"machine", "versions", "date", "headline", "levels"} <= set(written)
    assert written["machine"]["cores"] >= 1
    assert all(not isinstance(figure, dict | list) for figure in written["headline"].values())


def test_a_json_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match="cannot write"):
        write_benchmark(tmp_path / "file" / "x.json", name="street", headline={}, details={}, before={})


@pytest.mark.parametrize("wrong", ["0", "two", "1,,2", "41"])
def test_levels_must_be_numbers_of_viewers(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_bench_commands(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["bench", "street", "--viewers", wrong, "--out", "x.json"])
    assert "1 to 40" in capsys.readouterr().err
