"""The agent itself, with a network that can be taken away: SIGUSR1 cuts it, SIGUSR2 mends it.

It runs as a process of its own, with the agent's own arguments: `python -m tests.e2e.cut_off run --invite ...`.
While it is cut every datagram is dropped, both ways, and no connection can be made; nothing is closed, as when a
cable is pulled.
"""

from __future__ import annotations

import http.client
import signal
import sys
from typing import Any

import aioice.ice

from edge_agent.cli import main
from edge_agent.session import signaling_client as signalling_client


class Network:
    """Whether anything gets through."""

    is_cut = False


def drop_while_cut(owner: type, name: str) -> None:
    """Let a method that carries a datagram do nothing while the network is cut."""
    carry = getattr(owner, name)

    def carried(self: Any, *datagram: Any) -> None:
        if not Network.is_cut:
            carry(self, *datagram)

    setattr(owner, name, carried)


def cut_where_datagrams_pass() -> None:
    drop_while_cut(aioice.ice.StunProtocol, "datagram_received")
    drop_while_cut(aioice.ice.StunProtocol, "send_stun")
    send = aioice.ice.StunProtocol.send_data

    async def send_data(self: Any, data: bytes, address: tuple[str, int]) -> None:
        if not Network.is_cut:
            await send(self, data, address)

    aioice.ice.StunProtocol.send_data = send_data


def cut_where_connections_are_made() -> None:
    connect_http = http.client.HTTPConnection.connect
    connect_websocket = signalling_client.connect

    def connect(self: http.client.HTTPConnection) -> None:
        if Network.is_cut:
            raise OSError("the network is cut")
        connect_http(self)

    def websocket(*arguments: Any, **options: Any) -> Any:
        if Network.is_cut:
            raise OSError("the network is cut")
        return connect_websocket(*arguments, **options)

    http.client.HTTPConnection.connect = connect  # type: ignore[method-assign]
    signalling_client.connect = websocket  # type: ignore[assignment, misc]


def set_cut(*, to: bool) -> None:
    Network.is_cut = to


if __name__ == "__main__":
    cut_where_datagrams_pass()
    cut_where_connections_are_made()
    signal.signal(signal.SIGUSR1, lambda *_: set_cut(to=True))
    signal.signal(signal.SIGUSR2, lambda *_: set_cut(to=False))
    sys.exit(main(sys.argv[1:]))
