"""Lays the figures of `countenance bench classify` out for a terminal. Pure: figures in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud.bench.expression_engines import FLOAT32, INT8, KERAS_PREDICT, TF_FUNCTION

_ENGINES = (INT8, FLOAT32, TF_FUNCTION, KERAS_PREDICT)
_WIDTH = 22

TABLE_NOTE = """\
Median time of one call; in brackets how many times as long as LiteRT int8 on the same row: the smaller of the
ratios by wall clock and by CPU time, because a busy machine stretches long calls. Same network, same process, in turns."""


def table_head() -> str:
    """Return the heading of the table of runtimes."""
    return "threads  crops  " + "".join(f"{name:>{_WIDTH}}" for name in _ENGINES)


def cell_line(cell: Mapping[str, Any]) -> str:
    """Return one row: milliseconds per call of each runtime, and its ratio to the first."""
    parts = []
    for name in _ENGINES:
        figures = cell["engines"][name]
        ratio = "" if name == INT8 else f" ({figures['times_as_long']['ratio']:.1f}x)"
        parts.append(f"{figures['median_ms']:.2f} ms{ratio}".rjust(_WIDTH))
    return f"{cell['threads']:7d}  {cell['batch']:5d}  " + "".join(parts)


def level_line(level: Mapping[str, Any]) -> str:
    """Return int8 against float32 for one class of processors."""
    if "not_possible" in level:
        return f"{level['level']}: not possible ({level['not_possible']})"
    engines = level["engines"]
    ratio = engines[FLOAT32]["times_as_long"]
    verdict = "faster" if ratio["ratio"] >= 1 else "times the speed: slower"
    return (
        f"{level['level']}: int8 {engines[INT8]['cpu_ms']:.2f} ms, float32 {engines[FLOAT32]['cpu_ms']:.2f} ms; "
        f"int8 is {ratio['ratio']:.2f}x {verdict} ({ratio['low']:.2f}-{ratio['high']:.2f})"
    )


def gpu_lines(gpu: Mapping[str, Any]) -> list[str]:
    """Return throughput per batch size, or why there is none."""
    if "absent" in gpu:
        return [f"GPU: not measured, {gpu['absent']}"]
    return [f"GPU {gpu['device']}, tf.function:"] + [
        f"  {row['batch']:4d} crops a step: {row['crops_per_s']:,} crops/s, p99 step {row['p99_step_ms']:.1f} ms"
        for row in gpu["batches"]
    ]


def accuracy_lines(accuracy: Mapping[str, Any] | None) -> list[str]:
    """Return what each variant's accuracy is beside int8's, or why it is not known."""
    if accuracy is None:
        return ["accuracy of the variants: not measured (give --data DIR with the test sets)"]
    lines = ["accuracy, and points lost by int8 against each (95 % interval, same pictures):"]
    for name, found in accuracy.items():
        rivals = "; ".join(
            f"{rival} {figures['accuracy']:.4f}: {figures['lost_points']:+.2f} "
            f"({figures['low']:+.2f} to {figures['high']:+.2f})"
            for rival, figures in found["rivals"].items()
        )
        lines.append(f"  {name} ({found['pictures']}): {INT8} {found['accuracy']:.4f}; {rivals}")
    return lines
