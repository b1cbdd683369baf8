"""A result store that hands no score to the store beneath it before it is sealed (rule L2)."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace

from cloud.errors import CustodyError, KeyDestroyedError, StoreError
from cloud.results.sealed_packs import seal_pack
from cloud.results.storage import Committed, KeyCustody, Lease, ResultStore, TenantBatch
from privacy.crypto.at_rest import SlotSealer
from privacy.protocol.ids import SessionId, TenantId

KEPT_S = 60.0
"""For this long a session's key is kept in memory; then its file is read again, and a destroyed key is gone here too."""

KEPT_SESSIONS = 20_000

_Known = tuple[float, SlotSealer]


class SealedResultStore:
    """Seals packs under their sessions' data keys; those of a session whose key was destroyed are refused."""

    def __init__(
        self, store: ResultStore, custody: KeyCustody, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._custody = custody
        self._monotonic = monotonic
        self._known: OrderedDict[tuple[TenantId, SessionId], _Known] = OrderedDict()

    async def commit(self, batch: TenantBatch, *, holder: str, leases: Collection[Lease]) -> Committed:
        """Write a tenant's batch in one transaction; writing it again changes nothing.

        Raises:
            LeaseLostError: `holder` no longer holds one of the leases; nothing was written.
            StoreError: the store or the keys cannot be reached; whether it was written is not known.
        """
        sealers = await self._sealers(batch.tenant, {pack.key.session for pack in batch.packs})
        packs = tuple(
            seal_pack(pack, sealers[pack.key.session]) for pack in batch.packs if pack.key.session in sealers
        )
        done = await self._store.commit(replace(batch, packs=packs), holder=holder, leases=leases)
        for pack in packs:
            if pack.key not in done.added:
                self._known.pop((batch.tenant, pack.key.session), None)
        return done

    async def _sealers(
        self, tenant: TenantId, sessions: Collection[SessionId]
    ) -> dict[SessionId, SlotSealer]:
        now = self._monotonic()
        while self._known and (len(self._known) > KEPT_SESSIONS or self._oldest_s() <= now - KEPT_S):
            self._known.popitem(last=False)
        missing = [session for session in sessions if (tenant, session) not in self._known]
        # a new key waits for the disk: several wait together
        found = await asyncio.gather(*(asyncio.to_thread(self._open, tenant, session) for session in missing))
        for session, sealer in zip(missing, found, strict=True):
            if sealer is not None:
                self._known[tenant, session] = (now, sealer)
        return {
            session: self._known[tenant, session][1]
            for session in sessions
            if (tenant, session) in self._known
        }

    def _oldest_s(self) -> float:
        return next(iter(self._known.values()))[0]

    def _open(self, tenant: TenantId, session: SessionId) -> SlotSealer | None:
        try:
            return SlotSealer(self._custody.key(tenant, session))
        except KeyDestroyedError:
            return None
        except CustodyError as error:
            raise StoreError(str(error)) from None
