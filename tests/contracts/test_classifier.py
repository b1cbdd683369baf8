"""One suite for every engine that runs the shipped expression network."""

import hashlib
import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from cloud.classify.classifier import BATCH_SIZES, Classifier
from cloud.classify.litert_classifier import open_litert
from models.errors import ManifestError, TensorShapeError
from models.expression.loading import ExpressionArtifact, load_expression
from models.expression.preprocessing import prepare_batch
from tests.fixtures_expression import make_seven_logit_artifact
from tests.fixtures_street import picture


@pytest.fixture(scope="module", params=["shipped", "seven logits"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExpressionArtifact:
    if request.param == "seven logits":
        if importlib.util.find_spec("tensorflow") is None:
            pytest.skip("TensorFlow is not installed")
        with warnings.catch_warnings():
            # the converter warns about its own internals
            warnings.simplefilter("ignore")
            return make_seven_logit_artifact(tmp_path_factory.mktemp("seven"))
    try:
        return load_expression()
    except ManifestError as error:
        pytest.skip(f"no expression artifact: {error}")


@pytest.fixture(scope="module", params=["litert", "tensorflow"])
def engine(request: pytest.FixtureRequest, artifact: ExpressionArtifact) -> Iterator[Classifier]:
    if request.param == "litert":
        made: Classifier = open_litert(artifact)
    elif importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    else:
        from cloud.classify.tensorflow_classifier import open_tensorflow

        made = open_tensorflow(artifact)
    yield made
    made.close()


def prepared(count: int, artifact: ExpressionArtifact) -> np.ndarray:
    return prepare_batch([picture(n) for n in range(count)], side_px=artifact.input_side_px)


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_every_batch_size_gives_one_row_of_finite_logits_per_crop(engine, artifact, size: int) -> None:
    logits = engine.classify(prepared(size, artifact))
    assert (logits.shape, logits.dtype) == ((size, artifact.n_logits), np.float32)
    assert np.isfinite(logits).all()


def test_a_crops_logits_do_not_depend_on_its_batch(engine, artifact) -> None:
    crops = prepared(8, artifact)
    together = engine.classify(crops)
    alone = np.concatenate([engine.classify(crops[n : n + 1]) for n in range(8)])
    assert np.abs(together - alone).max() < 1e-3
    assert np.ptp(together, axis=0).max() > 0.1


def test_logits_stay_as_they_were_given_after_the_next_batch(engine, artifact) -> None:
    crops = prepared(8, artifact)
    first = engine.classify(crops)
    kept = first.copy()
    engine.classify(crops[::-1].copy())
    assert (first == kept).all()


@pytest.mark.parametrize(
    "change", [lambda c: c[:3], lambda c: c[..., 0], lambda c: c.astype(np.float64), lambda c: c[:, 1:]]
)
def test_a_batch_of_another_shape_or_dtype_is_refused(engine, artifact, change) -> None:
    with pytest.raises(TensorShapeError):
        engine.classify(change(prepared(8, artifact)))


def test_engines_name_themselves_and_their_device(engine) -> None:
    assert engine.name.partition(":")[0] in ("litert", "tensorflow")
    assert engine.device in ("cpu", "gpu")


def test_engines_agree_on_what_a_face_shows(artifact) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    from cloud.classify.tensorflow_classifier import open_tensorflow

    crops = prepared(64, artifact)
    first, second = open_litert(artifact).classify(crops), open_tensorflow(artifact).classify(crops)
    assert (first.argmax(axis=1) == second.argmax(axis=1)).mean() >= 0.9


def test_the_worker_on_litert_never_imports_tensorflow() -> None:
    code = (
        "import sys\n"
        "from cloud.config import ClassifierEngine\n"
        "from cloud.classify.worker import open_classifier\n"
        "from models.expression.loading import load_expression\n"
        "from models.errors import ManifestError\n"
        "try:\n"
        "    open_classifier(ClassifierEngine.LITERT, load_expression())\n"
        "except ManifestError:\n"
        "    pass\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_engine_names_the_very_file_that_it_runs(engine, artifact) -> None:
    manifest, model = artifact.manifest, engine.model
    file = manifest.directory / manifest.variant(model.variant).file
    assert hashlib.sha256(file.read_bytes()).digest() == model.sha256
    assert (model.name, model.version) == (manifest.name, manifest.version)
    assert model.version in engine.name
