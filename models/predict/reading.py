"""From faces in a picture to answers about them, each with its reasons for doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import PictureError
from models.expression.inference import BoolArray, Float64Array, score_logits
from models.expression.loading import ExpressionArtifact
from models.expression.scope import out_of_scope
from models.expression.taxonomy import LABELS, N_LABELS
from models.face_crop.alignment import CROP_SIDE_PX, crop_matrix, cut_crop
from models.face_crop.quality import Quality, brightness_of, measure, sharpness_of
from models.face_crop.shrinking import UInt8Array
from models.face_detector.still_search import FoundFace
from models.training.expression.evaluation.engines import Predictor

CROP_MIN_SIDE_PX = 16


class Doubt(StrEnum):
    """Why an answer is not to be relied on."""

    LOW_CONFIDENCE = "low_confidence"
    OUT_OF_SCOPE = "out_of_scope"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    TURNED_AWAY = "turned_away"
    CUT_OFF = "cut_off"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtLimits:
    """From where on a face's quality makes its answer doubtful.

    Sharpness and size are where accuracy on a twelfth of RAF-DB's training pictures, blurred or shrunk on purpose, had
    fallen by two to five points (of .89); darkness, brightness and yaw are where the agent's gate refuses a crop.

    Attributes:
        sharpness_min: as in `models.face_crop.quality`, 0..255.
        eyes_min_px: distance between the eyes in the picture.
        brightness_min: mean luma of the crop, 0..255.
        brightness_max: mean luma of the crop, 0..255.
        yaw_max_deg: to either side.
        outside_max_share: share of the crop that lies outside the picture.
    """

    sharpness_min: int = 10
    eyes_min_px: float = 12.0
    brightness_min: int = 12
    brightness_max: int = 250
    yaw_max_deg: int = 75
    outside_max_share: float = 0.15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A crop on its way to the expression network, with what is already known about it.

    Attributes:
        crop: uint8 of shape (side, side, 3), B, G, R.
        doubts: from its quality.
        facts: box and quality, ready for JSON.
    """

    crop: UInt8Array
    doubts: tuple[Doubt, ...]
    facts: dict[str, Any]


def sample_face(picture: UInt8Array, face: FoundFace, limits: DoubtLimits) -> Sample | None:
    """Cut a found face as the agent does, and look at its quality; None where its landmarks coincide."""
    try:
        crop = cut_crop(picture, face.landmarks_px)
        outside = outside_share(picture, face.landmarks_px)
    except ValueError:
        return None
    quality = measure(crop, face.landmarks_px)
    facts = {
        "box_xyxy_px": [round(float(v), 1) for v in face.box_xyxy_px],
        "face_score": round(face.score, 4),
        "quality": {
            "eyes_px": round(quality.eyes_px, 1),
            "brightness": quality.brightness,
            "sharpness": quality.sharpness,
            "yaw_deg": quality.pose.yaw_deg,
            "pitch_deg": quality.pose.pitch_deg,
            "roll_deg": quality.pose.roll_deg,
        },
    }
    return Sample(crop=crop, doubts=quality_doubts(quality, outside, limits), facts=facts)


def sample_crop(picture: UInt8Array, name: str, limits: DoubtLimits) -> Sample:
    """Take a picture that already is a face crop; only its light and sharpness can be looked at.

    Raises:
        PictureError: a side is below 16 pixels.
    """
    height, width = picture.shape[:2]
    if min(height, width) < CROP_MIN_SIDE_PX:
        raise PictureError(f"{name} has {width} x {height} pixels: too few for a face crop")
    method = cv2.INTER_AREA if min(height, width) > CROP_SIDE_PX else cv2.INTER_LINEAR
    shown = cv2.resize(picture, (CROP_SIDE_PX, CROP_SIDE_PX), interpolation=method)
    grey = np.asarray(cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY), np.uint8)
    brightness, sharpness = round(brightness_of(grey)), round(sharpness_of(grey))
    facts = {
        "box_xyxy_px": [0.0, 0.0, float(width), float(height)],
        "face_score": None,
        "quality": {"brightness": brightness, "sharpness": sharpness},
    }
    return Sample(crop=picture, doubts=_light_doubts(brightness, sharpness, limits), facts=facts)


