"""Sections of the expression card about what `models.audit` measures; a part that was left out has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.cards.tables import percent, points, share, table

NOTABLE_P = 0.05


def selective(sets: Mapping[str, Any], titles: Mapping[str, str]) -> str | None:
    """Tell what abstaining buys: answered shares, AURC, Brier score."""
    rows = [
        (
            titles.get(name, name),
            share(m["answered"], "share"),
            percent(m["answered"]["accuracy"], m["answered"]["accuracy_95"]),
            f"{m['aurc']:.3f}",
            f"{m['e_aurc']:.3f}",
            f"{m['brier']:.3f}",
        )
        for name, m in ((name, entry["int8"]) for name, entry in sets.items())
        if "aurc" in m
    ]
    if not rows:
        return None
    columns = ("test", "answered", "right among those", "AURC", "of which avoidable", "Brier score")
    return f"""## What abstaining buys

An answer is given only from the confidence threshold on (and, where the network has an "other", in scope).

{table(columns, rows)}

![Reliability](expression.reliability.svg) ![Accuracy over coverage](expression.risk_coverage.svg)

{_curves(sets, titles)}"""


def _curves(sets: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    curves = {
        name: entry["int8"]["risk_coverage"]
        for name, entry in sets.items()
        if "risk_coverage" in entry["int8"]
    }
    first = next(iter(curves.values()))
    rows = [
        (titles.get(name, name), *(percent(point["accuracy"]) for point in curve))
        for name, curve in curves.items()
    ]
    return table(("right among the surest", *(percent(p["coverage"], digits=0) for p in first)), rows)


def street(figures: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Tell what crop, codec and seal cost."""
    rows = []
    for name, entry in figures.items():
        for title, one in ((titles.get(name, name), entry), ("the same, grey 48 px", entry.get("grey48"))):
            if one is not None:
                rows.append(
                    (
                        title,
                        share(one, "sent"),
                        percent(one["direct_accuracy"]),
                        share(one, "accuracy"),
                        points(one["loss_points"]),
                        percent(one["answered"]),
                        percent(one["accuracy_answered"]),
                    )
                )
    columns = (
        "test",
        "sent",
        "read directly",
        "after the street",
        "lost, points",
        "answered",
        "right among those",
    )
    return f"""## What the street costs

Test pictures framed in grey, through the agent's detector and crop, its codec (96 px, quality 75), sealing, opening and the
worker's stage, by the real programs. Accuracy and loss are over the pictures that the agent sent, picture by picture.

{table(columns, rows)}"""


def outsiders(figures: Mapping[str, Any]) -> str:
    """Tell what becomes of pictures that show none of the six."""
    rows = [
        (
            kind,
            str(f["n"]),
            share(f, "abstention"),
            "-" if f["auroc_confidence"] is None else f"{f['auroc_confidence']:.3f}",
            "-" if f["auroc_scope"] is None else f"{f['auroc_scope']:.3f}",
        )
        for kind, f in figures.items()
    ]
    columns = ("shown", "n", "got no answer", "AUROC, confidence", "AUROC, scope")
    return f"""## Pictures that show none of the six

AUROC: how probable it is that a test picture of the six scores higher; .5 is chance.

{table(columns, rows)}"""


