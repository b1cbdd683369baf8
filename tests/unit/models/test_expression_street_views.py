from collections.abc import Callable

import cv2
import numpy as np
import pytest
import skimage.data

from models.expression.street_views import street_view, street_views
from models.face_detector.runtime import Detector
from models.manifest import ARTIFACTS_DIR, load_manifest

SIDE_PX = 72


@pytest.fixture(scope="module")
def load_detector() -> Callable[[], Detector]:
    content = load_manifest(ARTIFACTS_DIR / "face_detector").read("float32")
    return lambda: Detector(content)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A face cut as closely as the data sets cut theirs, 100 pixels."""
    return cv2.resize(skimage.data.astronaut()[60:200, 150:290], (100, 100), interpolation=cv2.INTER_AREA)


def test_a_view_is_cut_by_the_landmarks_and_not_by_the_data_set(
    load_detector: Callable[[], Detector], face: np.ndarray
) -> None:
    detector = load_detector()
    views = [street_view(face, detector, side_px=SIDE_PX, seed=seed) for seed in range(3)]
    # The same face pushed aside within its picture gives the same view again.
    shifted = cv2.warpAffine(
        face, np.array([[1, 0, 8.0], [0, 1, -6.0]]), (100, 100), borderMode=cv2.BORDER_REPLICATE
    )
    moved = street_view(shifted, detector, side_px=SIDE_PX, seed=0)
    assert all(view is not None and view.shape == (SIDE_PX, SIDE_PX) for view in views)
    assert moved is not None
    plain = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (SIDE_PX, SIDE_PX))
    moved_plain = cv2.resize(cv2.cvtColor(shifted, cv2.COLOR_RGB2GRAY), (SIDE_PX, SIDE_PX))

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        inner = np.s_[16:56, 16:56]
        return float(np.abs(a[inner].astype(float) - b[inner]).mean())

    assert apart(views[0], moved) < 0.5 * apart(plain, moved_plain)


def test_surroundings_vary_with_the_picture_and_never_between_runs(
    load_detector: Callable[[], Detector], face: np.ndarray
) -> None:
    digests = [f"{number:064x}" for number in (0, 0, 1 << 224)]
    assert int(digests[2][:8], 16) % 3 != int(digests[0][:8], 16) % 3
    views, found = street_views([face] * 3, digests, load_detector, side_px=SIDE_PX)
    assert found.all()
    np.testing.assert_array_equal(views[0], views[1])
    assert (views[0] != views[2]).any()


def test_a_picture_without_a_face_stays_what_it_is(load_detector: Callable[[], Detector]) -> None:
    flat = np.full((50, 50), 90, np.uint8)
    views, found = street_views([flat], ["0" * 64], load_detector, side_px=SIDE_PX)
    assert not found.any()
    np.testing.assert_array_equal(views[0], np.full((SIDE_PX, SIDE_PX), 90, np.uint8))


def test_training_draws_the_asked_share_of_street_views() -> None:
    pytest.importorskip("keras", reason="needs the train extra")
    from models.expression.augmentation import AugmentationSettings
    from models.expression.datasets import PackedFaces
    from models.expression.sampling import AugmentedBatches

    # Plain pictures fall from left to right, their views rise, so a batch shows which one was drawn.
    ramp = np.tile(np.linspace(20, 230, 32).astype(np.uint8), (32, 1))
    faces = PackedFaces(
        grey=np.stack([ramp[:, ::-1]] * 4),
        targets=np.eye(7, dtype=np.float32)[:4],
        labels=np.arange(4),
        sources=("a",) * 4,
        digests=tuple("abcd"),
        street=np.stack([ramp.T] * 4),
    )
    batches = AugmentedBatches(
        faces,
        weights=np.full(4, 0.25),
        batch_size=400,
        steps_per_epoch=1,
        side_px=32,
        label_smoothing=0.0,
        augmentation=AugmentationSettings(
            rotation_deg=1, shear=0, gradient_share=0, cover_share=0, noise_share=0, coarse_share=0
        ),
        seed=3,
        street_share=0.3,
    )
    crops, _ = batches[0]
    rows, columns = (np.abs(crops[..., 0].mean(axis=axis)).max(axis=1) for axis in (2, 1))
    assert 0.22 < float((rows > columns).mean()) < 0.38


def test_views_are_compressed_as_the_agent_compresses_first() -> None:
    """Both sides share one crop and one JPEG quality; the copy of the latter must not drift."""
    from edge_agent.encoding import LADDER
    from models.expression import street_views as views

    assert LADDER[0].quality == views.JPEG_QUALITY
