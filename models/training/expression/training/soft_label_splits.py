"""Refuses soft labels that could carry validation pictures into training.

A teacher that learned with another validation split saw some of the student's validation pictures, and its
answers about training pictures carry what it learned from them. The manifest therefore says with which share the
teachers held pictures out, and a student must hold out the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from models.errors import DatasetError
from models.runtime.manifest import load_manifest
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.training.soft_labels import SoftLabels, load_soft_labels
from models.training.expression.training.training_config import TrainingConfig


def teachers_share(configs: Iterable[TrainingConfig]) -> float:
    """Return the validation share that all teachers have in common.

    Args:
        configs: of one training run each, at least one.

    Raises:
        DatasetError: they differ.
    """
    shares = sorted({config.training.validation_share for config in configs})
    if len(shares) > 1:
        raise DatasetError(f"the teachers learned with different validation shares: {shares}")
    return shares[0]


def check_share(teachers: float, *, own: float, whose: str) -> None:
    """Refuse teachers that held out other pictures than this run does.

    Args:
        teachers: their validation share.
        own: this run's.
        whose: names the teachers in the message.

    Raises:
        DatasetError: the shares differ.
    """
    if teachers != own:
        raise DatasetError(
            f"{whose} learned with a validation share of {teachers}, this run has {own}: "
            "their answers may carry validation pictures into training"
        )


def load_student_labels(path: Path, *, validation_share: float, validation: PackedFaces) -> SoftLabels:
    """Read soft labels for a student, if they were made with its validation split.

    Args:
        path: the artifact's folder, or its file of labels.
        validation_share: the student's.
        validation: the pictures that the student will be measured on.

    Raises:
        DatasetError: the labels do not say their share, say another, or answer for a validation picture; or the
            file is missing or something else.
        ManifestError: the manifest is malformed.
        ArtifactDigestError: the file is not the one that its manifest names.
    """
    if not path.exists():
        raise DatasetError(f"cannot read soft labels from {path.name}: there is no such file or folder")
    folder = path if path.is_dir() else path.parent
    share = _stated_share(folder, file=None if path.is_dir() else path.name)
    if share is None:
        raise DatasetError(
            f"{path.name} does not say with which validation share its teachers learned; "
            "give the artifact that distil wrote, or write it again with distil --labels-only"
        )
    check_share(share, own=validation_share, whose=f"the teachers of {path.name}")
    labels = load_soft_labels(folder)
    known, _ = labels.lookup(validation.digests)
    if known.any():
        raise DatasetError(f"{path.name} answers for {int(known.sum())} validation pictures of this run")
    return labels


def _stated_share(folder: Path, *, file: str | None) -> float | None:
    """Read the share in the manifest; None where there is no manifest, none of this file, or no share in it."""
    if not (folder / "manifest.json").exists():
        return None
    manifest = load_manifest(folder)
    if file is not None and file != manifest.variant().file:
        return None
    share = manifest.parameters.get("validation_share")
    return float(share) if isinstance(share, (int, float)) else None
