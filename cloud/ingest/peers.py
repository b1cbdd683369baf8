"""The transport end of a session: a peer connection with two data channels."""

from __future__ import annotations

from typing import Protocol


class PeerSink(Protocol):
    """What a peer tells its owner; called on the event loop, must not block or raise."""

    def on_datagram(self, datagram: bytes) -> None:
        """A message arrived on the `crops` channel."""
        ...

    def on_control(self, message: bytes) -> None:
        """A message arrived on the `ctl` channel."""
        ...

    def on_closed(self) -> None:
        """The connection failed or was closed by the other side; called at most once."""
        ...


class Peer(Protocol):
    """One live peer connection."""

    @property
    def answer_sdp(self) -> str:
        """The complete answer, candidates included."""
        ...

    def send_control(self, message: bytes) -> bool:
        """Queue a message on `ctl`; False if the channel is not open or has too much waiting."""
        ...

    async def close(self) -> None:
        """Close the connection; harmless when it is closed already."""
        ...


class PeerEngine(Protocol):
    """Makes answering peers."""

    async def answer(self, offer_sdp: str, sink: PeerSink) -> Peer:
        """Answer an offer; no trickle.

        Raises:
            AdmissionError: the offer cannot be answered (code 422).
        """
        ...
