"""Time one crop through each runtime, interleaved, so that a busy machine slows all of them alike."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.manifest import Manifest
from models.training.expression.evaluation.engines import LiteRtNetwork

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")


def time_variants(manifest: Manifest, *, threads: int = 1, rounds: int = 300) -> dict[str, Any]:
    """Return median and 10th-percentile milliseconds for one crop, per variant and runtime.

    Args:
        manifest: the artifact.
        threads: intra-op threads of LiteRT; the caller gave the same to `limit_tensorflow` at the start.
        rounds: interleaved measurements of each.
    """
    import tensorflow as tf

    side = manifest.input.shape[1]
    crop = np.random.default_rng(0).normal(size=(1, side, side, 1)).clip(-3, 3).astype(np.float32)
    int8 = LiteRtNetwork(manifest.read("int8"), threads=threads)
    float32 = LiteRtNetwork(manifest.read("float32"), threads=threads)
    function = _tf_function(manifest)
    constant = tf.constant(crop)
    runners: dict[str, Callable[[], object]] = {
        "litert_int8": lambda: int8(crop),
        "litert_float32": lambda: float32(crop),
        "tf_function": lambda: function(constant).numpy(),
    }
    figures: dict[str, Any] = {name: _summary(times) for name, times in _interleave(runners, rounds).items()}
    figures["threads"] = threads
    figures["cpu_flags"] = cpu_flags()
    figures["machine"] = platform.machine()
    return figures


def limit_tensorflow(threads: int) -> None:
    """Fix TensorFlow's threads; only possible before its first operation."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def cpu_flags(source: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return which instruction sets that matter to int8 this CPU has; empty where it cannot be read."""
    try:
        text = source.read_text("utf-8")
    except OSError:
        return []
    words = set(text.split())
    return [flag for flag in CPU_FLAGS if flag in words]


def _tf_function(manifest: Manifest) -> Callable[[Any], Any]:
    import keras
    import tensorflow as tf

    manifest.read("keras")
    model = keras.models.load_model(manifest.directory / manifest.variant("keras").file, compile=False)
    return tf.function(lambda x: model(x, training=False))  # type: ignore[no-any-return]


def _interleave(runners: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for run in runners.values():
        for _ in range(10):
            run()
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return times


def _summary(times_ms: list[float]) -> dict[str, float]:
    return {"median_ms": float(np.median(times_ms)), "p10_ms": float(np.quantile(times_ms, 0.1))}
