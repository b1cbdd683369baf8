"""Let still pictures take the viewer's side of the street, without camera, network or session.

`countenance-agent preview` shows a viewer what would leave the machine. `countenance-agent rehearse` seals
it for whoever started this process, one JSON object a line:

    agent -> {"device_public_key"}            made for this rehearsal, kept nowhere
    agent <- {"signing_public_key", "key_bundle", "tenant", "session", "receipt"}
    agent <- {"picture"[, "ladder"]}          an encoded picture, and names of `encoding.LADDER` steps
    agent -> {"skip", "step", "envelope", "setup", "quality", "yaw_deg"}   one per picture, in order

Bytes are base64. `setup` comes with the first envelope of each epoch. A picture is held in view until the
pipeline has looked twice, as it would before a camera: coarsely, then closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import UUID

import cv2
import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.camera.frames import FRAME_SIDE_MIN_PX, Frame, UInt8Array, as_bgr
from edge_agent.errors import FrameError, PlatformError, SettingError
from edge_agent.session.sealed import seal_outcome
from edge_agent.tracking.crop_encoding import LADDER, Step
from edge_agent.tracking.pipeline import FramePipeline, Outcome
from edge_agent.tracking.search import FaceSearch
from privacy.crypto.jws import load_public_key
from privacy.crypto.keys import PoolPublicKey, verify_bundle
from privacy.crypto.sealing import SessionSealer
from privacy.errors import KeyringError, SealingError, SignatureError
from privacy.protocol import limits
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import SessionSetup, SkipReason
from privacy.protocol.payload import max_content_bytes

LOOKS = 2
"""Frames that a picture is held in view at least."""

LOOKS_MAX = 36
"""Frames after which a hidden face is found by looking again, and a viewer among several is chosen, or never."""

FRAME_US = 33_333
_EPOCH_US = limits.EPOCH_MAX_S * 1_000_000


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to seal for, and the receipt that allows it."""

    signing_public_key: bytes
    key_bundle: str
    tenant: str
    session: str
    receipt: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to seal."""

    picture: bytes
    ladder: tuple[str, ...] = ()


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one picture; without an envelope, `skip` says why."""

    skip: str | None
    step: str | None = None
    envelope: bytes | None = None
    setup: SessionSetup | None = None
    quality: int = 0
    yaw_deg: int = 0


def decode_picture(content: bytes) -> UInt8Array:
    """Decode a picture file into uint8 (h, w, 3), B, G, R; grey is repeated, a tiny picture framed in grey.

    Raises:
        FrameError: it is no picture, or far too large for a camera's.
    """
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:
        picture = None
    if picture is None:
        raise FrameError("this is not a picture that can be read")
    short = [max(0, FRAME_SIDE_MIN_PX - side) for side in picture.shape[:2]]
    if any(short):
        picture = cv2.copyMakeBorder(
            picture, 0, short[0], 0, short[1], cv2.BORDER_CONSTANT, value=(128, 128, 128)
        )
    return as_bgr(np.asarray(picture, np.uint8))


def find_steps(names: Sequence[str]) -> tuple[Step, ...]:
    """Return steps of `LADDER` by name, in the order given; the whole ladder for no name.

    Raises:
        SettingError: there is no such step.
    """
    known = {step.name: step for step in LADDER}
    if unknown := [name for name in names if name not in known]:
        raise SettingError(f"no encoding is called {unknown[0]!r}; there are: {', '.join(known)}")
    return tuple(known[name] for name in names) or LADDER


