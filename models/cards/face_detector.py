"""Render the face detector's card from its manifest and measured figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.cards.tables import p_value, share, table
from models.errors import ManifestError
from models.runtime.manifest import Manifest

_NAMES = {
    "int8": "int8 (shipped)",
    "float32": "float32 (shipped)",
    "narrow": "narrow, float32",
    "mediapipe": "MediaPipe BlazeFace short range",
    "yunet": "YuNet n, 320 px",
    "ultralight": "Ultra-Light RFB-320",
    "haar": "OpenCV Haar, frontal",
}
_PARTS = {
    "fairface540": "FairFace-540",
    "wider_48px": "WIDER, >= 48 px",
    "wider_32px": "WIDER, >= 32 px",
    "video_frames": "film frames",
    "pooled": "pooled",
    "pooled_iou_0.3": "pooled, IoU .3",
}


def render_detector_card(manifest: Manifest, figures: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        manifest: the artifact that was measured.
        figures: what `countenance models evaluate` wrote.

    Raises:
        ManifestError: the detector was not measured, or another one was.
    """
    measured = figures.get("detectors")
    if not measured:
        raise ManifestError(
            "these figures hold no detector; run `countenance models evaluate` without --skip detectors"
        )
    if measured["artifact_digest"] != manifest.variant("int8").sha256:
        raise ManifestError("these figures were measured on another face detector")
    sections = (
        _identity(manifest, figures),
        _recall(measured),
        _paired(measured["paired"]),
        _traits(measured["by_trait"]),
        _limits(),
    )
    return "\n\n".join(sections) + "\n"


def _identity(manifest: Manifest, figures: Mapping[str, Any]) -> str:
    rows = [
        (f"`{v.id}`", v.file, f"{v.size_bytes / 1e3:.0f} kB", f"`{v.sha256[:16]}`") for v in manifest.variants
    ]
    return f"""# Face detector {manifest.version}

Finds faces, with eyes, nose, mouth and ears, on a {manifest.input.shape[1]} px view of a frame, on the viewer's machine.
It tells faces from no faces, never one person from another. {manifest.licence}; derived from MediaPipe's BlazeFace short
range. Made by `{manifest.command}`, {manifest.created_utc}. Measured {figures["measured"]}.

{table(("variant", "file", "size", "SHA-256"), rows)}"""


def _recall(measured: Mapping[str, Any]) -> str:
    parts = [part for part in _PARTS if any(part in r for r in measured["recall"].values())]
    rows = []
    for name, recall in measured["recall"].items():
        alarms = recall.get("false_alarms_per_empty_frame")
        rows.append(
            (
                _NAMES.get(name, name),
                *(share(recall[part], "recall") if part in recall else "-" for part in parts),
                "-" if alarms is None else f"{alarms:.2f}",
            )
        )
    absent = "".join(
        f"\n\nNot measured: {_NAMES.get(n, n)} ({why})." for n, why in measured["absent"].items()
    )
    return f"""## Recall beside its peers

One full-frame inference, no tracking, no second look; each detector at its published operating point; a face is found if
a box overlaps it by IoU .5. Boxes were proposed by YuNet and the full-range network and checked by eye, which favours
YuNet. 95 % Wilson intervals. The last column counts detections per film frame that shows nobody.

{table(("detector", *(_PARTS[part] for part in parts), "false alarms"), rows)}{absent}

Peers with a larger input find more small faces in one look. The agent looks twice instead (ADR 0050)."""


def _paired(paired: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            _NAMES.get(name, name),
            f"{p['points']:+.2f}",
            f"[{p['lower95_points']:+.2f}, {p['upper95_points']:+.2f}]",
            str(p["lost"]),
            str(p["gained"]),
        )
        for name, p in paired.items()
    ]
    return f"""## int8 minus each of them, on the same faces

Points of recall, pooled; bootstrap over pictures and clips.

{table(("against", "points", "95 %", "faces lost", "gained"), rows)}"""


def _traits(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        (
            r["set"],
            r["trait"],
            r["group"],
            str(r["faces"]),
            share(dict(r), "recall"),
            f"{r['side_px']:.0f}",
            p_value(r["p_fdr"]),
        )
        for r in rows
    ]
    columns = ("set", "trait", "group", "faces", "recall", "median side, px", "p, adjusted")
    return f"""## Recall by group and condition (int8)

Age, gender and skin tone are as annotators perceived them; WIDER's own words are numbers (blur 0 clear to 2 heavy; the
others 0 usual, 1 and 2 worse). Face size decides recall most, and groups differ in it: read the median side as well. Each
group is tested against the rest of its trait (Fisher), p values adjusted over the table (Benjamini-Hochberg). Few faces
of dark skin tones are annotated: their intervals are wide, and no gap there is ruled out.

{table(columns, lines)}"""


def _limits() -> str:
    return """## Limits and uses

- Small faces, profiles and heavily tilted heads are missed in one look; the agent's further looks find part of them.
- Intended: to find the consenting viewer's face before a camera, on that viewer's machine.
- Forbidden: to identify, count or watch people who have not consented; use in a workplace or in education."""
