"""A tiny expression artifact whose network gives seven logits, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.expression.loading import ExpressionArtifact, load_expression
from models.expression.taxonomy import LABELS
from models.runtime.manifest import Manifest, TensorSpec, describe_file, write_manifest

SIDE_PX = 24
SEVEN_PARAMETERS = {
    "temperature": 1.2,
    "confident_above": 0.5,
    "scope_temperature": 1.5,
    "in_scope_above": 0.4,
}


def seven_logit_manifest(directory: Path, **changes: object) -> Manifest:
    """Describe an artifact of seven logits whose files are not there yet."""
    body: dict[str, object] = {
        "directory": directory,
        "name": "seven",
        "version": "0",
        "kind": "expression",
        "command": "none",
        "created_utc": "2026-01-01T00:00:00Z",
        "licence": "none",
        "sources": (),
        "input": TensorSpec(name="crop", shape=(1, SIDE_PX, SIDE_PX, 1), dtype="float32", meaning="crop"),
        "outputs": (TensorSpec(name="logits", shape=(1, 7), dtype="float32", meaning="six, then other"),),
        "labels": LABELS,
        "variants": (),
        "default_variant": "int8",
        "parameters": SEVEN_PARAMETERS,
    }
    return Manifest(**{**body, **changes})  # type: ignore[arg-type]


def make_seven_logit_artifact(directory: Path) -> ExpressionArtifact:
    """Write an untrained artifact of seven logits, int8, float and Keras; needs TensorFlow."""
    import keras

    from models.training.expression.exporting.quantise import save_bytes, to_float_tflite, to_int8_tflite

    keras.utils.set_random_seed(7)
    crop = keras.Input((SIDE_PX, SIDE_PX, 1), name="crop")
    pooled = keras.layers.AveragePooling2D(4)(keras.layers.Conv2D(4, 3, padding="same")(crop))
    model = keras.Model(crop, keras.layers.Dense(7, name="logits")(keras.layers.Flatten()(pooled)))
    # coarse patterns, as crops are: fine noise would be averaged away and leave the ranges too narrow
    coarse = np.random.default_rng(7).uniform(-3, 3, (32, SIDE_PX // 8, SIDE_PX // 8, 1))
    samples = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
    files = {
        "int8": save_bytes(to_int8_tflite(model, samples), directory / "seven.int8.tflite"),
        "float32": save_bytes(to_float_tflite(model), directory / "seven.float32.tflite"),
        "keras": directory / "seven.keras",
    }
    model.save(files["keras"], include_optimizer=False)
    variants = tuple(
        describe_file(
            path,
            variant_id=name,
            runtime="keras" if name == "keras" else "litert",
            precision="int8" if name == "int8" else "float32",
        )
        for name, path in files.items()
    )
    write_manifest(seven_logit_manifest(directory, variants=variants))
    return load_expression(directory)
