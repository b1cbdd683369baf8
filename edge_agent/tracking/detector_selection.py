"""Remember on disk which detector variant this machine runs fastest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_agent.errors import DetectorError
from edge_agent.tracking.litert_detector import LiteRtNetwork, load_network
from edge_agent.tracking.variant_choice import (
    VariantChoice,
    choose_fastest,
    decode_choice,
    encode_choice,
    measure_variants,
)
from models.errors import ModelsError
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest

CHOICE_FILE = "detector.json"
AUTO = "auto"


def detector_manifest() -> Manifest:
    """Return the manifest of the detector that came with this installation.

    Raises:
        DetectorError: it is missing or malformed.
    """
    try:
        return load_manifest(ARTIFACTS_DIR / "face_detector")
    except ModelsError as error:
        raise DetectorError(f"the face detector is not installed: {error}") from None


def select_detector(wanted: str, home: Path, manifest: Manifest) -> VariantChoice:
    """Return the variant to run.

    Args:
        wanted: `auto` measures once and remembers; a variant's id or precision is taken as it is.
        home: where the measurement is kept.
        manifest: the detector family.

    Raises:
        DetectorError: there is no such variant, or none passes its self-test.
    """
    mark = _fingerprint(manifest)
    if wanted != AUTO:
        for variant in manifest.variants:
            if variant.runtime == "litert" and wanted in (variant.id, variant.precision):
                return VariantChoice(variant=variant.id, fingerprint=mark)
        raise DetectorError(f"the face detector has no variant {wanted!r}")
    path = home / CHOICE_FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        remembered = decode_choice(path.read_text("utf-8"), fingerprint=mark)
        if remembered is not None:
            return remembered
    return measure_and_remember(home, manifest)


def measure_and_remember(home: Path, manifest: Manifest) -> VariantChoice:
    """Measure all variants now and keep the result; a home that cannot be written costs a measurement per start.

    Raises:
        DetectorError: no variant passes its self-test.
    """
    measured = measure_variants(manifest, load_network, lambda: time.perf_counter_ns() // 1000)
    choice = choose_fastest(measured, fingerprint=_fingerprint(manifest))
    with contextlib.suppress(OSError):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = home / f"{CHOICE_FILE}.{os.getpid()}"
        fresh.write_text(encode_choice(choice), "utf-8")
        fresh.replace(home / CHOICE_FILE)
    return choice


def load_selected(choice: VariantChoice, manifest: Manifest) -> LiteRtNetwork:
    """Load the chosen variant.

    Raises:
        DetectorError: it cannot be loaded.
    """
    try:
        return load_network(manifest, choice.variant)
    except ModelsError as error:
        raise DetectorError(str(error)) from None


def _fingerprint(manifest: Manifest) -> str:
    digests = ",".join(variant.sha256 for variant in manifest.variants)
    parts = (digests, _runtime(), platform.machine(), platform.node(), platform.processor())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _runtime() -> str:
    for name in ("ai-edge-litert", "tflite-runtime"):
        with contextlib.suppress(PackageNotFoundError):
            return f"{name} {version(name)}"
    return "unknown"
