"""Compares the runtimes of the shipped expression network: the figures of `countenance bench classify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud.bench.accuracy import compare_accuracy
from cloud.bench.classify_cells import (
    NO_GPU,
    compare_precisions,
    compare_runtimes,
    measure_gpu,
    time_surroundings,
)
from cloud.bench.classify_report import (
    TABLE_NOTE,
    accuracy_lines,
    cell_line,
    gpu_lines,
    level_line,
    table_head,
)
from cloud.bench.expression_engines import FLOAT32, INT8, KERAS_PREDICT, TF_FUNCTION
from cloud.bench.instruction_sets import Level, cpu_flags, levels_below, name_best
from cloud.bench.isolated import in_fresh_process
from cloud.bench.report import busy_note, describe_machine, write_benchmark
from cloud.classify.litert_classifier import find_variant
from cloud.classify.tensorflow_classifier import has_gpu_device
from models.expression.loading import EXPRESSION_DIR, load_expression

THREADS = (1, 2)
BATCHES = (1, 8, 32, 64)
COMPARED_WITH = (
    "the same network in the same process, in turns, caches warm; times_as_long is the smaller of the ratios of "
    "median wall-clock and median CPU time"
)


def run_classify(
    *, out: Path, data: Path | None = None, artifact: Path | None = None, seconds: float = 6.0
) -> None:
    """Measure, print the table as it grows, write the JSON.

    Args:
        out: the JSON file.
        data: folder with labelled test faces; None leaves the accuracy of the variants out.
        artifact: folder of an expression artifact; None takes the shipped one.
        seconds: how long each row of the table is measured.

    Raises:
        CloudError: TensorFlow is missing, or the file cannot be written.
        ModelsError: the artifact or a data set is damaged.
    """
    before = describe_machine()
    directory = artifact or EXPRESSION_DIR
    manifest = load_expression(directory).manifest
    digest = find_variant(manifest, runtime="litert", precision="int8").sha256
    print(f"{manifest.name} {manifest.version}, int8 runs on {name_best(cpu_flags())}")
    cells = _compare(directory, seconds)
    levels = _levels(directory, seconds)
    surroundings = in_fresh_process(time_surroundings, directory, seconds=1.0)
    print(f"beside the network, per crop: prepare {surroundings['prepare']['median_ms']:.3f} ms, "
          f"calibrate and score {surroundings['score']['median_ms']:.3f} ms")  # fmt: skip
    gpu = in_fresh_process(measure_gpu, directory) if has_gpu_device() else NO_GPU
    print("\n".join(gpu_lines(gpu)))
    accuracy = in_fresh_process(compare_accuracy, directory, data) if data is not None else None
    print("\n".join(accuracy_lines(accuracy)))
    print(busy_note(before))
    details = {
        "artifact": {"name": manifest.name, "version": manifest.version, "int8_sha256": digest},
        "int8_runs_on": name_best(cpu_flags()),
        "compared_with": COMPARED_WITH,
        "rows": cells,
        "instruction_sets": levels,
        "beside_the_network_ms": surroundings,
        "gpu": gpu,
        "accuracy": accuracy,
    }
    write_benchmark(out, name="classify", headline=headline(cells, digest), details=details, before=before)
    print(f"wrote {out}")


def headline(cells: Sequence[Mapping[str, Any]], digest: str) -> dict[str, float | str | None]:
    """Return the flat figures: one crop, one thread, against LiteRT int8."""
    engines = next(c["engines"] for c in cells if (c["threads"], c["batch"]) == (1, 1))
    return {
        "speedup_tf_function": engines[TF_FUNCTION]["times_as_long"]["ratio"],
        "speedup_keras_predict": engines[KERAS_PREDICT]["times_as_long"]["ratio"],
        "speedup_int8_fp32": engines[FLOAT32]["times_as_long"]["ratio"],
        "classify_ms": engines[INT8]["cpu_ms"],
        "classify_wall_ms": engines[INT8]["median_ms"],
        "artifact_digest": digest,
    }


def _compare(directory: Path, seconds: float) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    print(table_head(), flush=True)
    for threads in THREADS:
        measured = in_fresh_process(
            compare_runtimes, directory, threads=threads, batches=BATCHES, seconds=seconds
        )
        cells += measured
        print("\n".join(cell_line(cell) for cell in measured), flush=True)
    print(TABLE_NOTE, flush=True)
    return cells


def _levels(directory: Path, seconds: float) -> list[dict[str, Any]]:
    """Measure int8 against float32 on each class of processors that this one can stand in for."""
    wanted = (*levels_below(cpu_flags()), Level.NATIVE)
    levels = [
        in_fresh_process(compare_precisions, directory, level=level, seconds=seconds / 2) for level in wanted
    ]
    print("LiteRT int8 against float32, one thread, one crop, by instruction set:")
    print("\n".join(f"  {level_line(level)}" for level in levels), flush=True)
    return levels
