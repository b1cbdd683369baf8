from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloud.cli import build_parser, main
from cloud.config import SETTINGS_OF

HEAVY = ("tensorflow", "fastapi", "redis", "psycopg", "numpy", "cv2", "aiortc", "plotly", "structlog")


def test_help_names_every_command_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("up", "init", "migrate", "api", "ingest", "classify", "aggregate", "lifecycle", "models"):
        assert f"\n    {command}" in text
    assert "examples:" in text


@pytest.mark.parametrize("command", ["up", "init", *map(str, SETTINGS_OF)])
def test_each_command_explains_itself_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "examples:" in text and f"countenance {command}" in text


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from cloud.cli import main; main(['--help']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert time.monotonic() - began < 10


def test_a_missing_setting_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STATE_DIR", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv("COUNTENANCE_" + name, raising=False)
    assert main(["api"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "export COUNTENANCE_STATE_DIR or give --state-dir" in error


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert main(["up", "--port", "many"]) == 2
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


def test_a_failure_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--database-owner-url", "postgresql://owner:geheim@127.0.0.1:9/x"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("countenance migrate: ") and error.count("\n") == 1
    assert "geheim" not in error


def test_init_makes_a_closed_directory_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    assert main(["init", "--state", str(state), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["made"]
    assert {"signing.key", "signing.pub", "keys/kek", "admin.token", "pool/bundle.jws"} <= set(made)
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert main(["init", "--state", str(state)]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_mode & 0o066 == 0, path


def test_commands_of_other_modules_are_loaded_when_asked_for() -> None:
    parser = build_parser(asked_for="models")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["models", "predict", "--help"])
    assert ended.value.code == 0
