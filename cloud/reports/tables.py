"""Timelines as CSV; a missing value is an empty cell, a gap a row of its own or a column."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from cloud.analytics.baseline import Baseline
from cloud.analytics.gaps import gap_bands, reasons_by_second
from cloud.analytics.traces import frame_step_ms
from cloud.reports.documents import frame_columns, second_columns
from cloud.reports.model_note import model_label
from cloud.reports.viewers import ViewerTimeline


def seconds_csv(viewer: ViewerTimeline, *, duration_ms: int, baseline: Baseline | None = None) -> str:
    """Write one row per second; `gap_reasons` names the gaps that touch it."""
    columns: dict[str, Sequence[Any]] = dict(
        second_columns(viewer, duration_ms=duration_ms, baseline=baseline)
    )
    seconds = len(columns["second"])
    bands = gap_bands(viewer.gaps, step_ms=frame_step_ms(viewer.trace))
    columns["gap_reasons"] = [" ".join(found) for found in reasons_by_second(bands, seconds=seconds)]
    columns["models"] = [_model_cell(viewer)] * seconds
    return _write(columns)


def frames_csv(viewer: ViewerTimeline, *, duration_ms: int, baseline: Baseline | None = None) -> str:
    """Write one row per scored frame, and one per gap with its reason and length."""
    columns = frame_columns(viewer, duration_ms=duration_ms, baseline=baseline)
    names = [*columns, "gap_reason", "gap_frames", "models"]
    models = _model_cell(viewer)
    rows = [[*row, "", "", models] for row in zip(*columns.values(), strict=True)]
    blank = [""] * (len(columns) - 3)
    rows += [
        [gap.first_frame, gap.segment, gap.media_time_ms, *blank, gap.reason, gap.frames, models]
        for gap in viewer.gaps
    ]
    rows.sort(key=lambda row: int(row[0]))
    return _write_rows(names, rows)


def _model_cell(viewer: ViewerTimeline) -> str:
    """Name what scored the session, the same in every row: a table is read in parts."""
    return "; ".join(model_label(scored.model) for scored in viewer.models)


def _write(columns: dict[str, Sequence[Any]]) -> str:
    return _write_rows(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def _write_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([["" if cell is None else _cell(cell) for cell in row] for row in rows])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
