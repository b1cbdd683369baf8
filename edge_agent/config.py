"""Settings of one run, checked once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import SettingError
from edge_agent.invite import Invite

FPS_RANGE = (1.0, 60.0)
DURATION_MAX_S = 6 * 3600.0
CAMERA_DELAY_MAX_MS = 500
ICE_URL_PATTERN = r"^(stun|turns?):[A-Za-z0-9_.-]+(:[0-9]{1,5})?(\?transport=(udp|tcp))?$"
"""STUN and TURN servers that aiortc can read; literal IPv6 addresses are not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What `countenance-agent run` was asked to do.

    Attributes:
        invite: which session.
        camera: a video's path, or a device number.
        home: where receipt, device key and detector choice are kept; None is the user's own place.
        loop: play a file again and again.
        fps: frames per second to ask a camera for, or to take from a file at most, 1..60; None takes the source's own.
            A file plays at its own speed whatever this says, and never gives more than thirty a second.
        duration_s: end after this long, up to six hours; None runs to the end of the file, or until stopped.
        detector: `auto`, or a variant's id or precision.
        ice_servers: STUN or TURN URLs; none contacts nobody but the platform.
        camera_delay_ms: time from light to frame, 0..500, subtracted from media time.
        summary: file for the figures of the run, None writes none.
        is_quiet: no live status line.
    """

    invite: Invite
    camera: str
    home: Path | None = None
    loop: bool = False
    fps: float | None = None
    duration_s: float | None = None
    detector: str = "auto"
    ice_servers: tuple[str, ...] = ()
    camera_delay_ms: int = 0
    summary: Path | None = None
    is_quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            SettingError: a setting is out of its range.
        """
        if not self.camera:
            raise SettingError("--camera needs a device number or a video file")
        if self.fps is not None and not FPS_RANGE[0] <= self.fps <= FPS_RANGE[1]:
            raise SettingError("--fps must lie in 1..60")
        if self.duration_s is not None and not 0 < self.duration_s <= DURATION_MAX_S:
            raise SettingError("--duration must lie in 0..21600 seconds")
        if not 0 <= self.camera_delay_ms <= CAMERA_DELAY_MAX_MS:
            raise SettingError("--camera-delay-ms must lie in 0..500")
        if not all(re.search(ICE_URL_PATTERN, url) for url in self.ice_servers):
            raise SettingError(
                "--ice-server must be like stun:stun.example.org:3478; no literal IPv6 address"
            )
