"""The measurements behind `countenance bench classify`; each runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloud.bench.expression_engines import (
    INT8,
    TensorFlowEngines,
    litert_runners,
    open_litert_pair,
    sample_crops,
)
from cloud.bench.instruction_sets import Level, restrict_xnnpack
from cloud.bench.timing import Runner, median_of, summarise, take_turns
from models.expression.inference import score_logits
from models.expression.loading import load_expression
from models.expression.preprocessing import prepare_batch

CROP_SIDE_PX = 96
GPU_BATCHES = (64, 128, 256)
GPU_STEPS = 300
GPU_WARM_UP_STEPS = 20
NO_GPU: dict[str, Any] = {"absent": "TensorFlow sees no GPU on this machine"}


def compare_runtimes(
    directory: Path, *, threads: int, batches: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Time LiteRT int8 and float32, `tf.function` and Keras `predict` in turns, batch size by batch size.

    Args:
        directory: the artifact's folder.
        threads: of each runtime.
        batches: crops per call.
        seconds: how long each batch size is measured.

    Returns:
        One object per batch size: threads, batch, and the figures of each engine.
    """
    artifact = load_expression(directory)
    tensorflow = TensorFlowEngines(artifact, threads=threads)
    engines = open_litert_pair(artifact, threads=threads)
    cells = []
    for batch in batches:
        crops = sample_crops(batch, artifact.input_side_px)
        runners = litert_runners(engines, crops) | tensorflow.runners(crops)
        figures = summarise(take_turns(runners, seconds=seconds), against=INT8, by_cpu=False)
        cells.append({"threads": threads, "batch": batch, "engines": figures})
    return cells


def compare_precisions(directory: Path, *, level: Level, seconds: float) -> dict[str, Any]:
    """Time int8 against float32 with one thread, one crop, and the kernels of one class of processors.

    Returns:
        The level with its figures, or with `not_possible` and the reason.
    """
    restriction = restrict_xnnpack(level)
    if restriction.problem:
        return {"level": str(level), "not_possible": restriction.problem}
    artifact = load_expression(directory)
    crops = sample_crops(1, artifact.input_side_px)
    runners = litert_runners(open_litert_pair(artifact, threads=1), crops)
    turns = take_turns(runners, seconds=seconds, cpu_clock=time.thread_time)
    return {"level": str(level), "engines": summarise(turns, against=INT8, by_cpu=True)}


def time_surroundings(directory: Path, *, seconds: float) -> dict[str, Any]:
    """Time what a crop costs before and after the network: decoding apart, which the JPEG decides."""
    artifact = load_expression(directory)
    drawn = np.random.default_rng(0).integers(0, 256, (CROP_SIDE_PX, CROP_SIDE_PX, 3))
    crop = np.asarray(drawn, np.uint8)
    logits = np.zeros((1, artifact.n_logits), np.float32)
    runners: dict[str, Runner] = {
        "prepare": lambda: prepare_batch([crop], side_px=artifact.input_side_px),
        "score": lambda: score_logits(logits, temperature=artifact.temperature),
    }
    taken = take_turns(runners, seconds=seconds)
    return {name: median_of(times.wall_ms).as_json("median_ms") for name, times in taken.items()}


def measure_gpu(directory: Path) -> dict[str, Any]:
    """Measure throughput on the GPU that TensorFlow sees, or say that there is none."""
    from cloud.classify.tensorflow_classifier import open_tensorflow, visible_gpus

    if not visible_gpus():
        return NO_GPU
    import tensorflow as tf

    artifact = load_expression(directory)
    engine = open_tensorflow(artifact)
    device = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    batches = []
    for batch in GPU_BATCHES:
        crops = sample_crops(batch, artifact.input_side_px)
        steps = []
        for step in range(GPU_WARM_UP_STEPS + GPU_STEPS):
            start = time.perf_counter()
            engine.classify(crops)
            if step >= GPU_WARM_UP_STEPS:
                steps.append((time.perf_counter() - start) * 1e3)
        batches.append(
            {
                "batch": batch,
                "crops_per_s": round(batch * len(steps) / (sum(steps) / 1e3)),
                "median_step_ms": round(float(np.median(steps)), 3),
                "p99_step_ms": round(float(np.quantile(steps, 0.99)), 3),
            }
        )
    return {"device": device.get("device_name", "GPU"), "engine": engine.name, "batches": batches}
