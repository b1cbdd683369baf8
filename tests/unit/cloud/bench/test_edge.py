from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import structlog
from skimage import data as samples

from cloud.bench import edge
from cloud.bench.cli import add_bench_commands
from cloud.bench.detector_engines import MEDIAPIPE, detector_manifest, open_others, open_ours, our_variants
from cloud.bench.edge_report import detector_lines, film_lines, level_lines, recall_lines
from cloud.errors import DemoError
from edge_agent.cli import main as agent

PORTRAIT = cv2.resize(np.ascontiguousarray(samples.astronaut()[..., ::-1]), (640, 480))


def figures(ms: float, speed: float) -> dict[str, object]:
    ratio = {"ratio": speed, "low": speed, "high": speed}
    return {"median_ms": 2 * ms, "cpu_ms": ms, "times_as_fast": ratio}


def detector(ms: float, speed: float, **more: object) -> dict[str, object]:
    found = {"runtime": "LiteRT", "input_px": "128 x 128", "sha256": f"digest of {ms}", "before_ms": 0.3}
    return {**found, "after_ms": None, "whole_ms": 1.0, "inference": figures(ms, speed), **more}


DETECTORS = {"int8": detector(0.5, 1.6), "float32": detector(0.8, 1.0), MEDIAPIPE: detector(0.8, 1.0)}
FILM = {"film": "a.mp4", "frames": 100, "sent_share": 1.0, "inferences_per_frame": 0.4, "frame_ms": 2.0}
TRACKED = {
    "detector": "int8",
    "films": [
        FILM | {"detection_ms": 1.0, "tracking_ms": 0.5},
        FILM | {"detection_ms": 2.0, "tracking_ms": 0.5, "frames": 300},
    ],
}
RECALL = {
    "recall": {"int8": {"pooled": {"recall": 0.71}}},
    "minus_mediapipe": {"int8": {"faces": 10, "points": -0.5, "lower95_points": -1.1, "upper95_points": 0.1}},
}


def test_the_headline_is_our_fastest_variants() -> None:
    assert edge.fastest(DETECTORS, ("float32", "int8")) == "int8"
    flat = edge.headline(DETECTORS, TRACKED, RECALL, best="int8")
    assert (flat["detector_speedup_mediapipe"], flat["detector_ms"], flat["detector_wall_ms"]) == (
        1.6,
        0.5,
        1.0,
    )
    assert flat["detector_recall_delta_points"] == -0.5
    assert flat["detection_ms_per_frame_tracked"] == 1.75
    assert flat["artifact_digest"] == "digest of 0.5"
    assert edge.headline(DETECTORS, TRACKED, None, best="int8")["detector_recall_delta_points"] is None


def test_the_tables_name_everything_that_was_compared() -> None:
    text = "\n".join(detector_lines(DETECTORS))
    assert all(name in text for name in DETECTORS) and "1.60 (1.60-1.60)" in text
    assert "tracking 0.50" in film_lines(TRACKED)[1]
    assert "-0.50 points (-1.10 to +0.10)" in recall_lines(RECALL)[1]
    assert "not measured" in recall_lines(None)[0]
    assert level_lines([]) == []
    levels = level_lines(
        [
            {"level": "AVX2", "not_possible": "because"},
            {"level": "B", "detectors": {"int8": figures(0.5, 1.6)}},
        ]
    )
    assert "not possible (because)" in levels[1] and "int8 0.50 ms (1.60x)" in levels[2]


def test_our_detectors_find_the_face_that_they_are_timed_on() -> None:
    manifest = detector_manifest()
    opened = open_ours(manifest, PORTRAIT)
    assert tuple(d.name for d in opened) == our_variants(manifest)
    for timed in opened:
        assert timed.whole() == 1
        assert timed.sha256 == manifest.variant(timed.name).sha256
        assert timed.after is not None and len(timed.after()) == 1  # type: ignore[arg-type]


def test_a_folder_without_films_or_peers_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="lacks the films single_face"):
        edge.run_edge(data=tmp_path, out=tmp_path / "edge.json")
    (tmp_path / "videos" / "intel_asl").mkdir(parents=True)
    for film in edge.FILMS:
        (tmp_path / film).touch()
    with pytest.raises(DemoError, match="face_detection_short_range"):
        edge.run_edge(data=tmp_path, out=tmp_path / "edge.json")


def test_the_agent_understands_what_it_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = edge.agent_arguments([tmp_path / "gone.mp4"], "float32", frames=20)
    try:
        assert agent(asked) == 1
    finally:
        structlog.reset_defaults()
    assert "there is no video gone.mp4" in capsys.readouterr().err


def test_data_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_bench_commands(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["bench", "edge", "--out", "x.json"])
    assert "--data" in capsys.readouterr().err


@pytest.mark.data
def test_every_peer_finds_the_face_that_it_is_timed_on() -> None:
    folder = os.environ.get("COUNTENANCE_DATA")
    if not folder:
        pytest.skip("COUNTENANCE_DATA does not name the data folder")
    found = {timed.name: timed.whole() for timed in open_others(Path(folder), PORTRAIT)}
    assert found == {"Ultra-Light slim": 1, "Ultra-Light RFB": 1, "YuNet": 1}


@pytest.mark.data
@pytest.mark.slow
def test_a_short_benchmark_measures_the_shipped_detector(tmp_path: Path) -> None:
    folder = os.environ.get("COUNTENANCE_DATA")
    if not folder:
        pytest.skip("COUNTENANCE_DATA does not name the data folder")
    out = tmp_path / "edge.json"
    edge.run_edge(data=Path(folder), out=out, seconds=0.1, frames=20, with_recall=False)
    flat = json.loads(out.read_text())["headline"]
    digests = {variant.sha256 for variant in detector_manifest().variants}
    assert flat["artifact_digest"] in digests
    assert flat["detector_ms"] > 0 and flat["detection_ms_per_frame_tracked"] > 0
