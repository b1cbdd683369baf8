"""What a manifest says it was made by can be typed again."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from models.cli import add_models_commands
from models.errors import DatasetError
from models.training.expression.commands.distilling import distil
from models.training.expression.commands.exporting import export_command
from models.training.expression.commands.training import describe_command


def parse(command: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_models_commands(parser.add_subparsers())
    return parser.parse_args(command.removeprefix("countenance ").split())


@pytest.mark.parametrize(
    "command",
    [
        "models train --data D --out o --config a/teacher.toml --faces f/face.dat --minutes 9",
        "models train --data D --out o --soft-labels a/labels",
        "models train --data D --out o --start a/earlier.keras",
        "models distil --data D --out o --config a/student.toml --teacher x/one --teacher x/two",
        "models distil --data D --out o --teacher x/one --add-labels a/labels --add-weight 0.4",
        "models distil --data D --out o --start a/earlier.keras",
        "models distil --data D --out o --teacher x/one --views 1234567 --start a/earlier.keras",
        "models distil --data D --out o",
        "models prune --data D --run a/run --out o --keep 0.5 --epochs 3 --soft-labels a/labels",
    ],
)
def test_the_command_that_a_run_records_is_one_that_the_parser_takes(command: str) -> None:
    arguments = parse(command)
    if arguments.models_command == "distil":
        arguments.soft_labels, arguments.faces = Path("found/labels"), None  # as the handler does
    for recorded in export_command(describe_command(arguments), version="1.2.3").split(" && "):
        again = parse(recorded)
        if again.models_command == "export":
            assert again.version == "1.2.3"
        else:
            for name in ("models_command", "views", "minutes", "keep", "epochs", "add_weight"):
                assert getattr(again, name, None) == getattr(arguments, name, None)
            for name in ("start", "add_labels"):
                path = getattr(arguments, name, None)
                assert getattr(again, name, None) == (Path(path.name) if path else None)
            assert [run.name for run in getattr(again, "teacher", None) or ()] == [
                run.name for run in getattr(arguments, "teacher", None) or ()
            ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--add-labels a/labels", "--add-labels needs a --teacher"),
        ("--labels-only", "--labels-only needs a --teacher"),
        ("--teacher x/one --add-labels a/labels --add-weight 1.5", r"must lie in \[0, 1\]"),
    ],
)
def test_distilling_refuses_options_that_would_change_nothing_or_too_much(
    options: str, complaint: str
) -> None:
    with pytest.raises(DatasetError, match=complaint):
        distil(parse(f"models distil --data D --out o {options}"))
