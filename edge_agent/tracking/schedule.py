"""Decide how closely to look at a frame: not at all, in close-up, or at the whole view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edge_agent.tracking.geometry import centre_distance
from edge_agent.tracking.tracks import Track


class Look(Enum):
    """What the face network does on one frame."""

    CARRY = "carry"
    CLOSE_UP = "close_up"
    SCAN = "scan"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """Frames between looks, at thirty a second; a slower source is looked at as often in time.

    Attributes:
        close_up_every: while one face is tracked.
        steady_close_up_every: while it hardly moves and the latest close-up confirmed where flow had carried it.
        steady_max_unrest: `Track.unrest` up to which that is so.
        scan_every: whole-view looks for further faces, while one face is tracked.
        crowd_scan_every: while several faces are tracked.
        near_scan_every: while another face is near the followed one.
        wary_scan_every: while a second face would reopen the choice of the viewer.
        choosing_scan_every: while it is open which of several faces is the viewer's.
        eager_frames: scans on every frame for this long after the last face was seen.
        idle_scan_every: after that.
        weak_agreement: of flow below which somebody may have come before the followed face: a close-up at once.
        startled_scan_every: and the whole view, if it was not seen just before.
    """

    close_up_every: int = 3
    steady_close_up_every: int = 5
    steady_max_unrest: float = 0.1
    scan_every: int = 15
    crowd_scan_every: int = 4
    near_scan_every: int = 2
    wary_scan_every: int = 4
    choosing_scan_every: int = 3
    eager_frames: int = 15
    idle_scan_every: int = 3
    weak_agreement: float = 0.8
    startled_scan_every: int = 3


class Schedule:
    """Remembers when the network last looked."""

    def __init__(self, settings: ScheduleSettings | None = None) -> None:
        self._settings = settings or ScheduleSettings()
        self._since_scan = 1 << 20
        self._since_face = 0

    def next_look(
        self,
        tracks: Sequence[Track],
        *,
        followed: Track | None,
        is_settled: bool = True,
        is_guarded: bool = False,
        elapsed_frames: int = 1,
    ) -> Look:
        """Choose for this frame, after its tracks were moved by flow.

        Args:
            tracks: all live tracks.
            followed: the viewer's track if one is chosen.
            is_settled: that choice stands, whoever comes into view.
            is_guarded: somebody near may hide the viewer next.
            elapsed_frames: time since the previous frame, in frames of thirty a second, at least 1.
        """
        self._since_scan += elapsed_frames
        look = self._choose(tracks, followed, is_settled, is_guarded)
        self._since_scan = 0 if look is Look.SCAN else self._since_scan
        is_seen = any(track.visible for track in tracks)
        self._since_face = 0 if is_seen else self._since_face + elapsed_frames
        return look

    def _choose(
        self, tracks: Sequence[Track], followed: Track | None, is_settled: bool, is_guarded: bool
    ) -> Look:
        settings, since = self._settings, self._since_scan
        if not tracks:
            wait = 1 if self._since_face < settings.eager_frames else settings.idle_scan_every
            return Look.SCAN if since >= wait else Look.CARRY
        if followed is None:
            wait = settings.choosing_scan_every if len(tracks) > 1 else 1
            return Look.SCAN if since >= wait else Look.CARRY
        others = [track for track in tracks if track is not followed]
        if others:
            wait = (
                settings.near_scan_every
                if any(are_near(followed, track) for track in others)
                else settings.crowd_scan_every
            )
        else:
            wait = settings.scan_every if is_settled else settings.wary_scan_every
            if followed.agreement < settings.weak_agreement or is_guarded:
                wait = settings.startled_scan_every
        if since >= wait:
            return Look.SCAN
        is_due = self.is_close_up_due(followed, is_settled=is_settled, is_guarded=is_guarded)
        return Look.CLOSE_UP if is_due else Look.CARRY

    def is_close_up_due(self, followed: Track, *, is_settled: bool = True, is_guarded: bool = False) -> bool:
        """Tell whether the followed track needs a close-up on this frame, also beside a scan."""
        settings = self._settings
        is_steady = is_settled and followed.unrest <= settings.steady_max_unrest
        wait = settings.steady_close_up_every if is_steady else settings.close_up_every
        is_startled = followed.agreement < settings.weak_agreement
        return is_guarded or is_startled or followed.unrefined_frames >= wait or not followed.flowed


def are_near(a: Track, b: Track) -> bool:
    """Tell whether two tracks are less than two faces apart."""
    return centre_distance(a.box, b.box) < a.box.side + b.box.side
