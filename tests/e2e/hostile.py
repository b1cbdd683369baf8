"""What an attacker on the agent's own machine may send beside the agent's frames, over the agent's own channel."""

from __future__ import annotations

import struct
import time

import cv2
import numpy as np

from edge_agent.session.send import SendLoop
from privacy.crypto.sealing import SessionSealer
from privacy.protocol import limits
from privacy.protocol.envelope import Codec, DatagramKind, wrap_datagram
from privacy.protocol.payload import Features

BOMB_FRAMES = 100_000
"""Frames from here on hold an image bomb inside a valid envelope; none may ever be stored."""

REORDERED_FRAMES = 200_000
"""Frames from here on are good, and are sent the later one first."""

OVERSIZED_FRAME = 3

_COUNTER = slice(24, 32)
_SESSION = slice(4, 20)
_COUNTERS_AHEAD = 2_000
"""Within ingest's replay window: further ahead, an agent would shut out its own later frames (rule S5)."""


def bomb() -> bytes:
    """A small baseline JPEG whose frame header claims 30,000 x 30,000 pixels."""
    done, encoded = cv2.imencode(".jpg", np.full((96, 96, 3), 127, np.uint8))
    assert done
    data = encoded.tobytes()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 30_000, 30_000) + data[at + 4 :]


def attack(sender: SendLoop, frame: int) -> None:
    """Send one hostile datagram after frame `frame`, of a kind that goes round with the frames."""
    link = sender._link
    entry = sender.session._ring._entries.get(frame)
    if link is None or entry is None:
        return
    for kind, data in hostile(link.sealer, entry.envelope, frame):
        link.peer.send_crop(data if kind is None else wrap_datagram(kind, data))


def hostile(sealer: SessionSealer, good: bytes, frame: int) -> list[tuple[DatagramKind | None, bytes]]:
    """Give the datagrams; `None` stands for bytes that are sent as they are."""
    live, late = DatagramKind.LIVE, DatagramKind.LATE
    elsewhere = bytearray(good)
    elsewhere[_COUNTER] = (_COUNTERS_AHEAD + frame).to_bytes(8, "big")
    match frame % 7:
        case 0:  # tampered: the header is authenticated, so a counter that ingest takes is no longer its own
            return [(live, bytes(elsewhere))]
        case 1:  # replayed
            return [(live, good)]
        case 2:  # replayed as a repair, which ingest lets through on purpose
            return [(late, good)]
        case (
            3
        ):  # oversized: as an envelope, and once on the wire (more packets than the window stall the channel)
            padded = good + bytes(limits.ENVELOPE_MAX_BYTES + 1 - len(good))
            wire = [(None, b"\1" + bytes(limits.DATAGRAM_MAX_BYTES))] if frame == OVERSIZED_FRAME else []
            return [*wire, (live, padded)]
        case 4:  # of a foreign session, and under a foreign key in this one
            foreign = bytearray(elsewhere)
            foreign[_SESSION] = bytes(16)
            mixed = bytes(elsewhere[:64]) + np.random.default_rng(frame).bytes(len(good) - 64)
            return [(live, bytes(foreign)), (live, mixed)]
        case 5:
            return [(live, seal(sealer, BOMB_FRAMES + frame, bomb()))]
        case _:
            pair = [
                seal(sealer, REORDERED_FRAMES + 2 * frame + n, bytes([n]) * 48 * 48, raw=True) for n in (0, 1)
            ]
            return [(live, pair[1]), (live, pair[0])]


def seal(sealer: SessionSealer, frame: int, content: bytes, *, raw: bool = False) -> bytes:
    """Seal what the agent never would, with the agent's own key."""
    side_px = 48 if raw else 96
    return sealer.seal(
        now_utc_us=time.time_ns() // 1_000,
        codec=Codec.RAW_GRAY if raw else Codec.JPEG_RGB,
        frame=frame,
        media_time_us=frame * 33_333,
        monotonic_us=time.monotonic_ns() // 1_000,
        face=0,
        faces=1,
        width=side_px,
        height=side_px,
        detector=1,
        segment=0,
        features=Features(attention=1),
        content=content,
    )
