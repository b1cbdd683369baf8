"""What a `countenance models` command was given wrongly is refused in one line, before any work."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.cli import add_models_commands
from models.errors import DatasetError, ManifestError, ModelsError
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest, write_manifest
from models.runtime.writing import check_place, write_figures

pytest.importorskip("keras", reason="needs the train extra")

from models.training.expression.evaluation.engines import LiteRtNetwork
from models.training.expression.training.training_config import config_from_run, read_config, read_run


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_models_commands(parser.add_subparsers(dest="command", required=True))
    return parser.parse_args(["models", *words])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("train --data D --out o --minutes 0", "--minutes: must be a number above 0, not '0'"),
        ("train --data D --out o --minutes -5", "--minutes: must be a number above 0"),
        ("train --data D --out o --minutes nan", "--minutes: must be a number above 0"),
        ("train --data D --out o --threads -1", "--threads: must be a whole number of at least 0"),
        ("distil --data D --out o --teacher t --views 0", "--views: must be a whole number of at least 1"),
        ("prune --data D --run r --out o --epochs 0", "--epochs: must be a whole number of at least 1"),
        ("quantise --data D --run r --out o --aware-steps -3", "must be a whole number of at least 0"),
        ("evaluate --data D --out o --limit 0", "--limit: must be a whole number of at least 1"),
        ("evaluate --data D --out o --threads x", "--threads: must be a whole number of at least 1, not 'x'"),
        ("detector rehearse --data D --out o --scenes 0", "--scenes: must be a whole number of at least 1"),
    ],
)
def test_numbers_are_checked_as_they_are_read(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(words.split())
    assert refused.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("train --faces face.dat", "a residual network does not start from face-recognition weights"),
        ("train --start none.keras", "cannot read the network none.keras"),
        ("train --config student_hints.toml", "distil --views N --teacher RUN"),
        ("distil --config student_hints.toml", "distil --views N --teacher RUN"),
        ("distil --teacher t --add-weight 0.2", "--add-weight is the share of --add-labels"),
        ("distil --teacher t --labels-only --config student.toml", "leave out --config"),
        ("distil --teacher t --labels-only --minutes 3", "leave out --minutes"),
        ("distil --teacher t --views 9 --labels-only", "--views writes no soft labels"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_read(
    words: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = words.split()
    nowhere = tmp_path / "no data"
    arguments = parse([command, "--data", str(nowhere), "--out", str(tmp_path / "out"), *options])
    assert arguments.handler(arguments) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_region_does_not_overwrite_the_artifacts_own_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parse(["calibrate", "--data", str(tmp_path / "no data"), "--region", ""])
    assert arguments.handler(arguments) == 2
    assert "'' is no ISO 3166 code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "options", "complaint"),
    [
        ({}, ["--soft-labels", "labels"], "give --aware-steps too"),
        ({"kind": "face"}, ["--aware-steps", "3"], "only residual networks can be trained with rounding"),
    ],
)
def test_quantise_refuses_what_it_would_pass_over(
    network: dict[str, str],
    options: list[str],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"network": network}), "utf-8")
    words = ["quantise", "--data", str(tmp_path), "--run", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments = parse([*words, *options])
    assert arguments.handler(arguments) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"[network]\nstages = [20, 40]", b"network = 3", b"[network]\nstages = [['a', 1]]"],
)
def test_a_configuration_that_says_nothing_sensible_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(DatasetError, match=r"mine\.toml"):
        read_config(tmp_path / "mine.toml")


def test_damaged_facts_of_a_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[1]", "utf-8")
    with pytest.raises(DatasetError, match=r"run\.json describes no network"):
        config_from_run(tmp_path)
    with pytest.raises(DatasetError, match=r"run\.json is damaged"):
        read_run(tmp_path)


def test_a_file_that_is_no_network_is_refused_by_the_runtime() -> None:
    with pytest.raises(ModelsError, match="takes this for no network"):
        LiteRtNetwork(np.arange(64, dtype=np.uint8).tobytes())


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--data", "no data"],
        ["compare", "--data", "no data", "none.tflite"],
        ["framing", "--data", "no data"],
        ["detector", "rehearse", "--data", "no data"],
        ["detector", "evaluate", "--data", "no data"],
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parse([*words, "--out", str(tmp_path)])
    assert arguments.handler(arguments) == 2
    assert "cannot be written: it is a folder" in capsys.readouterr().err


def test_figures_and_manifests_that_cannot_be_written_say_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    for write in (check_place, lambda path: write_figures(path, {})):
        with pytest.raises(ModelsError, match=r"figures\.json cannot be written"):
            write(tmp_path / "file" / "figures.json")
    check_place(tmp_path / "new" / "figures.json")
    assert (tmp_path / "new").is_dir() and not (tmp_path / "new" / "figures.json").exists()
    manifest = load_manifest(ARTIFACTS_DIR / "expression")
    with pytest.raises(ManifestError, match=r"manifest\.json cannot be written"):
        write_manifest(replace(manifest, directory=tmp_path / "file"))
