"""Turn an outcome into a sealed envelope."""

from __future__ import annotations

from edge_agent.tracking.pipeline import Outcome
from privacy.crypto.sealing import SessionSealer
from privacy.errors import SealingError
from privacy.protocol import limits
from privacy.protocol.payload import Features


def seal_outcome(
    sealer: SessionSealer,
    outcome: Outcome,
    *,
    media_time_us: int,
    segment: int,
    detector_id: int,
    now_utc_us: int,
) -> bytes:
    """Seal the viewer's face; the face slot is always 0, the consented viewer's.

    Raises:
        SealingError: the outcome has no crop, or the epoch is over.
    """
    crop, quality = outcome.crop, outcome.quality
    if crop is None or quality is None:
        raise SealingError("this frame has no crop to seal")
    return sealer.seal(
        now_utc_us=now_utc_us,
        codec=crop.step.codec,
        frame=outcome.frame,
        media_time_us=media_time_us,
        monotonic_us=outcome.monotonic_us,
        face=0,
        faces=min(outcome.faces, limits.FACES_MAX),
        width=crop.step.side_px,
        height=crop.step.side_px,
        detector=detector_id,
        segment=segment,
        features=Features(
            yaw_deg=quality.pose.yaw_deg,
            pitch_deg=quality.pose.pitch_deg,
            roll_deg=quality.pose.roll_deg,
            quality=quality.score,
            detector_score=min(255, max(0, round(outcome.score * 255))),
            brightness=quality.brightness,
            sharpness=quality.sharpness,
            attention=quality.attention,
        ),
        content=crop.content,
    )
