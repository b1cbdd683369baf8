import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tracking.geometry import Box, centre_distance, iou

finite = st.floats(-1e3, 1e3)
boxes = st.tuples(finite, finite, st.floats(0.5, 500), st.floats(0.5, 500)).map(
    lambda v: Box(x_min=v[0], y_min=v[1], x_max=v[0] + v[2], y_max=v[1] + v[3])
)


@given(boxes, boxes)
def test_iou_is_symmetric_and_within_zero_and_one(a, b):
    assert iou(a, b) == pytest.approx(iou(b, a))
    assert 0.0 <= iou(a, b) <= 1.0 + 1e-9


@given(boxes)
def test_a_box_overlaps_itself_entirely_and_lies_no_distance_from_itself(box):
    assert iou(box, box) == pytest.approx(1.0, abs=1e-6)
    assert centre_distance(box, box) == 0.0


@given(boxes, st.floats(0.5, 4))
def test_a_squared_box_keeps_its_centre_and_has_the_wanted_side(box, factor):
    square = box.squared(factor)
    assert square.centre == pytest.approx(box.centre, abs=1e-6)
    assert square.width == pytest.approx(square.height, abs=1e-6)
    assert square.width == pytest.approx(box.side * factor, rel=1e-6)


@given(boxes)
def test_a_clipped_box_lies_inside_the_picture(box):
    inside = box.clipped(width=640, height=480)
    assert 0 <= inside.x_min <= inside.x_max <= 640
    assert 0 <= inside.y_min <= inside.y_max <= 480


def test_boxes_that_touch_nowhere_have_no_overlap():
    assert iou(Box.of([0, 0, 10, 10]), Box.of([20, 20, 30, 30])) == 0.0
