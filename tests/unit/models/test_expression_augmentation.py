from pathlib import Path

import cv2
import numpy as np
import pytest

from models.errors import DatasetError
from models.training.expression.data.augmentation import (
    AugmentationSettings,
    augment,
    coarsen,
    cover,
    recompress,
    relight,
    spoil,
    warp,
)
from models.training.expression.training.training_config import DEFAULT_CONFIG, config_from_run, read_config

SETTINGS = AugmentationSettings()
STILL = AugmentationSettings(rotation_deg=0, shift=0, scale_min=1, scale_max=1, aspect=0, shear=0)


def face(side_px: int = 72) -> np.ndarray:
    coarse = np.random.default_rng(5).integers(40, 200, (9, 9), np.uint8)
    return np.asarray(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_a_seed_fixes_every_distortion() -> None:
    first = [augment(face(), side_px=56, settings=SETTINGS, rng=np.random.default_rng(s)) for s in range(30)]
    again = [augment(face(), side_px=56, settings=SETTINGS, rng=np.random.default_rng(s)) for s in range(30)]
    for one, other in zip(first, again, strict=True):
        assert one.shape == (56, 56)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in first}) == 30


def test_without_strength_a_warp_only_mirrors() -> None:
    rng = np.random.default_rng(0)
    seen = {warp(face(), side_px=72, settings=STILL, rng=rng).tobytes() for _ in range(20)}
    assert seen == {face().tobytes(), face()[:, ::-1].tobytes()}


def test_a_warp_keeps_the_centre_of_the_face_near_the_centre() -> None:
    dot = np.zeros((72, 72), np.uint8)
    cv2.circle(dot, (36, 36), 5, 255, -1)
    for seed in range(40):
        moved = warp(dot, side_px=56, settings=SETTINGS, rng=np.random.default_rng(seed))
        ys, xs = np.nonzero(moved > 128)
        if len(xs) and moved[0, 0] < 100:
            assert abs(xs.mean() - 27.5) < 0.2 * 56
            assert abs(ys.mean() - 27.5) < 0.2 * 56


def test_relighting_keeps_the_order_of_grey_levels() -> None:
    ramp = np.tile(np.arange(56, dtype=np.uint8) * 4, (56, 1))
    for seed in range(20):
        lit = relight(ramp, gradient=False, settings=SETTINGS, rng=np.random.default_rng(seed))
        assert (np.diff(lit[0].astype(int)) >= 0).all()


def test_coarsening_loses_fine_detail() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (56, 56), np.uint8)
    assert coarsen(noise, settings=SETTINGS, rng=np.random.default_rng(2)).std() < noise.std() * 0.8


def test_a_cover_hides_at_most_the_allowed_area() -> None:
    for seed in range(20):
        covered = cover(face(56), settings=SETTINGS, rng=np.random.default_rng(seed))
        assert (covered != face(56)).mean() <= SETTINGS.cover_max**2


def test_recompression_changes_little_at_high_quality_and_more_at_low() -> None:
    def damage(quality: int) -> float:
        return float(np.abs(recompress(face(56), quality=quality).astype(int) - face(56)).mean())

    assert damage(90) < 2 < damage(5)


def test_the_shipped_configuration_is_read_whole() -> None:
    config = read_config()
    assert config.network["input_side_px"] == 56
    assert sum(config.training.source_shares.values()) == pytest.approx(1.0)


def test_a_shipped_configuration_is_found_by_its_name_and_a_file_of_that_name_goes_first(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(Path("teacher.toml")).network["kind"] == "face"
    (tmp_path / "teacher.toml").write_text("[training]\nseed = 99\n", "utf-8")
    assert read_config(Path("teacher.toml")).training.seed == 99
    with pytest.raises(DatasetError, match=r"student\.toml"):
        read_config(tmp_path / "elsewhere" / "student.toml")


def test_a_misspelt_setting_is_refused_by_name(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(DEFAULT_CONFIG.read_text("utf-8").replace("momentum", "momentun"), "utf-8")
    with pytest.raises(DatasetError, match="momentun"):
        read_config(path)


def test_a_folder_that_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"run\.json"):
        config_from_run(tmp_path)


def test_a_spoiled_face_is_far_from_the_face_it_was() -> None:
    ys, xs = np.mgrid[0:48, 0:48]
    face = (40 + 2 * ys + 60 * (xs > 24) * (ys < 16)).astype(np.uint8)
    spoiled = [spoil(face, rng=np.random.default_rng(seed)) for seed in range(24)]
    assert all(s.shape == face.shape and s.dtype == np.uint8 for s in spoiled)
    assert min(np.abs(s.astype(int) - face).mean() for s in spoiled) > 5