def slices(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tell what light, blur, size, roll, yaw and cover do."""
    lines = [
        (
            r["cause"],
            r["degree"],
            share(dict(r), "sent"),
            share(dict(r), "accuracy"),
            share(dict(r), "abstention"),
            share(dict(r), "accuracy_answered"),
            percent(r["right_answers"]),
        )
        for r in rows
    ]
    columns = (
        "cause",
        "degree",
        "sent",
        "right",
        "uncertain",
        "right among answered",
        "right answers of all",
    )
    return f"""## Slices: one cause at a time

{rows[0]["n"]} test pictures, made worse in one known way and sent down the street. Yaw turns the flat picture: it
foreshortens, but shows no other cheek, so a real profile is harder.

{table(columns, lines)}"""


def clips(figures: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Tell what the filter over time does to short clips."""
    kinds = {"unrest": "one face, unsteady", "faces": "several faces of one label"}
    rows = [
        (
            titles.get(name, name),
            f"{title}, {kind['frames']} frames",
            str(kind["clips"]),
            *(share(kind, answer) for answer in ("last_frame", "filtered", "mean")),
        )
        for name, by_kind in figures.items()
        for kind, title in ((by_kind[k], t) for k, t in kinds.items())
        if kind["clips"]
    ]
    columns = ("test", "clip", "n", "last frame", "last frame, filtered", "mean of the clip")
    return f"""## Over time

Synthetic clips of test pictures, because no labelled film is at hand: one picture before an unsteady camera, whose frames repeat
one face's errors, and different faces of one label in turn, whose frames err apart. Real clips lie between the two. Shares of
clips that were read right; the filter looks ahead by nothing, the mean waits for the end.

{table(columns, rows)}"""


def groups(tables: Mapping[str, Any], gaps: Sequence[Mapping[str, Any]] | None) -> str:
    """Tell who gets an answer, how surely, and which."""
    parts = [
        """## Groups of people

These sets carry no expression labels, so this is not accuracy. A gap in "sent" or "uncertain" is a gap in service. A gap
in what is answered may be one of the pictures themselves: portraits of adults smile more often than those of babies.
"Same mix" is what the uncertain share would be if every group were read as the six in the same proportions.
Stars: p < .05 against the rest of the attribute, exact or rank tests, adjusted over the set (Benjamini-Hochberg)."""
    ]
    for name, by_path in tables.items():
        for path in ("direct", "street"):
            if by_path.get(path):
                parts.append(f"{name}, {'read directly' if path == 'direct' else 'after the street'}:")
                parts.append(_group_table(by_path[path]))
        if by_path.get("by_threshold"):
            parts.append(_threshold_table(by_path["by_threshold"]))
    if gaps:
        parts.append(
            "Widest gaps between two groups; the intervals hold for all of them together (max-type bootstrap):"
        )
        parts.append(gap_table(gaps))
    return "\n\n".join(parts)


def parity(figures: Mapping[str, Any]) -> str:
    """Write accuracy by what people say of themselves."""
    rows = [
        (
            trait,
            row["group"],
            str(row["people"]),
            percent(row["accuracy"], row["accuracy_95"]),
            percent(row["answered"], row["answered_95"]),
        )
        for trait, groups in figures["groups"].items()
        for row in groups
    ]
    return (
        "## Accuracy by what people say of themselves\n\n"
        f"Face Research Lab London Set: {figures['people']} adults, neutral and smiling, {figures['n']} faces found, {figures['missed']} not; "
        "uniform prior, six classes. Intervals by person; groups of fewer than five people are left out. No target, and too few people to compare finely.\n\n"
        + table(("trait", "group", "people", "right", "answered"), rows)
    )


def _group_table(rows: Sequence[Mapping[str, Any]]) -> str:
    labels = list(rows[0]["output_rate"])
    lines = []
    for r in rows:
        stars = {name: "*" if p < NOTABLE_P else "" for name, p in r["p_fdr"].items()}
        lines.append(
            (
                r["attribute"],
                r["group"],
                str(r["n"]),
                share(r["sent"], "share") + stars["sent"],
                share(r["abstention"], "share") + stars["abstention"],
                percent(r["abstention_same_mix"]),
                f"{r['confidence']['mean']:.3f}{stars['confidence']}",
                *(percent(r["output_rate"][label]["share"], digits=0) + stars[label] for label in labels),
            )
        )
    return table(("attribute", "group", "n", "sent", "uncertain", "same mix", "confidence", *labels), lines)


def _threshold_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for r in rows:
        clean = [name for name in ("rafdb", "ferplus") if name in r]
        cells = [f"{percent(r[name]['answered'])}, {percent(r[name]['accuracy'])}" for name in clean]
        gaps = [_points(r[f"{name}_gap_points"]) for name in ("race", "gender")]
        lines.append((f"{r['threshold']:.3f}{' (this artifact)' if r['own'] else ''}", *cells, *gaps))
    names = [{"rafdb": "RAF-DB", "ferplus": "FER+"}[name] + ": answered, right" for name in clean]
    columns = ("threshold", *names, "race gap, points", "gender gap, points")
    return f"""What other thresholds would do to coverage, accuracy and the widest gaps (none is chosen here):

{table(columns, lines)}"""


def gap_table(gaps: Sequence[Mapping[str, Any]], *, most: int = 12) -> str:
    """Lay out the widest gaps."""
    rows = [
        (
            gap["attribute"],
            f"{gap['groups'][0]} over {gap['groups'][1]}",
            f"{gap['points']:.1f}",
            f"[{gap['lower95_points']:.1f}, {gap['upper95_points']:.1f}]",
        )
        for gap in gaps[:most]
    ]
    return table(("what", "groups", "points", "simultaneous 95 %"), rows)


def before_after(body: Mapping[str, Any]) -> str | None:
    """Set this evaluation's gaps and headline beside an earlier one's."""
    before = body.get("before")
    if not before:
        return None
    now, then = body["headline"], before["headline"]
    rows = [
        (name, _figure(then.get(name)), _figure(value))
        for name, value in now.items()
        if name != "artifact_digest"
    ]
    earlier = {(g["attribute"], frozenset(g["groups"])): g for g in before.get("gaps", [])}
    gap_rows = []
    for gap in body.get("gaps", []):
        old = earlier.get((gap["attribute"], frozenset(gap["groups"])))
        if old is not None:
            gap_rows.append(
                (
                    gap["attribute"],
                    " / ".join(sorted(gap["groups"])),
                    f"{old['points']:.1f}",
                    f"{gap['points']:.1f}",
                )
            )
    gap_part = (
        "\n\nGaps between groups, points:\n\n" + table(("what", "groups", "before", "after"), gap_rows)
        if gap_rows
        else ""
    )
    return f"""## Before and after

Before: artifact `{then.get("artifact_digest", "?")[:16]}`, measured {before.get("measured", "?")} under the same protocol.

{table(("figure", "before", "after"), rows)}{gap_part}"""


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
