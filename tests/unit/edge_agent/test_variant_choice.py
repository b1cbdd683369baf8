from itertools import count
from pathlib import Path

import pytest

from edge_agent.errors import DetectorError
from edge_agent.tracking.variant_choice import (
    VariantMeasurement,
    choose_fastest,
    decode_choice,
    encode_choice,
    measure_variants,
)
from models.runtime.manifest import Manifest, TensorSpec, Variant


def measurement(variant, median_us, problem=""):
    return VariantMeasurement(variant=variant, precision="int8", median_us=median_us, problem=problem)


def family(*ids, runtime="litert"):
    tensor = TensorSpec(name="x", shape=(1,), dtype="float32", meaning="")
    return Manifest(
        directory=Path(),
        name="face_detector",
        version="1",
        kind="face_detector",
        command="",
        created_utc="",
        licence="",
        sources=(),
        input=tensor,
        outputs=(),
        labels=(),
        variants=tuple(
            Variant(id=i, file=i, sha256=i, size_bytes=1, runtime=runtime, precision="int8") for i in ids
        ),
        default_variant=ids[0],
    )


def test_the_fastest_sound_variant_is_chosen():
    measured = [measurement("a", 900), measurement("b", 500), measurement("c", 100, "blind")]
    assert choose_fastest(measured, fingerprint="f").variant == "b"


def test_where_no_variant_is_sound_every_problem_is_named():
    with pytest.raises(DetectorError, match=r"a: blind.*b: crooked"):
        choose_fastest([measurement("a", 0, "blind"), measurement("b", 0, "crooked")], fingerprint="f")


def test_a_choice_is_remembered_for_the_same_artifact_and_machine_only():
    choice = choose_fastest([measurement("a", 900), measurement("b", 500)], fingerprint="f")
    assert decode_choice(encode_choice(choice), fingerprint="f") == choice
    assert decode_choice(encode_choice(choice), fingerprint="g") is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"variant": 1, "fingerprint": "f", "measured": [1]}']
)
def test_a_damaged_memory_asks_for_a_new_measurement(text):
    assert decode_choice(text, fingerprint="f") is None


def test_a_variant_that_cannot_be_loaded_is_reported_not_raised(patch_network):
    def load(_manifest, variant):
        raise DetectorError(f"{variant} is broken")

    (found,) = measure_variants(family("a"), load, count().__next__)
    assert found.problem == "a is broken"


def test_a_variant_that_finds_nothing_in_the_drawing_fails_its_self_test(patch_network):
    (found,) = measure_variants(family("a"), lambda _m, _v: patch_network, count().__next__)
    assert "drawing" in found.problem


def test_variants_of_another_runtime_are_left_out():
    def load(_manifest, _variant):
        raise AssertionError("must not be loaded")

    assert measure_variants(family("a", runtime="keras"), load, count().__next__) == ()
