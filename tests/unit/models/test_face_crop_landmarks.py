import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.face_crop.landmarks import fit_similarity


@given(st.floats(-3.1, 3.1), st.floats(0.2, 5.0), st.floats(-200, 200), st.floats(-200, 200))
def test_a_similarity_is_found_again_from_the_points_it_moved(angle, scale, dx, dy):
    source = np.array([[10, 20], [60, 25], [33, 70]], np.float32)
    matrix = np.array(
        [
            [scale * np.cos(angle), -scale * np.sin(angle), dx],
            [scale * np.sin(angle), scale * np.cos(angle), dy],
        ],
        np.float32,
    )
    moved = source @ matrix[:, :2].T + matrix[:, 2]
    found = fit_similarity(source, np.asarray(moved, np.float32))
    assert np.allclose(found, matrix, atol=2e-2, rtol=1e-3)


@given(hnp.arrays(np.float32, (2, 25, 2), elements=st.floats(0, 640, width=32)))
def test_a_fit_is_the_least_squares_solution(points):
    source, target = points
    if np.ptp(source, axis=0).max() < 1:
        return
    equations = np.zeros((50, 4))
    equations[::2] = np.column_stack([source[:, 0], -source[:, 1], np.ones(25), np.zeros(25)])
    equations[1::2] = np.column_stack([source[:, 1], source[:, 0], np.zeros(25), np.ones(25)])
    (a, b, shift_x, shift_y), *_ = np.linalg.lstsq(equations, target.reshape(-1).astype(np.float64))
    np.testing.assert_allclose(
        fit_similarity(source, target), [[a, -b, shift_x], [b, a, shift_y]], rtol=1e-4, atol=1e-3
    )


def test_points_that_coincide_define_no_similarity():
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity(np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))
