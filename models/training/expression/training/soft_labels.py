"""What a teacher says about each training picture, kept by file digest so that nobody needs the teacher again.

Stored as the first eight bytes of each picture's SHA-256 and seven half-precision probabilities: under a
megabyte for all training pictures, and no pixel.

References:
    Hinton et al. (2015), Distilling the Knowledge in a Neural Network, arXiv:1503.02531.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, standardise
from models.expression.taxonomy import LABELS, N_LABELS, N_OUTPUTS
from models.runtime.manifest import (
    ARTIFACTS_DIR,
    Manifest,
    TensorSpec,
    describe_file,
    load_manifest,
    write_manifest,
)
from models.training.expression.calibration.temperature import softmax
from models.training.expression.data.datasets import PackedFaces

Float32Array = npt.NDArray[np.float32]

Network = Callable[[Float32Array], Float32Array]
"""Turns prepared crops (n, side, side, 1) into logits (n, 6) or (n, 7)."""

SHIPPED_LABELS = ARTIFACTS_DIR / "expression_labels"
LABELS_FILE = "teacher_labels.npz"
KEY_BYTES = 8
BATCH = 64

_NOTICE = (
    "Soft labels for the training pictures of FER2013 / FER+ and RAF-DB\n\n"
    "Seven probabilities a picture, keyed by the digest of its file; no picture, no name and no face template.\n"
    "Made by this project's own teachers (see manifest.json). A teacher's first weights may be those of dlib's\n"
    "face-recognition network (Davis King, CC0 1.0) or of HSE_FaceRec_tf's MobileNet (Andrey Savchenko),\n"
    "which learned the identities of VGGFace2. The rights in the pictures of FER2013, RAF-DB and VGGFace2 are not\n"
    "cleared: research and evaluation only.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftLabels:
    """Teacher's probabilities by picture.

    `keys` is uint64 (n,), sorted: the first eight bytes of the file's SHA-256; `probabilities` is float16 (n, 7).
    """

    keys: npt.NDArray[np.uint64]
    probabilities: npt.NDArray[np.float16]

    def save(self, path: Path) -> None:
        """Write a compressed `.npz`."""
        np.savez_compressed(path, keys=self.keys, probabilities=self.probabilities)

    def lookup(self, digests: Sequence[str]) -> tuple[npt.NDArray[np.bool_], Float32Array]:
        """Return which pictures are known, bool (n,), and their probabilities, float32 (n, 7), 0 elsewhere."""
        wanted = np.array([_key(d) for d in digests], np.uint64)
        place = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        known = self.keys[place] == wanted if len(self.keys) else np.zeros(len(wanted), np.bool_)
        found = self.probabilities[place].astype(np.float32) if len(self.keys) else np.zeros((len(wanted), 7))
        return known, np.asarray(np.where(known[:, None], found, 0.0), np.float32)


def load_soft_labels(path: Path) -> SoftLabels:
    """Read what `SoftLabels.save` wrote: the file, or the artifact folder with its manifest.

    Raises:
        DatasetError: the file is missing or is something else.
        ManifestError: the folder is no artifact.
        ArtifactDigestError: the artifact's file is not the one that its manifest names.
    """
    try:
        content = load_manifest(path).read("labels") if path.is_dir() else path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            keys, probabilities = stored["keys"], stored["probabilities"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot read soft labels from {path.name}: {error}") from None
    if keys.dtype != np.uint64 or probabilities.shape != (len(keys), N_OUTPUTS):
        raise DatasetError(f"{path.name} holds no soft labels of width {N_OUTPUTS}")
    return SoftLabels(keys=keys, probabilities=probabilities)


def write_labels_artifact(
    labels: SoftLabels,
    out: Path,
    *,
    command: str,
    created: datetime,
    sources: tuple[dict[str, str], ...],
    validation_share: float,
) -> Manifest:
    """Write the labels with manifest and notice into an artifact folder; the share is the teachers'."""
    out.mkdir(parents=True, exist_ok=True)
    labels.save(out / LABELS_FILE)
    manifest = Manifest(
        directory=out,
        name="expression-labels",
        version=created.strftime("%Y.%m.%d"),
        kind="soft-labels",
        command=command,
        created_utc=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence="research and evaluation only: made from pictures whose rights are not cleared; no picture inside",
        sources=sources,
        input=TensorSpec(
            name="keys", shape=(1,), dtype="uint64", meaning="first eight bytes of a picture file's SHA-256"
        ),
        outputs=(
            TensorSpec(
                name="probabilities",
                shape=(1, N_OUTPUTS),
                dtype="float16",
                meaning="mean of the teachers' probabilities: the labels in order, then none of them",
            ),
        ),
        labels=LABELS,
        variants=(
            describe_file(out / LABELS_FILE, variant_id="labels", runtime="numpy", precision="float16"),
        ),
        default_variant="labels",
        parameters={"pictures": len(labels.keys), "validation_share": validation_share},
    )
    write_manifest(manifest)
    (out / "NOTICE").write_text(_NOTICE, "utf-8")
    return manifest


