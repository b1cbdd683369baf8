"""Order the pictures of a recording on its own clock: when each is shown, where some are missing, which are taken.

Media time is presentation time less that of the first picture, decodable or not. Where pictures are missing, because they cannot
be decoded or because the camera was off, moments without a picture stand in for them, so that what is missing
is counted and told like a frame that a camera failed to give. A recording is sampled, never slowed: at most
thirty moments a second are taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

SAMPLED_FPS_MAX = 30.0
RATE_RANGE = (0.2, 120.0)
"""A container's own claim outside this is not believed; browsers' recorders claim 1000."""

_EARLY_MAX_US = 10_000
"""A picture earlier than its place by this much is jitter, as of time stamps in whole milliseconds."""

_HOLE_MIN_US = 250_000
_HOLE_MIN_PERIODS = 3.0
_ABSENT_US = 2_000_000
"""Nobody records a face at one picture in two seconds: a longer wait is time without pictures."""

_LOSS_MIN_PERIODS = 1.5
_BACKWARDS_MAX_US = 500_000
_FORWARDS_MAX_US = 6 * 3_600 * 1_000_000
"""The longest session. Time stamps that leap further have been reset, not waited for."""

_INTERVALS_KEPT = 15
_INTERVALS_ENOUGH = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded(Generic[T]):
    """What a decoder gave, in order of presentation.

    Attributes:
        pts_us: presentation time on the container's clock; None where it tells none.
        picture: the picture; None where it could not be decoded.
    """

    pts_us: int | None
    picture: T | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment(Generic[T]):
    """One place on a recording's clock.

    Attributes:
        media_us: time since the first picture, never falling from one moment to the next.
        picture: what is shown; None where the recording has nothing to show.
    """

    media_us: int
    picture: T | None


class Sampler:
    """Takes moments at most at one rate, and evenly; a slower source stays as it is.

    Args:
        fps: the most to take a second, in frames.
    """

    def __init__(self, fps: float) -> None:
        self._step_us = 1e6 / fps
        self._early_us = min(_EARLY_MAX_US, self._step_us / 4)
        self._used_until_us: float | None = None

    def takes(self, media_us: int) -> bool:
        """Tell whether a moment is taken; moments come in order."""
        used_us = self._step_us if self._used_until_us is None else self._used_until_us
        if media_us < used_us - self._step_us - self._early_us:
            return False
        # Each takes a step of the time there is; who came slowly has saved one, and loses nothing in a short burst.
        self._used_until_us = max(used_us, media_us) + self._step_us
        return True


class MediaTimes:
    """Presentation times to media times, over missing, repeated and reset time stamps.

    Args:
        period_us: time between pictures, until the recording has shown its own.
    """

    def __init__(self, period_us: float) -> None:
        self._nominal_us = period_us
        self._intervals: deque[int] = deque(maxlen=_INTERVALS_KEPT)
        self._origin_us: int | None = None
        self._last_stamp_us: int | None = None
        self._last_pts_us = 0
        self._last_us = 0

    @property
    def period_us(self) -> float:
        """Usual time between pictures, of late."""
        if len(self._intervals) < _INTERVALS_ENOUGH:
            return self._nominal_us
        return float(median(self._intervals))

    def note(self, interval_us: int) -> None:
        """Take the time between two pictures that followed each other."""
        if interval_us > 0:
            self._intervals.append(interval_us)

    def begin(self, pts_us: int) -> None:
        """Begin the clock at a time stamp before the first picture: of what was there and could not be decoded."""
        self._origin_us = self._last_pts_us = pts_us

    def is_stray(self, before_us: int, stray_us: int, next_pts_us: int | None) -> bool:
        """Tell whether the latest picture's time stamp was a stray one: far ahead, and the next is where it should be.

        Args:
            before_us: media time of the picture before it.
            stray_us: its own.
            next_pts_us: time stamp of the next.
        """
        next_us = self.known(next_pts_us)
        return (
            stray_us - before_us > _ABSENT_US
            and next_us is not None
            and before_us < next_us < min(stray_us, before_us + _ABSENT_US)
        )

    def retract(self, before_us: int) -> int:
        """Take the latest picture's time stamp for none; return its media time."""
        self._last_us = before_us + round(self.period_us)
        self._last_pts_us, self._last_stamp_us = self._last_us + (self._origin_us or 0), None
        return self._last_us

    def place(self, pts_us: int | None) -> int:
        """Return the media time of the next picture, in microseconds."""
        step_us = round(self.period_us)
        if self._origin_us is None:
            self._origin_us = self._last_pts_us = pts_us or 0
            self._last_stamp_us = pts_us
            return 0
        stamp_us, self._last_stamp_us = self._last_stamp_us, pts_us
        if pts_us is None or pts_us == stamp_us:
            pts_us = self._last_pts_us + step_us
        ahead_us = pts_us - self._origin_us - self._last_us
        if not -_BACKWARDS_MAX_US < ahead_us < _FORWARDS_MAX_US:
            self._origin_us = pts_us - self._last_us - step_us
        self._last_pts_us = pts_us
        self._last_us = max(self._last_us, pts_us - self._origin_us)
        return self._last_us

    def known(self, pts_us: int | None) -> int | None:
        """Return the media time that belongs to a time stamp; None before the first picture or without one."""
        return None if pts_us is None or self._origin_us is None else pts_us - self._origin_us


