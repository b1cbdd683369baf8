"""Session events that wait to be written to the result stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cloud.ports.streams import Append

OUTBOX_MAX_EVENTS = 8_192
TAKE_MAX_EVENTS = 256


class EventOutbox:
    """A bounded queue of event entries, in order; drops its oldest when full.

    Attributes:
        dropped: events given up since the start.
    """

    def __init__(self, *, max_events: int = OUTBOX_MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: deque[Append] = deque()
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

    def _bound(self) -> None:
        while len(self._events) > self._max_events:
            self._events.popleft()
            self.dropped += 1