def label_softly(
    faces: PackedFaces,
    teachers: Sequence[tuple[Network, int]],
    *,
    progress: Callable[[range], Iterable[int]] = iter,
) -> SoftLabels:
    """Ask each teacher about each picture and its mirror image, and average the probabilities.

    A teacher of six logits has no say on how much is none of the six; at least one must have seven.

    Args:
        faces: training pictures.
        teachers: networks, each with the side of its input in pixels.
        progress: wraps the iteration over batches.
    """
    answers = []
    for start in progress(range(0, len(faces), BATCH)):
        answers.append(ask_both_ways(faces.grey[start : start + BATCH], teachers))
    keys = np.array([_key(d) for d in faces.digests], np.uint64)
    order = np.argsort(keys)
    return SoftLabels(keys=keys[order], probabilities=np.concatenate(answers)[order].astype(np.float16))


def ask_both_ways(
    pictures: Iterable[npt.NDArray[np.uint8]], teachers: Sequence[tuple[Network, int]]
) -> npt.NDArray[np.float64]:
    """Return the teachers' mean probabilities about pictures and their mirror images, float64 (n, 7).

    Args:
        pictures: uint8 (h, w), grey; a sequence, or an array (n, h, w).
        teachers: networks, each with the side of its input in pixels.
    """
    answers = []
    for network, side_px in teachers:
        crops = standardise(np.stack([resize_grey(picture, side_px) for picture in pictures]))
        answers += [network(crops), network(np.ascontiguousarray(crops[:, :, ::-1]))]
    return average_answers(answers)


def average_answers(logits: Sequence[Float32Array]) -> npt.NDArray[np.float64]:
    """Return mean probabilities, float64 (n, 7), of tables of logits, each (n, 6) or (n, 7).

    Raises:
        DatasetError: no table has the seventh column.
    """
    wide = [softmax(table) for table in logits if table.shape[1] == N_OUTPUTS]
    if not wide:
        raise DatasetError("no teacher says how much is none of the six")
    six = np.mean([softmax(table[:, :N_LABELS]) for table in logits], axis=0)
    other = np.mean([table[:, N_LABELS:] for table in wide], axis=0)
    return np.concatenate([six * (1 - other), other], axis=1)


def mix_labels(labels: SoftLabels, earlier: SoftLabels, *, weight: float) -> SoftLabels:
    """Average two teachers' answers about the same pictures.

    Args:
        labels: the answers whose share is 1 - `weight`.
        earlier: the answers whose share is `weight`.
        weight: in [0, 1].

    Raises:
        DatasetError: the weight is outside, or the two do not answer for the same pictures.
    """
    check_weight(weight)
    if not np.array_equal(labels.keys, earlier.keys):
        both = len(np.intersect1d(labels.keys, earlier.keys))
        raise DatasetError(
            f"the soft labels answer for {len(labels.keys)} pictures and the earlier ones for {len(earlier.keys)}, "
            f"of which they share {both}: only answers about the same pictures can be averaged"
        )
    mean = labels.probabilities.astype(np.float64) * (1 - weight)
    mean += earlier.probabilities.astype(np.float64) * weight
    return SoftLabels(keys=labels.keys, probabilities=mean.astype(np.float16))


def check_weight(weight: float) -> None:
    """Refuse a weight of earlier soft labels outside [0, 1].

    Raises:
        DatasetError: it is outside.
    """
    if not 0 <= weight <= 1:
        raise DatasetError(f"the weight of earlier soft labels must lie in [0, 1], not {weight}")


def soften(faces: PackedFaces, labels: SoftLabels, *, share: float) -> PackedFaces:
    """Return the faces with targets moved towards the teacher's answer, where there is one.

    Args:
        faces: training pictures.
        labels: the teacher's answers.
        share: weight of the teacher, in [0, 1].
    """
    known, answers = labels.lookup(faces.digests)
    weight = (share * known)[:, None].astype(np.float32)
    return replace(faces, targets=faces.targets * (1 - weight) + answers * weight)


def _key(digest: str) -> int:
    return int(digest[: 2 * KEY_BYTES], 16)
