"""Which connections a server keeps when there are more than it can serve.

Rules:

H1  A connection is *waiting* until it has sent a whole request, and *answering* from then on. One whose peer does not
    read its answer is *stalled*. At most `total` connections are open, and `per_source` of one source (an IPv6 address
    by its /64).
H2  A new connection is never turned away for the sake of one that waits. Where the source has its share, it loses its
    own oldest waiting connection; where the server is full, the source with the most waiting ones does. Stalled ones
    go where none waits. So sockets that say nothing, or say it slowly, cost their owner a connection and others
    nothing, also behind an address that they share.
H3  Where nothing can be given up, since every connection is being answered, a newcomer gets one of the `reserved`
    places beyond the total. There only what ends something is served (`is_reserved`), so that a withdrawal has a place
    however many others are being served. The oldest waiting one of these goes first when they are taken as well.

Nothing here opens or closes a socket: the caller is told what to close.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto


class Standing(Enum):
    """What a connection is to the server at a moment (H1)."""

    WAITING = auto()
    ANSWERING = auto()
    STALLED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections there may be.

    Attributes:
        total: open at a time, without the reserved ones.
        per_source: of these, from one source.
        reserved: beyond the total, for what ends something.
    """

    total: int = 512
    per_source: int = 256
    reserved: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What becomes of a new connection.

    Attributes:
        is_admitted: it may stay; otherwise it is closed at once, and unknown to the table.
        is_reserved: it has a reserved place (H3).
        closed: the connection that must be closed for it, already forgotten here; None for none.
    """

    is_admitted: bool = True
    is_reserved: bool = False
    closed: Hashable | None = None


class ConnectionTable:
    """The open connections of one server; each is a hashable handle of the caller's."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._open = _Places()
        self._reserved = _Places()

    def __len__(self) -> int:
        return len(self._open) + len(self._reserved)

    def admit(self, connection: Hashable, source: str) -> Admission:
        """Find a place for a new connection, which waits at first (H2, H3)."""
        places, limits = self._open, self._limits
        closed: Hashable | None = None
        if places.of_source[source] >= limits.per_source:
            closed = places.dispensable(source)
        elif len(places) >= limits.total:
            closed = places.dispensable(None)
        else:
            places.add(connection, source)
            return Admission()
        if closed is not None:
            places.remove(closed)
            places.add(connection, source)
            return Admission(closed=closed)
        return self._admit_reserved(connection, source)

    def stands(self, connection: Hashable, standing: Standing) -> None:
        """Note what a connection is doing now; whoever begins to wait again is the youngest of those who wait."""
        for places in (self._open, self._reserved):
            places.stands(connection, standing)

    def forget(self, connection: Hashable) -> None:
        """Free the place of a connection that ended; one that is not known is no error."""
        for places in (self._open, self._reserved):
            places.remove(connection)

    def _admit_reserved(self, connection: Hashable, source: str) -> Admission:
        closed: Hashable | None = None
        if len(self._reserved) >= self._limits.reserved:
            closed = self._reserved.dispensable(None)
            if closed is None:
                return Admission(is_admitted=False)
            self._reserved.remove(closed)
        self._reserved.add(connection, source)
        return Admission(is_reserved=True, closed=closed)


class _Places:
    """Connections by what they do, and within that by source, oldest first."""

    def __init__(self) -> None:
        self.of_source: Counter[str] = Counter()
        self._sources: dict[Hashable, tuple[str, Standing]] = {}
        self._queues: dict[Standing, dict[str, OrderedDict[Hashable, None]]] = {kind: {} for kind in Standing}

    def __len__(self) -> int:
        return len(self._sources)

    def add(self, connection: Hashable, source: str) -> None:
        self.of_source[source] += 1
        self._enter(connection, source, Standing.WAITING)

    def stands(self, connection: Hashable, standing: Standing) -> None:
        if connection in self._sources:
            source, before = self._sources[connection]
            if before is not standing:
                self._leave(connection)
                self._enter(connection, source, standing)

    def remove(self, connection: Hashable) -> None:
        if connection not in self._sources:
            return
        source = self._leave(connection)
        self.of_source[source] -= 1
        if not self.of_source[source]:
            del self.of_source[source]

    def dispensable(self, source: str | None) -> Hashable | None:
        """Name the oldest that waits or else is stalled, of a source, or of the one that has most of them."""
        for standing in (Standing.WAITING, Standing.STALLED):
            queues = self._queues[standing]
            if source is None and queues:
                most = max(queues, key=lambda name: len(queues[name]))
                return next(iter(queues[most]))
            if source is not None and source in queues:
                return next(iter(queues[source]))
        return None

    def _enter(self, connection: Hashable, source: str, standing: Standing) -> None:
        self._sources[connection] = (source, standing)
        self._queues[standing].setdefault(source, OrderedDict())[connection] = None

    def _leave(self, connection: Hashable) -> str:
        source, standing = self._sources.pop(connection)
        queue = self._queues[standing][source]
        del queue[connection]
        if not queue:
            del self._queues[standing][source]
        return source


def source_of(host: str | None) -> str:
    """Give the source that an address stands for: a whole IPv6 /64 is one."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
