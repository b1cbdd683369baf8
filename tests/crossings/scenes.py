"""Scenes of a viewer and people who walk past: where everybody is on each frame, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Place = tuple[float, float, float]
"""Centre of the picture x, y and its side, in frame pixels."""

Path = Callable[[float], Place]
"""Where a person is at a time in frames of 30 a second."""

KINDS = (
    "through",
    "through",
    "slow",
    "stops_and_goes_on",
    "stops_and_returns",
    "stays",
    "two",
    "two_ways",
    "behind",
    "behind_slow",
    "behind_stops",
    "leans_in",
    "approaches",
    "low_or_high",
    "faceless",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walker:
    """Somebody other than the viewer.

    Attributes:
        who: number of the person among those at hand.
        path: where they are.
        is_behind: the viewer hides them.
        has_face: False for one whose face is blurred away, like a back of a head.
    """

    who: int
    path: Path
    is_behind: bool = False
    has_face: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One film.

    Attributes:
        kind: one of `KINDS`.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        frames: how many.
        step: camera frames of 30 a second per frame.
        index_step: how much the index of the frame grows: more than 1 where frames were skipped.
        viewer: number of the person who is the viewer.
        viewer_path: where the viewer is.
        walkers: everybody else.
        seed: of background and noise.
        noise: standard deviation of the camera's noise.
        gain: brightness.
    """

    kind: str
    width: int
    height: int
    frames: int
    step: int
    index_step: int
    viewer: int
    viewer_path: Path
    walkers: tuple[Walker, ...]
    seed: int
    noise: float = 2.0
    gain: float = 1.0
    notes: str = field(default="")


def draw_scene(seed: int, *, people: int, kind: str | None = None) -> Scene:
    """Return the scene of a seed.

    Args:
        seed: any number.
        people: how many people are at hand.
        kind: one of `KINDS`; that of the seed if None.
    """
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[seed % len(KINDS)]
    width, height = [(854, 480), (640, 480), (640, 360), (960, 540)][rng.integers(4)]
    side = height * rng.uniform(0.45, 0.8)
    viewer_x = width * rng.uniform(0.38, 0.62)
    viewer_y = height - side * rng.uniform(0.42, 0.5)
    viewer_path = _sitting(rng, viewer_x, viewer_y, side)
    order = rng.permutation(people)
    walkers = _walkers(rng, kind, width, (viewer_x, viewer_y, side), [int(n) for n in order[1:]])
    step = int(rng.choice([1, 1, 1, 3, 2]))
    is_skipped = step > 1 and rng.random() < 0.5
    length = 300 + 45 * (step - 1)
    return Scene(
        kind=kind,
        width=width,
        height=height,
        frames=length // step,
        step=step,
        index_step=step if is_skipped else 1,
        viewer=int(order[0]),
        viewer_path=viewer_path,
        walkers=walkers,
        seed=seed,
        noise=float(rng.choice([0.0, 2.0, 5.0])),
        gain=float(rng.choice([1.0, 1.0, 1.0, 0.35])) if step > 1 else 1.0,
        notes=f"{width}x{height} viewer {side:.0f}",
    )


def _sitting(rng: np.random.Generator, x: float, y: float, side: float) -> Path:
    manner = rng.choice(["still", "still", "sways", "leans"])
    phase, beat = rng.uniform(0, 6.28), rng.uniform(15, 40)
    if manner == "sways":
        reach = rng.uniform(0.03, 0.1) * side
        return lambda t: (
            x + reach * np.sin(t / beat + phase),
            y + 0.2 * reach * np.sin(t / beat * 0.7),
            side,
        )
    if manner == "leans":
        start, growth = rng.uniform(60, 160), rng.uniform(-0.2, 0.3)
        return lambda t: (
            x,
            y,
            side * (1 + growth * np.clip((t - start) / 20, 0, 1)),
        )
    return lambda t: (x, y, side)


def _walkers(
    rng: np.random.Generator, kind: str, width: int, viewer: Place, who: list[int]
) -> tuple[Walker, ...]:
    x, y, side = viewer
    is_behind = kind.startswith("behind")
    scale = rng.uniform(0.45, 0.95) if is_behind else rng.uniform(0.5, 1.4)
    speed = rng.uniform(4, 12) * width / 640
    to = int(rng.choice([-1, 1]))
    own = scale * side
    level = y + rng.uniform(-0.12, 0.12) * side
    if kind == "low_or_high":
        level += float(rng.choice([-1, 1])) * 0.35 * side
    far = width / 2 + own * 0.6
    meeting = max(rng.uniform(110, 170), 45 + far / speed)
    slow, near = rng.uniform(0.1, 0.35) * speed, (own + side) * rng.uniform(0.15, 0.25)
    has_face = kind != "faceless"

    def through(t: float, *, at: float = meeting, way: int = to, pace: float = speed) -> float:
        return x + way * pace * (t - at)

    def slowly(t: float) -> float:
        ahead = speed * (t - meeting)
        if ahead < -near:
            return x + to * ahead
        inside = (ahead + near) / speed * slow
        return x + to * (
            inside - near if inside < 2 * near else ahead + near - 2 * near * speed / slow + near
        )

    def stopping(t: float, *, wait: float, offset: float, returns: bool) -> float:
        arrival, target = meeting - 20, x + offset
        if t < arrival:
            return target + to * speed * (t - arrival)
        if t < arrival + wait:
            return target
        return target + (-to if returns else to) * speed * (t - arrival - wait)

    if kind in ("stops_and_goes_on", "stops_and_returns", "stays", "behind_stops"):
        wait = 1e9 if kind == "stays" else rng.uniform(20, 80)
        offset = rng.uniform(-0.15, 0.15) * side
        returns = kind == "stops_and_returns"
        path = lambda t: (stopping(t, wait=wait, offset=offset, returns=returns), level, own)  # noqa: E731
        return (Walker(who=who[0], path=path, is_behind=is_behind),)
    if kind in ("two", "two_ways"):
        other, gap = rng.uniform(0.5, 1.2) * side, rng.uniform(0, 40)
        way = to if kind == "two" else -to
        pace = speed * rng.uniform(0.7, 1.3)
        return (
            Walker(who=who[0], path=lambda t: (through(t), level, own)),
            Walker(
                who=who[1 % len(who)],
                path=lambda t: (through(t, at=meeting + gap, way=way, pace=pace), y, other),
            ),
        )
    if kind == "leans_in":
        reach, hold = rng.uniform(0.0, 0.35) * side, rng.uniform(10, 60)
        away, quick = -to * (x + far), rng.uniform(20, 40)

        def lean(t: float) -> Place:
            share = np.clip((t - 60) / quick, 0, 1) - np.clip((t - 60 - quick - hold) / quick, 0, 1)
            return x + away * (1 - share) - to * reach * share, level, own

        return (Walker(who=who[0], path=lean),)
    if kind == "approaches":
        return (
            Walker(
                who=who[0],
                path=lambda t: (through(t), level, own * (0.6 + 0.7 * np.clip(t / 250, 0, 1))),
            ),
        )
    walk = slowly if "slow" in kind else through
    path = lambda t: (walk(t), level, own)  # noqa: E731
    return (Walker(who=who[0], path=path, is_behind=is_behind, has_face=has_face),)
