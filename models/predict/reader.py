"""Detector, crop and expression network put together, once, for any number of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ManifestError, PictureError
from models.expression.inference import opt_out_mask
from models.expression.loading import load_expression
from models.expression.own_neutral import neutral_offset
from models.expression.prior import CARRIED, UNIFORM, confident_from, describe_prior, named_prior
from models.face_crop.quality import is_dark
from models.face_crop.shrinking import UInt8Array
from models.face_detector.runtime import Detector
from models.face_detector.still_search import find_faces
from models.predict.pictures import read_picture, shown
from models.predict.reading import DoubtLimits, Sample, answer, read_logits, sample_crop, sample_face
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
from models.training.expression.evaluation.engines import litert_predictor

Float64Array = npt.NDArray[np.float64]

NO_FACE, TOO_DARK = "no_face", "too_dark"


class PictureReader:
    """Reads pictures one after the other.

    Args:
        artifact: folder of the expression artifact.
        variant: of the expression artifact, `int8` or `float32`.
        opt_out: labels of expressions that must not be looked at.
        is_crop: each picture is already cut to one upright face.
        prior: name of the prior to answer for; see `models.expression.prior`.

    Raises:
        ModelsError: an artifact is damaged, or a label or prior is unknown.
    """

    def __init__(
        self,
        artifact: Path,
        *,
        variant: str = "int8",
        opt_out: Sequence[str] = (),
        is_crop: bool = False,
        prior: str = UNIFORM,
    ) -> None:
        self._opted_out = opt_out_mask(opt_out)
        self._artifact = load_expression(artifact)
        manifest = self._artifact.manifest
        self._predictor = litert_predictor(manifest.read(variant), side_px=self._artifact.input_side_px)
        self._digests = {"expression": manifest.variant(variant).sha256}
        self._prior = named_prior(prior, self._artifact.prior)
        self._stated = describe_prior(prior, self._prior)
        parameters = self._artifact.manifest.parameters
        self._certain = confident_from(parameters, prior, self._artifact.confident_above)
        self._offset: Float64Array | None = None
        self._limits = DoubtLimits()
        self._detector: Detector | None = None
        if not is_crop:
            detector = load_manifest(ARTIFACTS_DIR / "face_detector")
            self._detector = Detector(detector.read())
            self._digests["face_detector"] = detector.variant().sha256

    def learn_neutral(self, paths: Sequence[Path]) -> None:
        """Take a person's own face at rest out of every later answer: the largest face in each of these pictures.

        Raises:
            PictureError: one cannot be read, or shows no face.
            ManifestError: the artifact does not say how faces at rest are usually read.
        """
        usual = self._artifact.neutral_logits
        if usual is None:
            raise ManifestError(
                "the artifact does not say how faces at rest are usually read (neutral_logits)"
            )
        samples = []
        for path in paths:
            found = self._samples(read_picture(path), shown(Path(path.name)))
            if not found:
                raise PictureError(f"no face was found in {shown(path)}, which was to show one at rest")
            samples.append(found[0])
        self._offset = neutral_offset(read_logits(samples, self._predictor), usual)

    def read(self, path: Path) -> dict[str, Any]:
        """Read one picture.

        Returns:
            Ready for JSON: image, width_px, height_px, faces (largest first; see `reading.answer`), reasons (why
            there is none), prior (that the answers are for), own_neutral (whether one was taken out), artifacts (digests
            of the networks).

        Raises:
            PictureError: it cannot be read.
        """
        picture = read_picture(path)
        faces = answer(
            self._samples(picture, shown(Path(path.name))),
            self._predictor,
            self._artifact,
            opted_out=self._opted_out,
            prior=None if self._stated["name"] == CARRIED else self._prior,
            offset=self._offset,
            confident_above=self._certain,
        )
        return {
            "image": shown(path),
            "width_px": picture.shape[1],
            "height_px": picture.shape[0],
            "faces": faces,
            "reasons": [] if faces else _why_none(picture),
            "prior": self._stated,
            "own_neutral": self._offset is not None,
            "artifacts": self._digests,
        }

    def _samples(self, picture: UInt8Array, name: str) -> list[Sample]:
        if self._detector is None:
            return [sample_crop(picture, name, self._limits)]
        cut = [sample_face(picture, face, self._limits) for face in find_faces(self._detector, picture)]
        return [sample for sample in cut if sample is not None]


def _why_none(picture: UInt8Array) -> list[str]:
    return [NO_FACE, TOO_DARK] if is_dark(np.asarray(picture.max(axis=2), np.uint8)) else [NO_FACE]
