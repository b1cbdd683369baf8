from __future__ import annotations

import numpy as np
import pytest

from models.audit.degradation import all_slices, blur, cover, dim, shrink, side_light, swivel, turn

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (100, 100, 3)).astype(np.uint8)


@pytest.mark.parametrize("one", all_slices(), ids=lambda s: f"{s.cause} {s.degree}")
def test_each_slice_changes_colour_and_grey_pictures_and_only_the_first_changes_nothing(one) -> None:
    for picture in (PICTURE, PICTURE[..., 0].copy()):
        before = picture.copy()
        made = one.change(picture, np.random.default_rng(1))
        np.testing.assert_array_equal(picture, before)
        assert made.dtype == np.uint8 and made.ndim == picture.ndim
        assert (made.shape == picture.shape and np.array_equal(made, picture)) == (one.cause == "none")


def test_causes_are_what_the_audit_promises() -> None:
    assert {"light", "blur", "size", "roll", "yaw", "cover"} < {one.cause for one in all_slices()}


def test_dimming_scales_the_mean_and_a_side_light_falls_off() -> None:
    flat = np.full((100, 100), 200, np.uint8)
    assert dim(flat, 0.25, RNG).mean() == pytest.approx(50, abs=0.5)
    lit = side_light(flat)
    assert (lit[0, 0], lit[0, -1]) == (200, 33)


def test_blur_takes_detail_and_shrinking_takes_pixels() -> None:
    assert blur(PICTURE, 2.0).std() < PICTURE.std() / 2
    assert shrink(PICTURE, 24).shape == (24, 24, 3)


def test_a_quarter_turn_moves_the_top_to_a_side() -> None:
    marked = np.zeros((101, 101), np.uint8)
    marked[5, 50] = 255
    assert np.unravel_index(turn(marked, 90).argmax(), (101, 101)) == (50, 5)


def test_a_turned_flat_picture_is_foreshortened() -> None:
    bar = np.full((100, 100), 255, np.uint8)
    seen = swivel(bar, 60)
    assert (seen[50] > 200).sum() == pytest.approx(50, abs=4)
    np.testing.assert_array_equal(swivel(bar, 0), bar)


def test_a_cover_hides_its_band_alone() -> None:
    covered = cover(PICTURE, 0.58, 1.0)
    assert (covered[58:] == 110).all()
    np.testing.assert_array_equal(covered[:58], PICTURE[:58])
