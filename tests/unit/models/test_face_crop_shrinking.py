import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.face_crop.shrinking import shrink


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2500), st.integers(1, 2500), st.integers(16, 400))
def test_a_shrunk_picture_never_exceeds_the_wanted_side_and_reports_its_scale(height, width, side):
    small, scale = shrink(np.zeros((height, width, 3), np.uint8), side)
    assert max(small.shape[:2]) <= side or scale == 1.0
    assert max(small.shape[:2]) <= max(side, 1)
    assert small.shape[1] == pytest.approx(width * scale, abs=1)
    assert small.flags.c_contiguous