def moments(decoded: Iterable[Decoded[T]], *, period_us: float) -> Iterator[Moment[T]]:
    """Place what was decoded on the recording's clock, with moments without a picture where some are missing.

    What could not be decoded counts where it left a hole. A pause counts as missing pictures where it is long,
    or stands alone: a recorder that goes on at a slower rate has lost nothing. Each picture is held back until
    the next is known.

    Args:
        decoded: in order of presentation.
        period_us: time between pictures that the container claims.
    """
    times = MediaTimes(period_us)
    shown: Moment[T] | None = None
    held: Moment[T] | None = None
    early: list[int] = []
    lost_before: list[int] = []
    lost: list[int] = []
    for item in decoded:
        if item.picture is None:
            if held is None and item.pts_us is not None:
                early.append(item.pts_us)
            elif (lost_us := times.known(item.pts_us)) is not None:
                lost.append(lost_us)
            continue
        if held is None:
            lost = _begin_early(times, early, first_us=item.pts_us)
        if (
            held is not None
            and shown is not None
            and times.is_stray(shown.media_us, held.media_us, item.pts_us)
        ):
            held = Moment(media_us=times.retract(shown.media_us), picture=held.picture)
        arrived = Moment(media_us=times.place(item.pts_us), picture=item.picture)
        if held is not None:
            yield from _released(times, shown, held, lost_before, next_us=arrived.media_us)
        shown, held, lost_before, lost = held, arrived, lost, []
    if held is not None:
        yield from _released(times, shown, held, lost_before, next_us=None)
        last_us = held.media_us
        yield from (Moment(media_us=at, picture=None) for at in sorted(lost) if at > last_us)


def _begin_early(times: MediaTimes, early: list[int], *, first_us: int | None) -> list[int]:
    """Begin the clock with what could not be decoded before the first picture; return when that was to be shown."""
    before = sorted({at for at in early if first_us is not None and at < first_us})
    if not before or first_us is None or first_us - before[0] > _FORWARDS_MAX_US:
        return []
    times.begin(before[0])
    return [at - before[0] for at in before]


def _released(
    times: MediaTimes, before: Moment[T] | None, held: Moment[T], lost: list[int], *, next_us: int | None
) -> Iterator[Moment[T]]:
    if before is None:
        yield from (Moment(media_us=at, picture=None) for at in lost)
    else:
        interval_us = held.media_us - before.media_us
        missing = _missing(times.period_us, before.media_us, held.media_us, lost=lost, next_us=next_us)
        yield from (Moment(media_us=at, picture=None) for at in missing)
        if not missing:
            times.note(interval_us)
    yield held


def _missing(
    period_us: float, start_us: int, end_us: int, *, lost: list[int], next_us: int | None
) -> list[int] | range:
    """Return where pictures are missing between two that were shown."""
    interval_us = end_us - start_us
    undecoded = [at for at in sorted(lost) if start_us < at < end_us]
    if interval_us < _LOSS_MIN_PERIODS * period_us:
        return []
    is_alone = next_us is None or 2 * (next_us - end_us) < interval_us
    is_hole = interval_us > max(_HOLE_MIN_US, _HOLE_MIN_PERIODS * period_us) and (
        is_alone or interval_us > _ABSENT_US
    )
    if not is_hole:
        return undecoded
    step_us = round(max(period_us, 1e6 / SAMPLED_FPS_MAX))
    between = range(start_us + step_us, end_us - step_us // 2, step_us)
    return between if len(between) > len(undecoded) else undecoded
