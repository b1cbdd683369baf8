"""The studio's end of a rehearsal: made-up keys, a made-up receipt, the classify worker's own stage.

Nothing here is stored or sent anywhere. The keys live as long as the object, the pictures as long as one call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.classify.classifier import Classifier
from cloud.classify.epochs import EpochBook, open_epoch
from cloud.classify.stage import ScoringRules, classify_faces, open_crops
from cloud.errors import DemoError
from cloud.streams.entries import SealedCrop
from privacy.crypto.keys import MemoryKeyring, generate_pool_key, sign_bundle
from privacy.governance.consent import REQUIRED_TO_SEND
from privacy.governance.receipts import ReceiptClaims, sign_receipt
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import SessionSetup

Float32Array = npt.NDArray[np.float32]

LIFETIME_US = 12 * 3_600 * 1_000_000
"""How long a rehearsal's receipt holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the agent needs to seal: public keys and the receipt; see `edge_agent.rehearsal`."""

    signing_public_key: bytes
    key_bundle: str
    tenant: str
    session: str
    receipt: str


class RehearsalWorker:
    """Opens what one rehearsing agent seals, and reads it with the expression network.

    Args:
        classifier: the engine.
        rules: the artifact's scoring rules.
        utc_us: gives the time, in microseconds since the Unix epoch.
    """

    def __init__(self, classifier: Classifier, rules: ScoringRules, *, utc_us: Callable[[], int]) -> None:
        self._classifier, self._rules, self._utc_us = classifier, rules, utc_us
        self._signing_key = Ed25519PrivateKey.generate()
        self._pool_key = generate_pool_key(utc_us())
        self._keyring = MemoryKeyring([self._pool_key])
        self._session, self._tenant = SessionId(uuid4()), TenantId(UUID(int=0))
        self._book = EpochBook()

    def terms(self, device_public_key: bytes) -> Terms:
        """Write the receipt of a made-up viewer for a device."""
        now = self._utc_us()
        claims = ReceiptClaims(
            receipt_id=uuid4(),
            session=self._session,
            tenant=self._tenant,
            study="rehearsal",
            title="still pictures",
            pseudonym="rehearsal",
            controller="whoever started this rehearsal",
            purposes=REQUIRED_TO_SEND,
            opted_out=frozenset(),
            notice_sha256="0" * 64,
            notice_locale="en",
            jurisdiction="DE",
            device_public_key=device_public_key,
            issued_utc_us=now,
            expires_utc_us=now + LIFETIME_US,
        )
        return Terms(
            signing_public_key=self._signing_key.public_key().public_bytes_raw(),
            key_bundle=sign_bundle([self._pool_key.public], self._signing_key),
            tenant=str(self._tenant),
            session=str(self._session),
            receipt=sign_receipt(claims, self._signing_key),
        )

    def admit(self, setup: SessionSetup) -> None:
        """Open an epoch, by all the rules that hold for a real one.

        Raises:
            OpeningError: it does not open.
            ReceiptError: the receipt does not cover it.
        """
        epoch = open_epoch(
            setup,
            keyring=self._keyring,
            platform_key=self._signing_key.public_key(),
            now_utc_us=self._utc_us(),
        )
        self._book.keep((self._session, setup.epoch), epoch)

    def read(self, envelope: bytes) -> Float32Array:
        """Open one sealed crop and return its logits, float32 of shape (k,); the pixels are overwritten.

        Raises:
            DemoError: the stage refused it, and why.
        """
        now = self._utc_us()
        crop = SealedCrop(late=False, received_utc_us=now, clock_offset_us=0, envelope=envelope)
        opened = open_crops([crop], self._book, now_utc_us=now)
        if not opened.faces:
            raise DemoError(f"a rehearsed crop was refused: {', '.join(opened.refused)}")
        return np.asarray(classify_faces(opened.faces, self._classifier, self._rules)[0], np.float32)
