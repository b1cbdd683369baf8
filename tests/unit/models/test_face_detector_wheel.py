"""Reading the source wheel: refusals always, the real one where it is at hand."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from models.errors import DatasetError
from models.training.face_detector.building import wheel
from models.training.face_detector.building.flatbuffer import read_network

WHEEL_NAME = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"


def make_wheel(folder: Path, members: dict[str, bytes], name: str = WHEEL_NAME) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {}, name="mediapipe-0.10.14-cp311-cp311-linux.whl")
    with pytest.raises(DatasetError, match=r"not a mediapipe 0\.10\.21 wheel"):
        wheel.read_wheel(path)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / WHEEL_NAME
    path.write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match="not a wheel"):
        wheel.read_wheel(path)


def test_a_missing_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read"):
        wheel.read_wheel(tmp_path / WHEEL_NAME)


def test_a_wheel_without_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no"):
        wheel.read_wheel(make_wheel(tmp_path, {wheel.LICENCE_PATH: b"Apache"}))


def test_a_network_with_another_digest_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {wheel.LICENCE_PATH: b"Apache", wheel.NETWORK_PATH: b"TFL3 but another"})
    with pytest.raises(DatasetError, match="SHA-256"):
        wheel.read_wheel(path)


def test_a_member_that_would_unpack_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = b"\0" * (wheel.MEMBER_LIMIT_BYTES + 1)
    with pytest.raises(DatasetError, match="more than"):
        wheel.read_wheel(make_wheel(tmp_path, {wheel.NETWORK_PATH: bomb}))


def test_bytes_that_are_no_flatbuffer_are_refused() -> None:
    with pytest.raises(DatasetError, match="flatbuffer"):
        read_network(b"\0" * 64)


@pytest.fixture(scope="module")
def source() -> wheel.SourceWheel:
    path = os.environ.get("COUNTENANCE_DETECTOR_WHEEL")
    if not path:
        pytest.skip("COUNTENANCE_DETECTOR_WHEEL does not name the mediapipe 0.10.21 wheel")
    return wheel.read_wheel(Path(path))


def test_the_network_has_float32_weights_only(source: wheel.SourceWheel) -> None:
    network = read_network(source.network)
    weights = [c for c in network.constants.values() if c.ndim == 4 and c.dtype.kind == "f"]
    kinds = {o.kind for o in network.operations}
    assert "DEQUANTIZE" not in kinds
    used = {i for o in network.operations for i in o.inputs if i in network.constants}
    assert all(network.constants[i].dtype in ("float32", "int32") for i in used)
    assert len(weights) >= 37


@pytest.mark.slow
def test_the_rebuilt_network_computes_what_the_source_computes(source: wheel.SourceWheel) -> None:
    import numpy as np

    pytest.importorskip("tensorflow", reason="the rebuild needs the train extra")
    from skimage import data as samples

    from models.face_detector.decoding import letterbox_parameters
    from models.face_detector.preprocessing import letterbox_frame
    from models.training.face_detector.building.build import PARITY_TOLERANCE, rebuild_difference

    rng = np.random.default_rng(0)
    astronaut = letterbox_frame(np.ascontiguousarray(samples.astronaut()), letterbox_parameters(512, 512))
    pictures = [
        *rng.uniform(-1, 1, (3, 128, 128, 3)).astype(np.float32),
        (astronaut[0] / 127.5 - 1).astype(np.float32),
    ]
    assert rebuild_difference(source.network, read_network(source.network), pictures) < PARITY_TOLERANCE
