"""The agent's resend ring: sealed envelopes until they are committed, ten seconds at most (rule R3)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from privacy.protocol import limits
from privacy.protocol.messages import Ack

ACK_WAIT_US = 2_000_000
"""Commits are acked within about a second; before this a missing ack says nothing."""

ENTRIES_MAX = 1_024
"""Bounds the ring's memory to about 3.5 MB, whatever the frame rate."""

FRAMES_PER_RESEND = 10
RESENDS_BURST = 60


@dataclass(slots=True)
class RingEntry:
    """One envelope that is not known to be committed."""

    frame: int
    segment: int
    media_time_us: int
    sent_us: int
    envelope: bytes = field(repr=False)
    tried_us: int = 0


class ResendRing:
    """Holds what was sent and not acked, in the order of its frames."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, RingEntry] = OrderedDict()
        self._credit = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: RingEntry) -> list[RingEntry]:
        """Hold one more envelope; give those that had to leave for lack of room."""
        entry.tried_us = entry.sent_us
        self._entries[entry.frame] = entry
        self._credit = min(RESENDS_BURST * FRAMES_PER_RESEND, self._credit + 1)
        overflow = len(self._entries) - ENTRIES_MAX
        return [self._entries.popitem(last=False)[1] for _ in range(overflow)]

    def ack(self, message: Ack) -> int:
        """Let go of the frames that are committed; give how many were held."""
        first = message.bucket * limits.FRAMES_PER_PACK
        held = 0
        for bit in range(limits.FRAMES_PER_PACK):
            if message.mask >> bit & 1 and self._entries.pop(first + bit, None) is not None:
                held += 1
        return held

    def expire(self, now_us: int) -> list[RingEntry]:
        """Let go of what is older than the ring, oldest first; those frames may be lost."""
        expired = []
        while self._entries:
            entry = next(iter(self._entries.values()))
            if now_us - entry.sent_us < limits.RESEND_RING_US:
                break
            expired.append(self._entries.popitem(last=False)[1])
        return expired

    def take_all(self) -> list[RingEntry]:
        """Let go of everything, oldest first: there is no time left to repair it."""
        entries = list(self._entries.values())
        self._entries.clear()
        return entries

    def take_resends(self, now_us: int, *, ack_wait_us: int = ACK_WAIT_US) -> list[bytes]:
        """Give envelopes to send again, oldest first, within a tenth of the rate."""
        resends: list[bytes] = []
        for entry in self._entries.values():
            if self._credit < FRAMES_PER_RESEND or now_us - entry.sent_us < ack_wait_us:
                break
            if now_us - entry.tried_us >= ack_wait_us:
                entry.tried_us = now_us
                self._credit -= FRAMES_PER_RESEND
                resends.append(entry.envelope)
        return resends

    def clear(self) -> None:
        """Forget every envelope, as after a withdrawal."""
        self._entries.clear()
