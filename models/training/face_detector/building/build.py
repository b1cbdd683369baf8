"""Build the detector artifact: wheel in, family of variants with manifest and notice out.

The source network is converted as it is and quantised (`quantise`); where it is asked for, a further variant gets
a narrow beginning (`narrow`) that is trained to repeat it (`recover`). Nothing is learned but what the source
network already says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.face_detector import decoding
from models.runtime.manifest import Manifest, TensorSpec, describe_file, write_manifest
from models.training.face_detector.building.flatbuffer import SourceNetwork, read_network
from models.training.face_detector.building.graph import build_keras_network
from models.training.face_detector.building.level import level_scores
from models.training.face_detector.building.narrow import narrow_beginning
from models.training.face_detector.building.quantise import INT8_BLOCKS, convert, quantise, scale_pixels
from models.training.face_detector.building.recover import NARROW_RATE, recover, recover_front
from models.training.face_detector.building.representative import representative_pictures
from models.training.face_detector.building.wheel import (
    LICENCE_ID,
    NETWORK_PATH,
    PACKAGE,
    VERSION,
    SourceWheel,
)

NAME = "face_detector"
ARTIFACT_VERSION = "2"
COMMAND = "countenance models detector build --data DIR --out OUT"
INT8_FILE = "face_detector_int8.tflite"
FLOAT32_FILE = "face_detector_float32.tflite"
NARROW_FILE = "face_detector_narrow.tflite"
REPRESENTATIVE_PICTURES = 4000
REPRESENTATIVE_SEED = 20
RECOVERY_STEPS = 3000
NARROW_PICTURES = 30_000
NARROW_PICTURES_SEED = 101
NARROW_SEED = 1
FRONT_STEPS = 10_000
NARROW_STEPS = (9000, 4500)
"""Steps of training the whole narrow network: the rate falls to zero, and once more from the start."""

LEVELLING_PICTURES = 4000
PARITY_TOLERANCE = 1e-3
"""Largest difference to the source network's outputs, relative to values above 1 (scores reach thousands)."""

STEPS = 7 + RECOVERY_STEPS
"""Steps told to `progress`, obtaining the wheel included."""

NARROWING_STEPS = 1 + FRONT_STEPS + sum(NARROW_STEPS)
"""Further steps where the narrow variant is made."""

UInt8Array = npt.NDArray[np.uint8]
Progress = Callable[[str], None]
"""Told the name of each step as it begins."""

INPUT = TensorSpec(
    name="pixels",
    shape=(1, decoding.INPUT_PX, decoding.INPUT_PX, 3),
    dtype="uint8",
    meaning="RGB, 0..255; the frame letterboxed (one scale, centred, black elsewhere); NHWC",
)
OUTPUTS = (
    TensorSpec(
        name="regressors",
        shape=(1, 896, 16),
        dtype="float32",
        meaning="per anchor: centre x, y, width, height, six landmark pairs; input pixels relative to the anchor",
    ),
    TensorSpec(
        name="classificators",
        shape=(1, 896, 1),
        dtype="float32",
        meaning="per anchor: score as a logit; the sigmoid is the probability of a face",
    ),
)


def build_artifact(
    *,
    wheel: SourceWheel,
    data: Path,
    out: Path,
    now: datetime,
    progress: Progress,
    with_narrow: bool = False,
) -> Manifest:
    """Write the family to `out` and return its manifest.

    Args:
        wheel: the source.
        data: folder with the training archives that the representative set is drawn from.
        out: folder to write; made if missing, files of the same name replaced.
        now: time of the build, aware UTC.
        progress: told each step.
        with_narrow: also train the narrow variant, which takes an hour and more.

    Raises:
        DatasetError: the training archives are missing, or the rebuilt network differs from the source.
    """
    progress("reading the network")
    network = read_network(wheel.network)
    progress("composing the representative set")
    pictures = np.stack(
        list(representative_pictures(data, count=REPRESENTATIVE_PICTURES, seed=REPRESENTATIVE_SEED))
    )
    progress("checking the rebuilt network against the source")
    difference = rebuild_difference(wheel.network, network, scale_pixels(pictures[:8]))
    if difference > PARITY_TOLERANCE:
        raise DatasetError(f"the rebuilt network differs from the source by {difference:.3g}")
    out.mkdir(parents=True, exist_ok=True)
    progress("converting the float32 variant")
    (out / FLOAT32_FILE).write_bytes(convert(network))
    progress("measuring int8 ranges")
    quantised, int8_shift = quantise(
        network,
        pictures,
        recovery_steps=RECOVERY_STEPS,
        progress=_step_teller("recovery", progress),
    )
    (out / INT8_FILE).write_bytes(quantised)
    measured = {"rebuild_max_difference": difference, "int8_score_shift": int8_shift}
    if with_narrow:
        progress("composing what the narrow variant learns from")
        lessons = np.stack(
            list(representative_pictures(data, count=NARROW_PICTURES, seed=NARROW_PICTURES_SEED))
        )
        narrow, measured["narrow_score_shift"] = narrow_network(network, lessons, progress=progress)
        (out / NARROW_FILE).write_bytes(convert(narrow))
    progress("writing manifest and notice")
    (out / "NOTICE").write_text(notice_text(wheel), "utf-8")
    (out / "LICENSE").write_text(wheel.licence, "utf-8")
    manifest = describe(wheel, out, now=now, measured=measured)
    write_manifest(manifest)
    return manifest


