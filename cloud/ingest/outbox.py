"""Session events on their way to the result stream, the last ten seconds' in reserve.

Redis keeps nothing on disk: what it held when it was killed, and no aggregate worker had committed, is gone. The
agent sends lost frames again (rule R3), but gaps, counters and ends it reports once. So the events of the last
ten seconds are kept here and written again when Redis may have lost them; every one of them is idempotent (P6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cloud.streams.ports import Append

OUTBOX_MAX_EVENTS = 8_192
TAKE_MAX_EVENTS = 256
REPEAT_US = 10_000_000
"""Commits follow within a second; the agent's own memory of what it said is as long (rule S12)."""


class EventOutbox:
    """A bounded queue of event entries, in order; drops its oldest when full.

    Times are microseconds of one monotonic clock that the caller reads.

    Attributes:
        dropped: events given up since the start.
    """

    def __init__(self, *, max_events: int = OUTBOX_MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: deque[Append] = deque()
        self._written: deque[tuple[int, Append]] = deque(maxlen=max_events)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Append) -> None:
        """Queue one event."""
        self._events.append(event)
        self._bound()

    def take(self) -> list[Append]:
        """Take the oldest events, at most `TAKE_MAX_EVENTS`."""
        return [self._events.popleft() for _ in range(min(len(self._events), TAKE_MAX_EVENTS))]

    def put_back(self, events: Sequence[Append]) -> None:
        """Return events that could not be written to the front."""
        self._events.extendleft(reversed(events))
        self._bound()

    def written(self, events: Sequence[Append], *, now_us: int) -> None:
        """Remember events that the stream took, with those of the ten seconds before them."""
        self._written.extend((now_us, event) for event in events)
        while self._written and now_us - self._written[0][0] > REPEAT_US:
            self._written.popleft()

    def repeat(self) -> int:
        """Queue what is remembered again, before whatever waits; return how many events that are."""
        events = [event for _, event in self._written]
        self._written.clear()
        self.put_back(events)
        return len(events)

    def _bound(self) -> None:
        while len(self._events) > self._max_events:
            self._events.popleft()
            self.dropped += 1
