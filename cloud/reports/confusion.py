"""What a model takes for what, as tables in the page."""

from __future__ import annotations

from html import escape

from cloud.reports.measured import MeasuredModel, SetFigures, set_title


def confusion_tables(model: MeasuredModel) -> str:
    """Draw one table for each test set: of the pictures that show an expression, the share read as each."""
    tables = "".join(_table(figures, model.labels) for figures in model.sets)
    return (
        "<details><summary>What this model takes for what</summary>"
        "<p class='note'>Measured on labelled test pictures. A row is what the label says, a column what the model "
        f"read, in percent of the row. Faces of an audience may be read better or worse.</p>{tables}</details>"
    )


def _table(figures: SetFigures, labels: tuple[str, ...]) -> str:
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    rows = "".join(
        f"<tr><th scope=row>{escape(label)}</th>{_cells(counts)}<td>{sum(counts):,}</td></tr>"
        for label, counts in zip(labels, figures.confusion, strict=True)
    )
    low, high = figures.accuracy_95
    return (
        f"<h4>{escape(set_title(figures.name))}: {figures.accuracy:.1%} right "
        f"(95 % interval {low:.1%} to {high:.1%})</h4>"
        f"<div class='scroll'><table><thead><tr><th>shows</th>{head}<th>pictures</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(counts: tuple[int, ...]) -> str:
    total = sum(counts)
    return "".join(f"<td>{f'{100 * count / total:.0f}' if total else ''}</td>" for count in counts)
