"""Read what a command was pointed at, with a progress bar where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelsError

if TYPE_CHECKING:
    from models.training.expression.data.datasets import PackedFaces
    from models.training.expression.training.training_config import TrainingConfig


def read_chosen_config(path: Path | None) -> TrainingConfig:
    """Return the configuration that `--config` names, or the default one."""
    from models.training.expression.training.training_config import DEFAULT_CONFIG, read_config

    return read_config(path or DEFAULT_CONFIG)


def load_parts(data: Path, config: TrainingConfig) -> tuple[PackedFaces, PackedFaces]:
    """Read the training and the validation pictures, with a progress bar."""
    from models.training.expression.data.corpus import load_training

    return load_training(
        data,
        side_px=config.training.stored_side_px,
        validation_share=config.training.validation_share,
        progress=progress_bar("reading"),
    )


def read_file(path: Path) -> bytes:
    """Return the bytes of a file that the command line names.

    Raises:
        ModelsError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelsError(f"cannot read {path}: {error.strerror}") from error


def progress_bar(what: str, *, unit: str = " pictures") -> Any:
    """Return a wrapper of iterables that draws a bar where somebody is watching."""
    from tqdm import tqdm

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        bar: Iterable[Any] = tqdm(items, desc=what, unit=unit, disable=not sys.stderr.isatty())
        return bar

    return wrap