def answer(
    samples: Sequence[Sample],
    predictor: Predictor,
    artifact: ExpressionArtifact,
    *,
    opted_out: BoolArray,
    prior: Float64Array | None = None,
    offset: Float64Array | None = None,
    confident_above: float | None = None,
) -> list[dict[str, Any]]:
    """Read the expression in every sample.

    Args:
        samples: of one or more pictures.
        predictor: the variant of the artifact to run.
        artifact: for calibration, threshold and scope.
        opted_out: bool (6,), expressions that must not be looked at.
        prior: float64 (6,), to answer for; None: what the artifact's logits carry.
        offset: float64 (6,), a person's own neutral, taken out of the logits; None: nobody's.
        confident_above: confidence from which an answer is certain; None: the artifact's.

    Returns:
        One object per sample, ready for JSON: box, expression, confidence, uncertain, reasons, probabilities,
        sentiment, quality. `expression` is the likeliest one also where it is uncertain.
    """
    if not samples:
        return []
    logits = read_logits(samples, predictor)
    moved = np.array(logits, np.float64)
    if offset is not None:
        moved[:, :N_LABELS] -= offset
    if prior is not None:
        moved = artifact.at_prior(moved, prior)
    scores = score_logits(moved, temperature=artifact.temperature, opted_out=opted_out)
    outside = out_of_scope(logits, artifact.scope, opted_out=opted_out)
    certain = artifact.confident_above if confident_above is None else confident_above
    answers = []
    for i, sample in enumerate(samples):
        doubts = list(sample.doubts)
        if outside[i]:
            doubts.insert(0, Doubt.OUT_OF_SCOPE)
        if scores.confidence[i] < certain:
            doubts.insert(0, Doubt.LOW_CONFIDENCE)
        shares = _shares(scores.probabilities[i], opted_out)
        answers.append(
            {
                **sample.facts,
                "expression": max(shares, key=lambda label: shares[label]) if shares else None,
                "confidence": round(float(scores.confidence[i]), 4),
                "uncertain": bool(doubts),
                "reasons": [str(doubt) for doubt in doubts],
                "probabilities": shares,
                "sentiment": round(float(scores.sentiment[i]), 4),
            }
        )
    return answers


def read_logits(samples: Sequence[Sample], predictor: Predictor) -> npt.NDArray[np.float32]:
    """Return the network's logits about samples, float32 (n, 6 or 7)."""
    return predictor([sample.crop[..., ::-1] for sample in samples])


def quality_doubts(quality: Quality, outside: float, limits: DoubtLimits) -> tuple[Doubt, ...]:
    """Return what a face's quality speaks against; empty if nothing."""
    found = list(_light_doubts(quality.brightness, quality.sharpness, limits))
    if quality.eyes_px < limits.eyes_min_px:
        found.append(Doubt.TOO_SMALL)
    if abs(quality.pose.yaw_deg) > limits.yaw_max_deg:
        found.append(Doubt.TURNED_AWAY)
    if outside > limits.outside_max_share:
        found.append(Doubt.CUT_OFF)
    return tuple(found)


def outside_share(picture: UInt8Array, landmarks: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """Return the share of a face's crop that lies outside the picture, in [0, 1].

    Raises:
        ValueError: eyes and mouth coincide.
    """
    height, width = picture.shape[:2]
    inverse = cv2.invertAffineTransform(crop_matrix(landmarks))
    steps = np.linspace(0.0, CROP_SIDE_PX - 1.0, 24)
    x, y = np.meshgrid(steps, steps)
    points = np.stack([x.ravel(), y.ravel()], axis=1) @ inverse[:, :2].T + inverse[:, 2]
    inside = ((points >= 0) & (points <= (width - 1, height - 1))).all(axis=1)
    return 1.0 - float(inside.mean())


def _light_doubts(brightness: int, sharpness: int, limits: DoubtLimits) -> tuple[Doubt, ...]:
    checks = (
        (Doubt.BLURRED, sharpness < limits.sharpness_min),
        (Doubt.TOO_DARK, brightness < limits.brightness_min),
        (Doubt.TOO_BRIGHT, brightness > limits.brightness_max),
    )
    return tuple(doubt for doubt, holds in checks if holds)


def _shares(probabilities: Float64Array, opted_out: BoolArray) -> dict[str, float]:
    return {label: round(float(probabilities[i]), 4) for i, label in enumerate(LABELS) if not opted_out[i]}
