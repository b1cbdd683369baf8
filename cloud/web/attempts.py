"""How often a credential may be wrong before nobody looks at the next one.

Rules:

F1  Failures are counted per source address (an IPv6 address by its /64) and per credential's public part, its
    *prefix*: a studio's key id, a session's id, or the admin token as such. Twenty and ten at once, then one every
    three and six seconds. Beyond that a request is answered 429 before its credential is looked up.
F2  Who was let in shortly before from the same address with the same prefix is not shut out by the failures of
    others: that pair has a count of its own. So neither a neighbour behind one address nor somebody who knows a
    key's id keeps a studio out that was here of late.
F3  A request that ends something, a withdrawal or an erasure, is never answered 429: the failures of a neighbour may
    not keep anybody's data where it is. What F1 would refuse is looked at all the same, at most `LAST_RESORT_WIDTH`
    at a time. It costs one read by primary key and one hash, right or wrong; a wrong one counts only if F1 would have
    looked at it too, so that a flood at this door shuts no other door for longer.
F4  Memory is bounded, least recently used first; an address is forgotten an hour after it was last counted or let in,
    at the next attempt of anybody. Nothing is written or logged, and nothing outlives the process.

A missing credential is no guess and counts for nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

ENTRIES_MAX = 8_192
REMEMBERED_S = 3_600.0
"""How long somebody who was let in is known, and failures are kept; all are forgiven long before."""

LAST_RESORT_WIDTH = 2
"""How many credentials beyond the limits are looked up at a time (F3): a quarter of the API's connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """`burst` failures at once, then one every `every_s` seconds."""

    burst: int
    every_s: float


PER_ADDRESS = Allowance(burst=20, every_s=3.0)
PER_PREFIX = Allowance(burst=10, every_s=6.0)

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One use of a credential; `prefix` is empty where it is too malformed to have one."""

    address: str
    prefix: str


class FailureLimiter:
    """Counts failures; times are seconds of one clock that the caller reads."""

    def __init__(self, *, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._spent: OrderedDict[Key, tuple[float, float]] = OrderedDict()
        self._good: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spent) + len(self._good)

    def wait_s(self, attempt: Attempt, *, now_s: float) -> int:
        """Say after how many whole seconds an attempt will be looked at; 0 for at once (F1, F2)."""
        waits = [
            (self._level(key, allowance, now_s) + 1 - allowance.burst) * allowance.every_s
            for key, allowance in self._counts(attempt, now_s)
        ]
        return max(0, math.ceil(max(waits)))

    def failed(self, attempt: Attempt, *, now_s: float) -> None:
        """Count a wrong credential."""
        for key, allowance in self._counts(attempt, now_s):
            self._spent[key] = (self._level(key, allowance, now_s) + 1, now_s)
            self._spent.move_to_end(key)
        self._forget(now_s)

    def succeeded(self, attempt: Attempt, *, now_s: float) -> None:
        """Remember who was let in, and from where (F2)."""
        key = (attempt.address, attempt.prefix)
        self._good[key] = now_s
        self._good.move_to_end(key)
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while self._spent and _is_due(next(iter(self._spent.values()))[1], now_s):
            self._spent.popitem(last=False)
        while self._good and _is_due(next(iter(self._good.values())), now_s):
            self._good.popitem(last=False)
        _bound(self._spent, self._entries_max)
        _bound(self._good, self._entries_max)

    def _counts(self, attempt: Attempt, now_s: float) -> list[tuple[Key, Allowance]]:
        pair = (attempt.address, attempt.prefix)
        if not _is_due(self._good.get(pair, -math.inf), now_s):
            return [(pair, PER_PREFIX)]
        counts: list[tuple[Key, Allowance]] = [((attempt.address,), PER_ADDRESS)]
        if attempt.prefix:
            counts.append((("", attempt.prefix), PER_PREFIX))
        return counts

    def _level(self, key: Key, allowance: Allowance, now_s: float) -> float:
        """Failures that are not yet forgiven."""
        spent, at_s = self._spent.get(key, (0.0, now_s))
        return max(0.0, spent - max(0.0, now_s - at_s) / allowance.every_s)


def _is_due(at_s: float, now_s: float) -> bool:
    return now_s - at_s >= REMEMBERED_S


def _bound(entries: OrderedDict[Key, Any], entries_max: int) -> None:
    while len(entries) > entries_max:
        entries.popitem(last=False)
