"""The shipped detector: digests, interface, and that it sees a face."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as samples

from models.errors import ArtifactDigestError
from models.face_detector.decoding import Detections, iou_matrix
from models.face_detector.runtime import Detector
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest
from models.training.face_detector.building.wheel import LICENCE_ID, NETWORK_SHA256

ASTRONAUT_FACE = np.array([[0.35, 0.15, 0.53, 0.40]], np.float32)
"""xyxy, drawn by hand: hairline to chin."""

VARIANTS = ("int8", "float32")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(ARTIFACTS_DIR / "face_detector")


@pytest.fixture(scope="module")
def astronaut_bgr() -> np.ndarray:
    return np.ascontiguousarray(samples.astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def detectors(manifest: Manifest) -> dict[str, Detector]:
    return {name: Detector(manifest.read(name)) for name in VARIANTS}


def test_the_family_has_int8_as_default_and_float32_beside_it(manifest: Manifest) -> None:
    assert tuple(v.id for v in manifest.variants) == VARIANTS
    assert manifest.default_variant == "int8"


def test_the_manifest_names_source_licence_and_digests(manifest: Manifest) -> None:
    assert manifest.licence == LICENCE_ID
    assert manifest.sources[1]["sha256"] == NETWORK_SHA256
    assert "Apache License" in (manifest.directory / "NOTICE").read_text("utf-8")
    assert "Apache License" in (manifest.directory / "LICENSE").read_text("utf-8")


def test_the_manifest_carries_measured_figures(manifest: Manifest) -> None:
    assert manifest.metrics["paired_faces"] >= 1000
    assert manifest.metrics["float32_minus_original_lower95_points"] >= -1.0
    assert manifest.metrics["int8_minus_original_lower95_points"] >= -1.0


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_matches_its_digest(manifest: Manifest, variant: str) -> None:
    assert len(manifest.read(variant)) == manifest.variant(variant).size_bytes


def test_a_changed_byte_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    content = bytearray(manifest.read("int8"))
    content[len(content) // 2] ^= 1
    (tmp_path / manifest.variant("int8").file).write_bytes(content)
    with pytest.raises(ArtifactDigestError):
        dataclasses.replace(manifest, directory=tmp_path).read("int8")


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_finds_the_astronaut_and_only_her(
    detectors: dict[str, Detector], astronaut_bgr: np.ndarray, variant: str
) -> None:
    found = detectors[variant].detect(astronaut_bgr)
    assert len(found) == 1
    assert found.scores[0] > 0.8
    assert iou_matrix(found.boxes_xyxy, ASTRONAUT_FACE)[0, 0] > 0.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_landmarks_lie_where_eyes_nose_and_mouth_are(
    detectors: dict[str, Detector], astronaut_bgr: np.ndarray, variant: str
) -> None:
    right_eye, left_eye, nose, mouth = detectors[variant].detect(astronaut_bgr).landmarks[0, :4]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]


def test_int8_and_float_agree_on_a_webcam_sized_frame(
    detectors: dict[str, Detector], astronaut_bgr: np.ndarray
) -> None:
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[:, 80:560] = cv2.resize(astronaut_bgr, (480, 480), interpolation=cv2.INTER_AREA)
    found: dict[str, Detections] = {name: d.detect(frame) for name, d in detectors.items()}
    assert len(found["int8"]) == len(found["float32"]) == 1
    assert iou_matrix(found["int8"].boxes_xyxy, found["float32"].boxes_xyxy)[0, 0] > 0.85


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_frame_has_no_face(detectors: dict[str, Detector], variant: str, level: int) -> None:
    assert len(detectors[variant].detect(np.full((360, 640, 3), level, np.uint8))) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_interface_is_the_one_the_manifest_declares(manifest: Manifest, variant: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=manifest.read(variant))
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    assert (tuple(given["shape"]), np.dtype(given["dtype"]).name) == (
        manifest.input.shape,
        manifest.input.dtype,
    )
    shapes = {(tuple(o["shape"]), np.dtype(o["dtype"]).name) for o in interpreter.get_output_details()}
    assert shapes == {(o.shape, o.dtype) for o in manifest.outputs}
