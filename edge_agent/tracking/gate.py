"""Decide whether a frame's face is sent, or why not."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.tracking.subject_selector import Choice, Standing
from models.face_crop.quality import Quality
from privacy.protocol.messages import SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """The least that is worth sending; lenient, because the worker reports its own confidence.

    Attributes:
        eyes_min_px: distance between the eyes on the frame.
        brightness_min: mean luma of the crop, 0..255.
        brightness_max: mean luma of the crop, 0..255.
        sharpness_min: as in `Quality`.
        yaw_max_deg: beyond this, half the face is hidden.
    """

    eyes_min_px: float = 10.0
    brightness_min: int = 12
    brightness_max: int = 250
    sharpness_min: int = 3
    yaw_max_deg: int = 75


def refuse_choice(choice: Choice, *, dark: bool) -> str | None:
    """Return the `SkipReason` of a frame without a face to send, None if the viewer's face is there."""
    if choice.standing is Standing.FOLLOWED:
        return None
    if choice.standing is Standing.AMBIGUOUS:
        return SkipReason.AMBIGUOUS_TRACK
    if choice.faces > 0:
        return SkipReason.SECOND_FACE
    return SkipReason.DARK if dark else SkipReason.NO_FACE


def refuse_quality(quality: Quality, settings: GateSettings) -> str | None:
    """Return the `SkipReason` of a crop that no classifier could read, None if it may be sent."""
    if quality.brightness < settings.brightness_min:
        return SkipReason.DARK
    if (
        quality.eyes_px < settings.eyes_min_px
        or quality.brightness > settings.brightness_max
        or quality.sharpness < settings.sharpness_min
        or abs(quality.pose.yaw_deg) > settings.yaw_max_deg
    ):
        return SkipReason.LOW_QUALITY
    return None
