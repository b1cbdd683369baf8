"""Keeps aiortc's SCTP association within the bounds of `privacy.protocol.sctp`, packet by packet.

aiortc reassembles messages and orders chunks without a bound of its own. Its transport hands each packet to
`_handle_data`; that method of this one association is wrapped. (One such file lies at each end of the street.)
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from aiortc import RTCSctpTransport

from privacy.protocol.sctp import Backlog, Breach, SctpBounds, Verdict

_PARSER_ERRORS = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, struct.error)
"""What aiortc raises on chunks that make no sense in its state."""


def bound_association(sctp: RTCSctpTransport, *, on_breach: Callable[[Breach], None]) -> SctpBounds:
    """Take no more from a peer than the bounds allow.

    Args:
        sctp: an association that has not begun.
        on_breach: told once, when a bound is broken; nothing is taken from then on, and the caller hangs up.
    """
    bounds = SctpBounds()
    take = sctp._handle_data
    window_bytes = sctp._advertised_rwnd

    async def handle(data: bytes) -> None:
        if bounds.breach is not None:
            return
        if bounds.judge(data, now_us=time.monotonic_ns() // 1_000) is Verdict.TAKEN:
            try:
                await take(data)
            except _PARSER_ERRORS:
                bounds.breach = Breach.MALFORMED
            bounds.settle(_backlog(sctp, window_bytes))
        if bounds.breach is not None:
            on_breach(bounds.breach)

    sctp._handle_data = handle  # type: ignore[method-assign]
    return bounds


def _backlog(sctp: RTCSctpTransport, window_bytes: int) -> Backlog:
    return Backlog(
        unfinished_chunks=sum(len(stream.reassembly) for stream in sctp._inbound_streams.values()),
        unfinished_bytes=window_bytes - sctp._advertised_rwnd,
        misordered=len(sctp._sack_misordered),
        streams=max(len(sctp._inbound_streams), len(sctp._data_channels)),
        waiting=len(sctp._data_channel_queue) + len(sctp._outbound_queue) + len(sctp._sent_queue),
    )
