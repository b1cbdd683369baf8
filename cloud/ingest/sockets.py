"""Which websockets speak for which session, and how often each session may offer.

Rules:

N1  A session has at most `SOCKETS_PER_SESSION` websockets that have proven themselves: the one whose peer carries frames,
    the one of the next epoch, and one more while an attempt that failed is closing. A newer one costs the oldest.
N2  A session offers once a second and ten times at once, over however many websockets; each answer costs keys and
    sockets, and an agent needs one in minutes.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque

from cloud.signaling.ports import SignallingConnection
from privacy.protocol.ids import SessionId
from privacy.protocol.rate import TokenBucket

SOCKETS_PER_SESSION = 3
OFFERS_PER_S = 1
OFFERS_BURST = 10
SESSIONS_REMEMBERED = 4_096


def offers_bucket() -> TokenBucket:
    """Make the bucket of one session's offers, or of one websocket's."""
    return TokenBucket(rate_per_s=OFFERS_PER_S, burst=OFFERS_BURST)


class SessionSockets:
    """The websockets of sessions that have proven themselves."""

    def __init__(self) -> None:
        self._sockets: dict[SessionId, deque[SignallingConnection]] = {}
        self._offers: OrderedDict[SessionId, TokenBucket] = OrderedDict()

    def may_offer(self, session: SessionId) -> bool:
        """Count an offer of a session that has proven itself; False for one too many (N2)."""
        bucket = self._offers.setdefault(session, offers_bucket())
        self._offers.move_to_end(session)
        if len(self._offers) > SESSIONS_REMEMBERED:
            self._offers.popitem(last=False)
        return bucket.take(1, now_us=time.monotonic_ns() // 1_000)

    def join(self, session: SessionId, connection: SignallingConnection) -> SignallingConnection | None:
        """Give a websocket its seat; return the one that has to go for it, if any (N1)."""
        connection.keep()
        mine = self._sockets.setdefault(session, deque())
        if connection in mine:
            return None
        mine.append(connection)
        return mine.popleft() if len(mine) > SOCKETS_PER_SESSION else None

    def leave(self, connection: SignallingConnection) -> None:
        """Forget a websocket that is over."""
        for session in [session for session, mine in self._sockets.items() if connection in mine]:
            self._sockets[session].remove(connection)
            if not self._sockets[session]:
                del self._sockets[session]