def look_at_picture(
    search: FaceSearch, picture: UInt8Array, *, ladder: Sequence[Step] = LADDER, first: int = 0
) -> Outcome:
    """Hold a picture before a fresh pipeline until it is settled what becomes of it.

    Args:
        search: the face search.
        picture: uint8 of shape (h, w, 3), B, G, R.
        ladder: how its crop may be encoded.
        first: index of the first frame.
    """
    pipeline = FramePipeline(search, content_limit_bytes=max_content_bytes(), ladder=ladder)
    for index in range(first, first + LOOKS_MAX):
        outcome = pipeline.look_at(Frame(pixels=picture, index=index, monotonic_us=index * FRAME_US))
        undecided = outcome.skip in (SkipReason.AMBIGUOUS_TRACK, SkipReason.NO_FACE)
        if index - first + 1 >= LOOKS and not undecided:
            break
    return outcome


class Rehearsal:
    """Seals one picture after the other under keys of its own."""

    def __init__(self, search: FaceSearch, *, detector_id: int, utc_us: Callable[[], int]) -> None:
        self._search, self._detector_id, self._utc_us = search, detector_id, utc_us
        self._device_key = Ed25519PrivateKey.generate()
        self._sealer: SessionSealer | None = None
        self._frames = 0

    @property
    def device_public_key(self) -> bytes:
        """Ed25519, 32 bytes: what the receipt must name."""
        return self._device_key.public_key().public_bytes_raw()

    def answer(self, terms: Terms, asked: Asked) -> Answered:
        """Crop and seal one picture.

        Raises:
            FrameError: it is no picture.
            PlatformError: the terms' keys are refused, or sealing is.
        """
        ladder = find_steps(asked.ladder)
        picture = decode_picture(asked.picture)
        outcome = look_at_picture(self._search, picture, ladder=ladder, first=self._frames)
        self._frames = outcome.frame + 1
        if outcome.crop is None or outcome.quality is None:
            return Answered(skip=outcome.skip)
        try:
            sealer, setup = self._current_sealer(terms)
            envelope = seal_outcome(
                sealer,
                outcome,
                media_time_us=outcome.frame * FRAME_US,
                segment=0,
                detector_id=self._detector_id,
                now_utc_us=self._utc_us(),
            )
        except (KeyringError, SignatureError, SealingError, ValueError) as error:
            raise PlatformError(f"the picture cannot be sealed: {error}") from None
        return Answered(
            skip=None,
            step=outcome.crop.step.name,
            envelope=envelope,
            setup=setup,
            quality=outcome.quality.score,
            yaw_deg=outcome.quality.pose.yaw_deg,
        )

    def _current_sealer(self, terms: Terms) -> tuple[SessionSealer, SessionSetup | None]:
        now = self._utc_us()
        if self._sealer is not None and not self._sealer.needs_new_epoch(now):
            return self._sealer, None
        key = _pool_key(terms, now)
        self._sealer = SessionSealer.start(
            key,
            session=SessionId(UUID(terms.session)),
            tenant=TenantId(UUID(terms.tenant)),
            epoch=1 if self._sealer is None else self._sealer.setup.epoch + 1,
            receipt=terms.receipt,
            device_key=self._device_key,
            not_after_utc_us=min(now + _EPOCH_US, key.not_after_utc_us),
        )
        return self._sealer, self._sealer.setup


def rehearse(rehearsal: Rehearsal, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Speak the agent's part of the module's dialogue.

    Args:
        rehearsal: seals.
        lines: what the other side says, a line each; read only as far as it was answered.

    Raises:
        PlatformError: a line is not what the dialogue asks for, or its keys are refused.
    """
    yield msgspec.json.encode({"device_public_key": rehearsal.device_public_key})
    heard = iter(lines)
    terms: Terms | None = None
    for line in heard:
        try:
            if terms is None:
                terms = msgspec.json.decode(line, type=Terms)
                continue
            asked = msgspec.json.decode(line, type=Asked)
        except msgspec.MsgspecError:
            raise PlatformError("a line of the rehearsal is malformed") from None
        yield msgspec.json.encode(rehearsal.answer(terms, asked))


def _pool_key(terms: Terms, now_utc_us: int) -> PoolPublicKey:
    return verify_bundle(terms.key_bundle, load_public_key(terms.signing_public_key), now_utc_us)[0]
