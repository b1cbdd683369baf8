"""The only room where a face is in the open: from sealed crops to score records.

Rules (protocol.md, sealed crop, check order): envelope; freshness; consent; AEAD; payload; JPEG walk;
decode. Whatever is refused is counted by reason and the batch goes on. Each crop is opened into one
buffer and decoded from there, and the buffer is overwritten before the next; pixels are overwritten as soon as the
network has seen them. The threat model (T18) says what libraries keep beside that.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloud.classify.classifier import Classifier
from cloud.classify.decoding import decode_crop
from cloud.classify.epochs import EpochBook, EpochKey, OpenEpoch
from cloud.classify.planning import plan_batches
from cloud.classify.refusals import Refusal
from cloud.streams.entries import (
    FLAG_GREY,
    FLAG_LATE,
    FLAG_ON_DEVICE,
    FLAG_OUT_OF_SCOPE,
    FLAG_UNCERTAIN,
    ScoreRecord,
    SealedCrop,
)
from models.expression.inference import FULL_SCALE, score_logits, store_probabilities
from models.expression.preprocessing import prepare_batch
from models.expression.regions import Calibration, RegionalCalibration
from models.expression.scope import ScopeRule, out_of_scope
from privacy.crypto.opening import PLAINTEXT_MAX_BYTES
from privacy.errors import ContentError, EnvelopeError, OpeningError, PayloadError, WireError
from privacy.protocol import limits
from privacy.protocol.content import Scores, check_content, decode_scores_content
from privacy.protocol.envelope import Codec, Header, decode_envelope
from privacy.protocol.ids import SessionId

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
AgentScores = tuple[bytes, float]
"""Six u8 that sum to 255, and the confidence in [0, 1]."""

N_EXPRESSIONS = 6
CONSENTED_FACE = 0
"""The slot that the receipt covers; a second face needs a receipt of its own (compliance G10)."""

_NOTHING = bytes(PLAINTEXT_MAX_BYTES)
GREY_CODECS = frozenset({Codec.JPEG_GRAY, Codec.RAW_GRAY})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringRules:
    """What turns logits into stored numbers; comes with the artifact.

    Attributes:
        temperature: calibration temperature, above 0.
        input_side_px: side of the network input.
        confident_above: below this confidence a score is flagged uncertain.
        scope: when a face shows none of the six; None where the network cannot tell.
        regions: calibrations of regions that have their own, by ISO 3166 code.
    """

    temperature: float
    input_side_px: int
    confident_above: float
    scope: ScopeRule | None = None
    regions: Mapping[str, Calibration] = field(default_factory=dict)

    def calibration(self, jurisdiction: str) -> Calibration:
        """Give the calibration that serves a jurisdiction."""
        own = Calibration(temperature=self.temperature, confident_above=self.confident_above)
        return RegionalCalibration(own=own, regions=self.regions).for_jurisdiction(jurisdiction)


@dataclass(slots=True, kw_only=True, repr=False)
class Face:
    """One opened crop, with all that its score record needs but the score; repr shows no pixel.

    Attributes:
        pixels: decoded crop, or None where the agent sent scores.
        scores: what the agent sent in place of a crop, opt-outs applied, or None.
    """

    header: Header
    epoch: OpenEpoch
    late: bool
    captured_utc_us: int
    attention: int
    pixels: UInt8Array | None
    scores: AgentScores | None


@dataclass(slots=True, kw_only=True, repr=False)
class Opened:
    """Faces of one stream entry in its order, and what was refused.

    Attributes:
        told: what was refused, by the session that each crop claims to be of.
    """

    faces: list[Face] = field(default_factory=list)
    refused: Counter[Refusal] = field(default_factory=Counter)
    told: Counter[tuple[SessionId, Refusal]] = field(default_factory=Counter)

    def refuse(self, crop: SealedCrop, reason: Refusal) -> None:
        """Count a crop that got no face; one whose header cannot be read belongs to nobody."""
        self.refused[reason] += 1
        with contextlib.suppress(EnvelopeError):
            self.told[decode_envelope(crop.envelope)[0].session, reason] += 1


def epochs_of(crops: Sequence[SealedCrop]) -> set[EpochKey]:
    """Return the session epochs that these crops claim to belong to; malformed ones claim nothing."""
    keys = set()
    for crop in crops:
        try:
            header, _, _ = decode_envelope(crop.envelope)
        except EnvelopeError:
            continue
        keys.add((header.session, header.epoch))
    return keys


def open_crops(crops: Sequence[SealedCrop], book: EpochBook, *, now_utc_us: int) -> Opened:
    """Open and decode what may be opened.

    Args:
        crops: one entry's sealed crops.
        book: opened epochs.
        now_utc_us: for freshness and the ends of epochs.
    """
    opened = Opened()
    # one place for every plaintext, overwritten after each
    buffer = bytearray(PLAINTEXT_MAX_BYTES)
    for crop in crops:
        try:
            found = _open_crop(crop, book, buffer, now_utc_us=now_utc_us)
        except EnvelopeError:
            found = Refusal.ENVELOPE
        except OpeningError:
            found = Refusal.SEAL
        except ContentError:
            found = Refusal.CONTENT
        except PayloadError:
            found = Refusal.PAYLOAD
        except WireError:
            found = Refusal.ENVELOPE
        finally:
            buffer[:] = _NOTHING
        if isinstance(found, Refusal):
            opened.refuse(crop, found)
        else:
            opened.faces.append(found)
    return opened


def classify_faces(faces: Sequence[Face], classifier: Classifier, rules: ScoringRules) -> Float32Array:
    """Run the network over the faces that have pixels, then overwrite every pixel.

    Returns:
        float32 of shape (faces with pixels, 6 or 7): logits, in the order of `faces`.
    """
    pixels = [face.pixels for face in faces if face.pixels is not None]
    if not pixels:
        return np.empty((0, N_EXPRESSIONS), np.float32)
    prepared: Float32Array | None = None
    try:
        prepared = prepare_batch(pixels, side_px=rules.input_side_px)
        return _run_padded(prepared, classifier)
    finally:
        wipe(faces)
        if prepared is not None:
            prepared.fill(0)


def wipe(faces: Sequence[Face]) -> None:
    """Overwrite the pixels of every face and let them go."""
    for face in faces:
        if face.pixels is not None:
            face.pixels.fill(0)
            face.pixels = None


def score_faces(
    faces: Sequence[Face], logits: Float32Array, rules: ScoringRules, *, classified_utc_us: int
) -> list[ScoreRecord]:
    """Turn logits, or the scores that agents sent, into records with opt-outs applied.

    Args:
        faces: in the order in which they were opened; pixels are wiped already.
        logits: float32, one row per face that had pixels, in order.
        rules: the artifact's scoring rules.
        classified_utc_us: when the logits were ready.
    """
    records = [
        _record(face, *face.scores, rules, classified_utc_us) if face.scores is not None else None
        for face in faces
    ]
    seen = [index for index, face in enumerate(faces) if face.scores is None]
    if seen:
        opted_out = np.stack([faces[index].epoch.opted_out for index in seen])
        temperature = np.array([_calibration(faces[index], rules).temperature for index in seen])
        scores = score_logits(logits, temperature=temperature, opted_out=opted_out)
        outside = out_of_scope(logits, rules.scope, opted_out=opted_out)
        for row, index in enumerate(seen):
            stored, confidence = scores.stored[row].tobytes(), float(scores.confidence[row])
            marks = FLAG_OUT_OF_SCOPE | FLAG_UNCERTAIN if outside[row] else 0
            records[index] = _record(faces[index], stored, confidence, rules, classified_utc_us, marks)
    return [record for record in records if record is not None]


def _open_crop(crop: SealedCrop, book: EpochBook, buffer: bytearray, *, now_utc_us: int) -> Face | Refusal:
    header, _, _ = decode_envelope(crop.envelope)
    captured_utc_us = crop.received_utc_us
    if crop.clock_offset_us:
        # nothing can be captured after it arrived: the agent's estimate is bounded by what we saw
        captured_utc_us = min(captured_utc_us, header.monotonic_us + crop.clock_offset_us)
    max_age_us = limits.LATE_MAX_AGE_US if crop.late else limits.FRESH_MAX_AGE_US
    if now_utc_us - captured_utc_us > max_age_us:
        return Refusal.STALE
    if header.face != CONSENTED_FACE:
        return Refusal.FACE
    if book.is_revoked(header.session):
        return Refusal.REVOKED
    epoch = book.find((header.session, header.epoch), now_utc_us=now_utc_us)
    if epoch is None:
        return Refusal.NO_SETUP
    frame = epoch.opener.open(crop.envelope, buffer)
    face = Face(
        header=frame.header,
        epoch=epoch,
        late=crop.late,
        captured_utc_us=captured_utc_us,
        attention=frame.features.attention,
        pixels=None,
        scores=None,
    )
    check_content(frame.header, frame.content)
    if frame.header.codec is Codec.SCORES:
        face.scores = _apply_opt_outs(decode_scores_content(frame.content), epoch.opted_out)
        return Refusal.SCORES if face.scores is None else face
    face.pixels = decode_crop(frame.header, frame.content)
    return face


def _apply_opt_outs(scores: Scores, opted_out: BoolArray) -> AgentScores | None:
    """Remove what is opted out, as the agent should have done; None if nothing is left."""
    if not opted_out.any():
        return scores.probabilities, scores.confidence / FULL_SCALE
    # the confidence that was sent may know of what is opted out: it is computed anew (compliance G1)
    sent = np.frombuffer(scores.probabilities, np.uint8)
    kept = np.where(opted_out, 0.0, sent.astype(np.float64))
    total = kept.sum()
    if total == 0:
        return None
    probabilities = kept / total
    return store_probabilities(probabilities[None])[0].tobytes(), float(probabilities.max())


def _run_padded(prepared: Float32Array, classifier: Classifier) -> Float32Array:
    parts = []
    start = 0
    for count, size in plan_batches(len(prepared), device=classifier.device):
        batch = np.zeros((size, *prepared.shape[1:]), np.float32)
        batch[:count] = prepared[start : start + count]
        try:
            parts.append(classifier.classify(batch)[:count])
        finally:
            batch.fill(0)
        start += count
    return np.concatenate(parts)


def _calibration(face: Face, rules: ScoringRules) -> Calibration:
    return rules.calibration(face.epoch.jurisdiction)


def _record(
    face: Face, stored: bytes, confidence: float, rules: ScoringRules, classified_utc_us: int, marks: int = 0
) -> ScoreRecord:
    header = face.header
    flags = marks | (FLAG_LATE if face.late else 0)
    flags |= FLAG_GREY if header.codec in GREY_CODECS else 0
    flags |= FLAG_ON_DEVICE if header.codec is Codec.SCORES else 0
    flags |= FLAG_UNCERTAIN if confidence < _calibration(face, rules).confident_above else 0
    return ScoreRecord(
        tenant=face.epoch.tenant,
        session=header.session,
        face=header.face,
        segment=header.segment,
        frame=header.frame,
        media_time_us=header.media_time_us,
        captured_utc_us=face.captured_utc_us,
        classified_utc_us=classified_utc_us,
        probabilities=stored,
        confidence=round(confidence * FULL_SCALE),
        attention=face.attention,
        flags=flags,
    )
