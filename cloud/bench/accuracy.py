"""The only door from the benchmarks to the code that measures models: what a faster variant costs in accuracy.

Loaded by the function that needs it, in a process of its own; nothing that serves may do so (ADR 0083).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloud.bench.expression_engines import FLOAT32, TF_FUNCTION
from models.expression.loading import load_expression
from models.expression.taxonomy import N_LABELS


def compare_accuracy(directory: Path, data: Path) -> dict[str, Any]:
    """Compare int8 with float32 and with the Keras network, picture by picture, on every test set found.

    Args:
        directory: folder of the expression artifact.
        data: folder with the test sets.

    Returns:
        By test set: number of pictures, accuracy of int8, and for each rival its accuracy and the points that
        int8 loses against it with a 95 % interval.

    Raises:
        ModelsError: there is no test set, or the artifact is damaged.
    """
    from models.training.expression.evaluation.engines import keras_predictor, litert_predictor
    from models.training.expression.evaluation.evaluate import load_test_sets
    from models.training.expression.evaluation.scoring import paired_difference_interval

    artifact = load_expression(directory)
    manifest, side = artifact.manifest, artifact.input_side_px
    keras = next(v for v in manifest.variants if v.runtime == "keras")
    manifest.read(keras.id)
    int8 = litert_predictor(manifest.read("int8"), side_px=side)
    rivals = {
        FLOAT32: litert_predictor(manifest.read("float32"), side_px=side),
        TF_FUNCTION: keras_predictor(manifest.directory / keras.file, side_px=side),
    }
    found: dict[str, Any] = {}
    for test_set in load_test_sets(data):
        crops, labels = list(test_set.crops), test_set.labels
        hits = int8(crops)[:, :N_LABELS].argmax(axis=1) == labels
        found[test_set.name] = {
            "pictures": len(labels),
            "accuracy": round(float(hits.mean()), 4),
            "rivals": {},
        }
        for name, rival in rivals.items():
            theirs = rival(crops)[:, :N_LABELS].argmax(axis=1) == labels
            lost, low, high = (round(100 * share, 3) for share in paired_difference_interval(theirs, hits))
            found[test_set.name]["rivals"][name] = {
                "accuracy": round(float(theirs.mean()), 4), "lost_points": lost, "low": low, "high": high,
            }  # fmt: skip
    return found
