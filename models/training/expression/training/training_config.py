"""Read a training configuration from TOML into frozen settings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from models.errors import DatasetError
from models.training.expression.data.augmentation import AugmentationSettings

CONFIGS_DIR = Path(__file__).parent / "configs"
DEFAULT_CONFIG = CONFIGS_DIR / "student.toml"

TRAINED_FILE = "averaged.keras"
"""The network that a run leaves in its folder."""

_Settings = TypeVar("_Settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How long and how a network is trained; shares are in [0, 1]."""

    seed: int = 20
    epochs: int = 48
    epoch_pictures: int = 33_792
    batch_size: int = 128
    peak_learning_rate: float = 0.1
    weight_decay: float = 2e-3
    momentum: float = 0.9
    warmup_share: float = 0.03
    label_smoothing: float = 0.06
    ema_decay: float = 0.998
    precision: str = "float32"
    stored_side_px: int = 72
    validation_share: float = 0.1
    class_balance: float = 0.45
    soft_label_share: float = 0.7
    """Weight of a teacher's answer in the target, where soft labels are given."""
    second_teacher_share: float = 0.5
    """Say of the second teacher about labelled pictures, among the labels that it knows (`broaden`)."""
    second_teacher_unlabelled: float = 0.5
    """The same about pictures without a label."""
    warped_each: int = 2500
    """Most faces at rest of each source that are warped (`broaden`)."""
    hint_directions: int = 0
    """Directions of the teachers' pooled features that a student of views also learns; 0: none."""
    hint_weight: float = 1.0
    """Weight of their squared error beside the answer's loss."""
    source_shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A whole configuration file; `network` stays a table of plain values until a backend is loaded."""

    network: Mapping[str, Any]
    training: TrainingSettings
    augmentation: AugmentationSettings

    def with_network(self, network: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration with another network table."""
        return replace(self, network=network)

    def with_training(self, **changes: Any) -> TrainingConfig:
        """Return the configuration with some training settings changed."""
        return replace(self, training=replace(self.training, **changes))


def read_config(path: Path = DEFAULT_CONFIG) -> TrainingConfig:
    """Read a TOML configuration with the tables network, training and augmentation.

    Args:
        path: the file; a bare name that is no file here takes the shipped configuration of that name.

    Raises:
        DatasetError: the file is missing, is not TOML, or sets something that does not exist.
    """
    if path == Path(path.name) and not path.exists() and (CONFIGS_DIR / path.name).exists():
        path = CONFIGS_DIR / path.name
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read the training configuration {path.name}: {error}") from error
    return _config(raw, path)


def config_from_run(run: Path) -> TrainingConfig:
    """Read the configuration that a training run recorded in `run.json`.

    Raises:
        DatasetError: the file is missing, is not JSON, or sets something that does not exist.
    """
    path = run / "run.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{run.name} is not a training run: cannot read its run.json: {error}") from error
    return _config(raw, path)


def read_run(run: Path) -> dict[str, Any]:
    """Return what `train` wrote about a run, or an empty table.

    Raises:
        DatasetError: the file is no JSON table.
    """
    path = run / "run.json"
    try:
        return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def _config(raw: Mapping[str, Any], path: Path) -> TrainingConfig:
    try:
        network = dict(raw.get("network", {}))
        if "stages" in network:
            network["stages"] = tuple((int(c), int(b)) for c, b in network["stages"])
        if "inner_channels" in network:
            network["inner_channels"] = tuple(int(c) for c in network["inner_channels"])
    except (AttributeError, TypeError, ValueError) as error:
        raise DatasetError(f"{path.name} describes no network: {error}") from error
    return TrainingConfig(
        network=network,
        training=_fill(TrainingSettings, raw.get("training", {}), path),
        augmentation=_fill(AugmentationSettings, raw.get("augmentation", {}), path),
    )


def _fill(kind: type[_Settings], values: Mapping[str, Any], path: Path) -> _Settings:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise DatasetError(f"{path.name} sets unknown {kind.__name__} values: {', '.join(unknown)}")
    return kind(**values)
