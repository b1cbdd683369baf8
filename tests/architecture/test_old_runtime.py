"""The artifacts run on tflite-runtime, which ARM boards still have under that name, as on LiteRT."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from skimage import data as samples

from models.expression.preprocessing import prepare_batch
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest

RUNNER = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter

for model, given, wanted in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    net = Interpreter(model_path=model, num_threads=1)
    net.allocate_tensors()
    net.set_tensor(net.get_input_details()[0]["index"], np.load(given))
    net.invoke()
    np.savez(wanted, **{str(d["shape"][-1]): net.get_tensor(d["index"]) for d in net.get_output_details()})
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no build for this Python")
    folder = tmp_path_factory.mktemp("old-runtime")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "tflite-runtime==2.14.0", "numpy<2"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index did not answer in time")
    if done.returncode:
        pytest.skip("no package index can be reached, or it has no tflite-runtime for this machine")
    return python


def portrait_for(name: str) -> np.ndarray:
    """The astronaut as the network `name` wants her: whole, or her face in grey."""
    face = np.ascontiguousarray(samples.astronaut()[..., ::-1])
    if name == "face_detector":
        return cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)[None, ..., ::-1].copy()
    return prepare_batch([np.ascontiguousarray(face[70:200, 165:295, ::-1])], side_px=56)


def probabilities(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """What is decided with: a probability per anchor, or per expression."""
    if "7" in outputs:
        powers = np.exp(outputs["7"] - outputs["7"].max())
        return powers / powers.sum()
    return 1 / (1 + np.exp(-np.clip(outputs["1"], -30, 30)))


@pytest.mark.slow
def test_every_variant_answers_alike_under_the_old_runtime(old_python: Path, tmp_path: Path) -> None:
    arguments, expected = [], []
    for name in ("face_detector", "expression"):
        manifest = load_manifest(ARTIFACTS_DIR / name)
        for variant in (v for v in manifest.variants if v.runtime == "litert"):
            net = Interpreter(model_content=manifest.read(variant.id), num_threads=1)
            net.allocate_tensors()
            detail = net.get_input_details()[0]
            given = portrait_for(name).astype(detail["dtype"])
            net.set_tensor(detail["index"], given)
            net.invoke()
            outputs = {str(d["shape"][-1]): net.get_tensor(d["index"]) for d in net.get_output_details()}
            stem = tmp_path / f"{name}-{variant.id}"
            np.save(f"{stem}-in.npy", given)
            expected.append((stem, outputs))
            arguments += [str(manifest.directory / variant.file), f"{stem}-in.npy", f"{stem}-out.npz"]

    subprocess.run([old_python, "-c", RUNNER, *arguments], check=True, capture_output=True, timeout=120)

    assert len(expected) == 4
    for stem, outputs in expected:
        old = dict(np.load(f"{stem}-out.npz"))
        now = probabilities(outputs)
        assert now.max() > 0.5, stem.name
        np.testing.assert_allclose(probabilities(old), now, atol=0.1, err_msg=stem.name)
        assert probabilities(old).argmax() == now.argmax() or stem.name.startswith("face_detector")