def narrow_network(
    network: SourceNetwork, pictures: UInt8Array, *, progress: Progress
) -> tuple[SourceNetwork, float]:
    """Return the network with a trained narrow beginning, and the shift that its scores were given.

    Args:
        network: the source network.
        pictures: uint8 (n, 128, 128, 3), RGB: the representative set.
        progress: told each step.
    """
    narrow = recover_front(
        network,
        narrow_beginning(network, seed=NARROW_SEED),
        pictures,
        steps=FRONT_STEPS,
        seed=NARROW_SEED,
        progress=_step_teller("narrow beginning", progress),
    )
    for part, steps in enumerate(NARROW_STEPS, start=1):
        narrow = recover(
            network,
            narrow,
            pictures,
            steps=steps,
            rate=NARROW_RATE,
            seed=NARROW_SEED + part,
            progress=_step_teller("narrow network", progress),
        )
    return level_scores(network, narrow, None, pictures[:LEVELLING_PICTURES])


def _step_teller(what: str, progress: Progress) -> Callable[[int, float], None]:
    return lambda step, loss: progress(f"{what}, step {step + 1}, loss {loss:.2f}")


def rebuild_difference(source: bytes, network: SourceNetwork, pictures: Iterable[np.ndarray]) -> float:
    """Return the largest difference, relative above 1, between the source's outputs and the rebuilt network's.

    Args:
        source: the source TFLite file.
        network: the same file, parsed.
        pictures: float32 pictures (128, 128, 3), RGB in [-1, 1].
    """
    from models.face_detector.runtime import Detector

    reference = Detector(source)
    rebuilt = build_keras_network(network)
    worst = 0.0
    for picture in pictures:
        expected = reference.raw_outputs(picture[None])
        actual = rebuilt(picture[None], training=False)
        for wanted, given in zip(expected, actual, strict=True):
            gap = np.abs(wanted - np.asarray(given)) / np.maximum(np.abs(wanted), 1.0)
            worst = max(worst, float(gap.max()))
    return worst


def describe(wheel: SourceWheel, out: Path, *, now: datetime, measured: dict[str, float]) -> Manifest:
    """Return the manifest of the files in `out`; its metrics stay empty until `evaluate` has measured them."""
    narrow = (
        (describe_file(out / NARROW_FILE, variant_id="narrow", runtime="litert", precision="float32"),)
        if "narrow_score_shift" in measured
        else ()
    )
    return Manifest(
        directory=out,
        name=NAME,
        version=ARTIFACT_VERSION,
        kind="face_detector",
        command=f"{COMMAND} --narrow" if narrow else COMMAND,
        created_utc=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence=LICENCE_ID,
        sources=(
            {"package": PACKAGE, "version": VERSION, "wheel": wheel.name, "sha256": wheel.sha256},
            {"file": NETWORK_PATH, "sha256": wheel.network_sha256},
        ),
        input=INPUT,
        outputs=OUTPUTS,
        labels=(),
        variants=(
            describe_file(out / INT8_FILE, variant_id="int8", runtime="litert", precision="int8"),
            describe_file(out / FLOAT32_FILE, variant_id="float32", runtime="litert", precision="float32"),
            *narrow,
        ),
        default_variant="int8",
        parameters={
            "anchors": "short_range_896",
            "min_score": decoding.DEFAULT_MIN_SCORE,
            "iou": decoding.DEFAULT_IOU,
            "landmarks": list(decoding.LANDMARKS),
            "int8_keeps_float": f"stem, blocks before {INT8_BLOCKS.start}, blocks from {INT8_BLOCKS.stop} (8x8 grid), both heads",
            "representative_pictures": REPRESENTATIVE_PICTURES,
            "representative_seed": REPRESENTATIVE_SEED,
            "representative_faces": "RAF-DB train and FER2013 Training splits only",
            "recovery_steps": RECOVERY_STEPS,
            **{name: round(value, 6) for name, value in measured.items()},
        },
    )


def notice_text(wheel: SourceWheel) -> str:
    """Return the attribution that the Apache licence asks for, with the changes that were made."""
    return (
        "Countenance face detector\n\n"
        "Derived from BlazeFace (short range) of MediaPipe, Copyright The MediaPipe Authors,\n"
        "licensed under the Apache License, Version 2.0; see LICENSE beside this file.\n\n"
        f"Source: {NETWORK_PATH}\n"
        f"  in {wheel.name}\n"
        f"  SHA-256 {wheel.network_sha256}\n\n"
        "Changes: half-precision weights expanded to float32; pixel scaling moved into the network, which\n"
        "now takes 8-bit RGB; in the int8 variant channels were rescaled without changing the function, and\n"
        "weights trained for a few minutes to repeat the float outputs under rounding, and weights and\n"
        "activations quantised to 8 bits, except the stem, the first block, the prediction heads and the 8x8 grid;\n"
        "in a narrow variant, where there is one, the stem and the first three blocks were replaced by narrower\n"
        "ones, and all weights trained to repeat the original's outputs.\n\n"
        "Bazarevsky et al. (2019), BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs,\n"
        "arXiv:1907.05047.\n"
    )
