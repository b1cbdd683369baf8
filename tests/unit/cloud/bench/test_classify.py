from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from cloud.bench import classify
from cloud.bench.classify_report import accuracy_lines, cell_line, gpu_lines, level_line, table_head
from cloud.bench.cli import add_bench_commands
from cloud.bench.expression_engines import FLOAT32, INT8, KERAS_PREDICT, TF_FUNCTION
from cloud.bench.isolated import in_fresh_process
from cloud.bench.report import busy_note
from cloud.errors import DemoError
from models.errors import ManifestError
from models.expression.loading import load_expression


def engine(ms: float, ratio: float) -> dict[str, object]:
    return {"median_ms": ms, "cpu_ms": ms / 2, "times_as_long": {"ratio": ratio, "low": ratio, "high": ratio}}


def row(threads: int, batch: int) -> dict[str, object]:
    engines = {INT8: engine(0.2, 1.0), FLOAT32: engine(0.5, 2.5), TF_FUNCTION: engine(2.0, 10.0)}
    return {"threads": threads, "batch": batch, "engines": engines | {KERAS_PREDICT: engine(90.0, 450.0)}}


def die() -> None:
    import os

    os._exit(3)


def test_the_headline_is_one_thread_and_one_crop_against_int8() -> None:
    flat = classify.headline([row(2, 1) | {"engines": {}}, row(1, 1)], "ab12")
    assert flat == {
        "speedup_tf_function": 10.0,
        "speedup_keras_predict": 450.0,
        "speedup_int8_fp32": 2.5,
        "classify_ms": 0.1,
        "classify_wall_ms": 0.2,
        "artifact_digest": "ab12",
    }


def test_a_row_stands_under_its_headings() -> None:
    line = cell_line(row(1, 8))
    assert len(line) == len(table_head())
    assert "0.20 ms" in line and "90.00 ms (450.0x)" in line


def test_a_slower_int8_is_called_slower() -> None:
    slow = {"level": "AVX2", "engines": {INT8: engine(1.0, 1.0), FLOAT32: engine(0.8, 0.8)}}
    assert "0.80x times the speed: slower" in level_line(slow)
    assert "not possible (because)" in level_line({"level": "AVX2", "not_possible": "because"})


def test_what_was_not_measured_is_said() -> None:
    assert "no GPU" in gpu_lines({"absent": "TensorFlow sees no GPU on this machine"})[0]
    assert "not measured" in accuracy_lines(None)[0]
    assert "busy" in busy_note({"load_before": 3.0, "cores": 2})
    assert "quiet" in busy_note({"load_before": 0.1, "cores": 2})


def test_a_measuring_process_that_dies_is_an_error() -> None:
    with pytest.raises(DemoError, match="died"):
        in_fresh_process(die)


def test_an_error_of_the_measuring_process_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        in_fresh_process(load_expression, tmp_path)


@pytest.mark.parametrize("wrong", ["0", "121", "soon"])
def test_the_time_of_a_row_is_bounded(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_bench_commands(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["bench", "classify", "--row-seconds", wrong, "--out", "x.json"])
    assert "0.1 to 120" in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_benchmark_measures_the_shipped_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(classify, "THREADS", (1,))
    monkeypatch.setattr(classify, "BATCHES", (1,))
    out = tmp_path / "classify.json"
    classify.run_classify(out=out, seconds=0.1)
    written = json.loads(out.read_text())
    assert written["headline"]["artifact_digest"] == load_expression().manifest.variant("int8").sha256
    assert written["headline"]["classify_ms"] > 0
    assert written["headline"]["speedup_keras_predict"] > written["headline"]["speedup_tf_function"] > 0
    assert [level["level"] for level in written["instruction_sets"]][-1] == "everything this processor has"
    assert {INT8, FLOAT32, TF_FUNCTION, KERAS_PREDICT} == set(written["rows"][0]["engines"])
    assert "wrote" in capsys.readouterr().out
