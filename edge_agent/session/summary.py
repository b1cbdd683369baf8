"""The figures of one run, in the shape that is written to disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run did.

    Attributes:
        session: the session's id.
        frames_captured: frames of the source's schedule, looked at or missed.
        frames_with_face: frames in which a face was visible.
        frames_sent: frames handed to the channel.
        frames_acked: frames known to be committed.
        skipped: frames by `SkipReason`.
        second_face_frames: frames with another face beside the viewer's; it was dropped.
        second_face_intervals: runs of such frames.
        duration_s: from the first frame to the last.
        fps: frames captured, less those missed, per second.
        latency_ms: capture to commit, as acked: p50, p95, p99.
        send_age_ms: capture to hand-over: p50, p95, p99.
        detector: variant that was used.
        detector_id: its number on the wire.
        inferences: network runs.
        agent_core_share: CPU time over wall time, all threads.
        capture_core_share: the capture thread's part of it: decoding, for a file.
        vision_core_share: the vision thread's part of it.
        rss_mb: resident memory at the end.
        rss_max_mb: at its highest.
        envelope_max_bytes: the longest envelope.
        encoding_steps: frames sent per rung of the quality ladder.
        reconnects: connections lost and made again.
        exit_reason: why the run ended.
        refused: datagrams that the platform says it dropped, by reason (protocol rule S15).
    """

    session: str
    frames_captured: int
    frames_with_face: int
    frames_sent: int
    frames_acked: int
    skipped: Mapping[str, int]
    second_face_frames: int
    second_face_intervals: int
    duration_s: float
    fps: float
    latency_ms: Mapping[str, int | None]
    send_age_ms: Mapping[str, int | None]
    detector: str
    detector_id: int
    inferences: int
    agent_core_share: float
    capture_core_share: float
    vision_core_share: float
    rss_mb: float
    rss_max_mb: float
    envelope_max_bytes: int
    encoding_steps: Mapping[str, int] = field(default_factory=dict)
    reconnects: int = 0
    exit_reason: str = ""
    refused: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the summary as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"


def refusal_words(summary: RunSummary) -> str | None:
    """Say in words that the platform refused everything that was sent, None if it did not."""
    if summary.frames_acked or not summary.frames_sent or not summary.refused:
        return None
    reasons = ", ".join(f"{name} {count}" for name, count in _by_count(summary.refused))
    return (
        f"nothing was stored: the platform refused what was sent ({reasons}); what each reason means is in "
        "docs/protocol.md, rule S15"
    )


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda named: (-named[1], named[0]))


def status_line(
    *,
    captured: int,
    with_face: int,
    sent: int,
    acked: int,
    fps: float,
    skipped: Mapping[str, int],
    connected: bool,
    refused: Mapping[str, int],
) -> str:
    """Return the one line that is shown while a run lasts."""
    top, dropped = (
        ", ".join(f"{name} {count}" for name, count in _by_count(counts)[:3]) for counts in (skipped, refused)
    )
    state = "live" if connected else "NOT CONNECTED"
    return f"{state}  {fps:4.1f} fps  captured {captured}  face {with_face}  sent {sent}  stored {acked}" + (
        (f"  skipped: {top}" if top else "") + (f"  REFUSED: {dropped}" if dropped else "")
    )
