"""Choose the detector variant that is fastest on this machine, among those that pass the self-test.

Which one that is depends on the CPU's dot-product instructions, so it is measured once, at the first
start, and remembered until the artifact, the runtime or the machine changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edge_agent.errors import DetectorError
from edge_agent.tracking.detection import FaceNetwork
from edge_agent.tracking.self_test import draw_face, self_test
from models.errors import ModelsError
from models.face_detector.decoding import INPUT_PX
from models.runtime.manifest import Manifest

WARM_UP_RUNS = 3
TIMED_RUNS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMeasurement:
    """One variant on this machine.

    Attributes:
        variant: its id in the manifest.
        precision: `int8` or `float32`.
        median_us: one inference, one thread; 0 if it could not run.
        problem: why it must not be used, empty if it may.
    """

    variant: str
    precision: str
    median_us: int
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantChoice:
    """What was chosen, and what for.

    Attributes:
        variant: id of the variant to use.
        fingerprint: of artifact, runtime and machine; another one asks for a new measurement.
        measured: all variants, empty where nothing was measured.
    """

    variant: str
    fingerprint: str
    measured: tuple[VariantMeasurement, ...] = ()


def measure_variants(
    manifest: Manifest, load: Callable[[Manifest, str], FaceNetwork], now_us: Callable[[], int]
) -> tuple[VariantMeasurement, ...]:
    """Load, test and time every LiteRT variant.

    Args:
        manifest: the detector family.
        load: makes a network from a variant's id.
        now_us: clock in microseconds.
    """
    return tuple(
        _measure_one(manifest, variant.id, variant.precision, load, now_us)
        for variant in manifest.variants
        if variant.runtime == "litert"
    )


def choose_fastest(measured: Sequence[VariantMeasurement], *, fingerprint: str) -> VariantChoice:
    """Keep the fastest variant that passed.

    Raises:
        DetectorError: none did.
    """
    sound = [m for m in measured if not m.problem]
    if not sound:
        problems = "; ".join(f"{m.variant}: {m.problem}" for m in measured) or "there is none"
        raise DetectorError(f"no detector variant can be used on this machine ({problems})")
    best = min(sound, key=lambda m: m.median_us)
    return VariantChoice(variant=best.variant, fingerprint=fingerprint, measured=tuple(measured))


def encode_choice(choice: VariantChoice) -> str:
    """Write a choice as JSON, to be remembered."""
    return json.dumps(asdict(choice), indent=2) + "\n"


def decode_choice(text: str, *, fingerprint: str) -> VariantChoice | None:
    """Read a remembered choice; None if it is damaged or for another artifact, runtime or machine."""
    try:
        raw = json.loads(text)
        measured = tuple(VariantMeasurement(**m) for m in raw["measured"])
        choice = VariantChoice(
            variant=str(raw["variant"]), fingerprint=str(raw["fingerprint"]), measured=measured
        )
    except (ValueError, TypeError, KeyError):
        return None
    known = any(m.variant == choice.variant and not m.problem for m in measured)
    return choice if known and choice.fingerprint == fingerprint else None


def _measure_one(
    manifest: Manifest,
    variant: str,
    precision: str,
    load: Callable[[Manifest, str], FaceNetwork],
    now_us: Callable[[], int],
) -> VariantMeasurement:
    try:
        network = load(manifest, variant)
        problem = self_test(network)
        times = [] if problem else _time_runs(network, now_us)
    except (DetectorError, ModelsError) as error:
        return VariantMeasurement(variant=variant, precision=precision, median_us=0, problem=str(error))
    median = int(np.median(times)) if times else 0
    return VariantMeasurement(variant=variant, precision=precision, median_us=median, problem=problem or "")


def _time_runs(network: FaceNetwork, now_us: Callable[[], int]) -> list[int]:
    image = np.ascontiguousarray(draw_face(INPUT_PX)[None, ..., ::-1])
    times = []
    for run in range(WARM_UP_RUNS + TIMED_RUNS):
        start_us = now_us()
        network.infer(image)
        if run >= WARM_UP_RUNS:
            times.append(now_us() - start_us)
    return times
