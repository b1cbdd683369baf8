"""When N viewers are held, and the street benchmark's headline. Pure: figures in, figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

FPS_MIN = 29.0
FACE_SHARE_MIN = 0.95
STORED_SHARE_MIN = 0.99
P50_MAX_MS = 50.0
P99_MAX_MS = 100.0
HEADLINE_VIEWERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerFigures:
    """One viewer's figures of one level.

    Attributes:
        clip: name of the film played.
        fps: frames captured a second.
        face_share: share of captured frames in which a face was found.
        stored_share: share of frames with a face whose scores are in the store; a flagged gap is not stored.
        p50_ms: capture to classified result, median; None without a result.
        p99_ms: the same, 99th percentile.
        agent_core_share: CPU time of the agent over wall time.
        agent_rss_mb: resident memory of the agent at its highest.
        envelope_max_bytes: largest envelope sent.
        duplicates: deliveries of a frame that was already stored.
    """

    clip: str
    fps: float
    face_share: float
    stored_share: float
    p50_ms: float | None
    p99_ms: float | None
    agent_core_share: float
    agent_rss_mb: float
    envelope_max_bytes: int
    duplicates: int

    def shortfalls(self) -> list[str]:
        """Say what falls short of the bounds; empty where the viewer is held."""
        misses = []
        if self.fps < FPS_MIN:
            misses.append(f"{self.fps:.1f} fps < {FPS_MIN:.0f}")
        if self.face_share < FACE_SHARE_MIN:
            misses.append(f"face in {self.face_share:.1%} < {FACE_SHARE_MIN:.0%}")
        if self.stored_share < STORED_SHARE_MIN:
            misses.append(f"stored {self.stored_share:.1%} < {STORED_SHARE_MIN:.0%}")
        if self.p50_ms is None or self.p50_ms > P50_MAX_MS:
            misses.append(f"p50 {_ms(self.p50_ms)} > {P50_MAX_MS:.0f} ms")
        if self.p99_ms is None or self.p99_ms > P99_MAX_MS:
            misses.append(f"p99 {_ms(self.p99_ms)} > {P99_MAX_MS:.0f} ms")
        return misses


def is_held(viewers: Sequence[ViewerFigures]) -> bool:
    """Whether each viewer of a level meets every bound."""
    return bool(viewers) and not any(viewer.shortfalls() for viewer in viewers)


def viewers_held(levels: Mapping[int, Sequence[ViewerFigures]]) -> int:
    """Return the largest N of an unbroken run of held levels from the smallest; 0 if none."""
    held = 0
    for count in sorted(levels):
        if not is_held(levels[count]):
            break
        held = count
    return held


def headline(levels: Mapping[int, Sequence[ViewerFigures]]) -> dict[str, float | None]:
    """Return the flat figures: the worst viewer at two viewers, or at the smallest level without one of two."""
    worst = worst_of(levels.get(HEADLINE_VIEWERS) or levels[min(levels)])
    everyone = worst_of([viewer for level in levels.values() for viewer in level])
    return {
        "viewers_held": viewers_held(levels),
        "fps_min": worst.fps,
        "face_share": worst.face_share,
        "stored_share": worst.stored_share,
        "p50_ms": worst.p50_ms,
        "p99_ms": worst.p99_ms,
        "agent_core_share": worst.agent_core_share,
        "agent_rss_mb": worst.agent_rss_mb,
        "envelope_max_bytes": everyone.envelope_max_bytes,
        "duplicates": everyone.duplicates,
    }


def table(levels: Mapping[int, Sequence[ViewerFigures]]) -> str:
    """Lay the levels out for a terminal: the worst figure of each, with what falls short."""
    lines = ["viewers   fps    face  stored  p50 ms  p99 ms  core share  rss MB  held"]
    for count in sorted(levels):
        worst = worst_of(levels[count])
        misses = worst.shortfalls()
        lines.append(
            f"{count:7d} {worst.fps:5.1f} {worst.face_share:7.2%} {worst.stored_share:7.2%} "
            f"{_ms(worst.p50_ms):>7} {_ms(worst.p99_ms):>7} {worst.agent_core_share:11.2f} "
            f"{worst.agent_rss_mb:7.0f}  {'yes' if not misses else 'no: ' + '; '.join(misses)}"
        )
    return "\n".join(lines)


def worst_of(viewers: Sequence[ViewerFigures]) -> ViewerFigures:
    """Return the worst of each figure over viewers, as if one viewer had them all."""
    return ViewerFigures(
        clip="any",
        fps=min(viewer.fps for viewer in viewers),
        face_share=min(viewer.face_share for viewer in viewers),
        stored_share=min(viewer.stored_share for viewer in viewers),
        p50_ms=_worst([viewer.p50_ms for viewer in viewers]),
        p99_ms=_worst([viewer.p99_ms for viewer in viewers]),
        agent_core_share=max(viewer.agent_core_share for viewer in viewers),
        agent_rss_mb=max(viewer.agent_rss_mb for viewer in viewers),
        envelope_max_bytes=max(viewer.envelope_max_bytes for viewer in viewers),
        duplicates=sum(viewer.duplicates for viewer in viewers),
    )


def as_details(levels: Mapping[int, Sequence[ViewerFigures]]) -> dict[str, list[dict[str, object]]]:
    """Return every viewer's figures by level, for the JSON."""
    return {
        str(count): [{**asdict(viewer), "shortfalls": viewer.shortfalls()} for viewer in levels[count]]
        for count in sorted(levels)
    }


def _worst(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return max(known) if len(known) == len(figures) and known else None


def _ms(figure: float | None) -> str:
    return "none" if figure is None else f"{figure:.0f}"
