"""Opened session epochs: verified once, kept while they last.

Rules (protocol.md, sealed crop):

C1  Setup, receipt and device belong together, and the receipt permits sending (`privacy.governance.admission`): the
    worker trusts neither ingest nor Redis.
C2  The setup opens with one of the pool's keys (`privacy.crypto.opening`).
C3  An epoch ends with its setup or with its receipt, whichever is first.
C4  A revoked session's epochs are forgotten and never opened again; so are those under an earlier receipt than the
    one in force.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models.expression.inference import opt_out_mask
from privacy.crypto.binding import receipt_digest
from privacy.crypto.keys import Keyring
from privacy.crypto.opening import CLOCK_SKEW_US, OpenSession, open_setup
from privacy.governance.admission import admit_setup
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import SessionSetup

EPOCHS_MAX = 4_096
REVOKED_MAX = 65_536
"""Revoked sessions that are remembered here; one that is forgotten is looked up before it is opened."""

REFUSED_FOR_US = 5_000_000
"""A setup that was refused is not looked at again for this long."""

MISSING_FOR_US = 200_000
"""A setup that is not in the store is asked for again after this long: ingest refreshes it."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEpoch:
    """One epoch of one session that may be opened.

    Attributes:
        opted_out: bool (6,), True at expressions that must not be scored.
        jurisdiction: where the viewer is, as the receipt says; decides which calibration serves.
        until_utc_us: end of the epoch or of the receipt, whichever is first.
        receipt_sha256: hex digest of the receipt it runs under.
    """

    tenant: TenantId
    session: SessionId
    opener: OpenSession
    opted_out: BoolArray
    jurisdiction: str
    until_utc_us: int
    receipt_sha256: str = ""


def open_epoch(
    setup: SessionSetup, *, keyring: Keyring, platform_key: Ed25519PublicKey, now_utc_us: int
) -> OpenEpoch:
    """Verify a setup with its receipt, then open it (C1 to C3).

    Raises:
        OpeningError: it does not open.
        ReceiptError: consent does not cover it.
    """
    # C1
    receipt = admit_setup(setup, platform_key, now_utc_us=now_utc_us)
    # C2
    opener = open_setup(setup, keyring, now_utc_us=now_utc_us)
    # C3
    return OpenEpoch(
        tenant=opener.tenant,
        session=opener.session,
        opener=opener,
        opted_out=opt_out_mask(receipt.opted_out),
        jurisdiction=receipt.jurisdiction,
        until_utc_us=min(setup.not_after_utc_us + CLOCK_SKEW_US, receipt.expires_utc_us),
        receipt_sha256=receipt_digest(setup.receipt).hex(),
    )


EpochKey = tuple[SessionId, int]


class EpochBook:
    """Opened epochs by session and number; bounded, least recently used goes first."""

    def __init__(self, *, max_epochs: int = EPOCHS_MAX) -> None:
        self._max_epochs = max_epochs
        self._open: OrderedDict[EpochKey, OpenEpoch] = OrderedDict()
        self._refused_until_us: dict[EpochKey, int] = {}
        self._revoked: OrderedDict[SessionId, None] = OrderedDict()
        self._in_force: OrderedDict[SessionId, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def missing(self, keys: set[EpochKey], *, now_utc_us: int) -> list[EpochKey]:
        """Return which of these epochs must be fetched and opened now."""
        return [
            key
            for key in sorted(keys)
            if key not in self._open
            and key[0] not in self._revoked
            and now_utc_us >= self._refused_until_us.get(key, 0)
        ]

    def keep(self, key: EpochKey, epoch: OpenEpoch) -> bool:
        """Keep an opened epoch; False if its session or its receipt is over."""
        in_force = self._in_force.get(key[0], epoch.receipt_sha256)
        if key[0] in self._revoked or in_force != epoch.receipt_sha256:
            return False
        self._open[key] = epoch
        while len(self._open) > self._max_epochs:
            self._open.popitem(last=False)
        return True

    def refuse(self, key: EpochKey, *, until_utc_us: int) -> None:
        """Remember that an epoch does not open, or is not there, until then."""
        if len(self._refused_until_us) >= self._max_epochs:
            self._refused_until_us.clear()
        self._refused_until_us[key] = until_utc_us

    def find(self, key: EpochKey, *, now_utc_us: int) -> OpenEpoch | None:
        """Return an opened epoch that still lasts."""
        epoch = self._open.get(key)
        if epoch is None:
            return None
        if now_utc_us >= epoch.until_utc_us:
            del self._open[key]
            return None
        self._open.move_to_end(key)
        return epoch

    def revoke(self, session: SessionId) -> None:
        """Forget a session's keys and keep none again (C4)."""
        self._revoked[session] = None
        while len(self._revoked) > REVOKED_MAX:
            self._revoked.popitem(last=False)
        for key in [key for key in self._open if key[0] == session]:
            del self._open[key]

    def supersede(self, session: SessionId, *, receipt_sha256: str) -> None:
        """Keep only what runs under this receipt; what runs under an earlier one is forgotten (C4)."""
        self._in_force[session] = receipt_sha256
        self._in_force.move_to_end(session)
        while len(self._in_force) > REVOKED_MAX:
            self._in_force.popitem(last=False)
        for key in [key for key in self._open if key[0] == session]:
            if self._open[key].receipt_sha256 != receipt_sha256:
                del self._open[key]

    def is_revoked(self, session: SessionId) -> bool:
        """Say whether the session was revoked."""
        return session in self._revoked

    def sessions(self) -> set[SessionId]:
        """Return the sessions with an opened epoch."""
        return {key[0] for key in self._open}
