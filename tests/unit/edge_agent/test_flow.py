import cv2
import numpy as np
import pytest

from edge_agent.tracking.geometry import Box, transform_points
from edge_agent.tracking.optical_flow import carry
from models.face_crop.landmarks import fit_similarity


def grey(faces, paint_faces):
    return cv2.cvtColor(paint_faces(faces, width=320, height=240), cv2.COLOR_BGR2GRAY)


@pytest.mark.parametrize("side", [40, 80, 140])
def test_a_small_step_is_followed_whatever_the_size_of_the_face(paint_faces, side):
    before, after = grey([(150, 120, side)], paint_faces), grey([(154, 123, side)], paint_faces)
    half = side / 2
    motion = carry(before, after, Box.of([150 - half, 120 - half, 150 + half, 120 + half]))
    assert motion is not None
    assert motion.matrix @ np.array([150, 120, 1]) == pytest.approx([154, 123], abs=0.7)
    assert motion.agreement > 0.8


@pytest.mark.parametrize(
    ("scale", "angle_deg", "shift"), [(1.0, 0, (2.3, -1.4)), (1.05, 3, (1, 1)), (0.96, -4, (-3, 2))]
)
@pytest.mark.parametrize("side", [40, 90, 150])
def test_corners_are_carried_to_within_a_tenth_of_a_pixel_of_what_patient_flow_gives(
    scale, angle_deg, shift, side
):
    """Fewer steps of the solver, the sorted median and the fit in region pixels are no approximation to speak of."""
    before = cv2.GaussianBlur(np.random.default_rng(7).integers(0, 255, (240, 320), np.uint8), (0, 0), 3)
    before = cv2.normalize(before, None, 0, 255, cv2.NORM_MINMAX)
    turn = cv2.getRotationMatrix2D((160, 120), angle_deg, scale)
    turn[:, 2] += shift
    after = cv2.warpAffine(before, turn, (320, 240), borderMode=cv2.BORDER_REFLECT)
    box = Box.of([160 - side / 2, 120 - side / 2, 160 + side / 2, 120 + side / 2])
    corners = np.array([[box.x_min, box.y_min], [box.x_max, box.y_max]], np.float32)
    motion = carry(before, after, box)
    assert motion is not None
    patient = patient_carry(before, after, box)
    assert np.abs(transform_points(motion.matrix, corners) - transform_points(patient, corners)).max() < 0.1


def patient_carry(before, after, box):
    """The same method step by step with the library's own functions, as patient as they are by default."""
    region, inner = box.squared(1.6).clipped(width=320, height=240), box.squared(0.8)
    x, y = int(region.x_min), int(region.y_min)
    factor = min(1.0, 48 / box.side)
    parts = [view[y : int(region.y_max) + 1, x : int(region.x_max) + 1] for view in (before, after)]
    if factor < 1:
        parts = [cv2.resize(part, None, fx=factor, fy=factor) for part in parts]
    columns, rows = np.linspace(inner.x_min, inner.x_max, 5), np.linspace(inner.y_min, inner.y_max, 5)
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    start = ((points - (x, y)) * factor).astype(np.float32)
    options = {"winSize": (11, 11), "maxLevel": 2}
    end, _, _ = cv2.calcOpticalFlowPyrLK(*parts, start[:, None], None, **options)
    back, _, _ = cv2.calcOpticalFlowPyrLK(*parts[::-1], end, None, **options)
    end, back = end[:, 0], back[:, 0]
    step = end - start
    middle = np.median(step, axis=0)
    good = np.abs(back - start).max(axis=1) < 1
    good &= np.abs(step - middle).max(axis=1) < 1.5 + 0.1 * np.abs(middle).max()
    return fit_similarity(points[good], end[good] / factor + (x, y))


def test_a_face_that_is_gone_is_not_followed(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    after = np.random.default_rng(5).integers(0, 255, before.shape).astype(np.uint8)
    assert carry(before, after, Box.of([110, 80, 190, 160])) is None


def test_views_of_another_size_are_not_compared(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    assert carry(before, before[:200], Box.of([110, 80, 190, 160])) is None


def test_a_box_outside_the_view_is_not_followed(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    assert carry(before, before, Box.of([500, 500, 560, 560])) is None


def test_points_that_go_another_way_than_the_rest_lower_the_agreement(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    after = grey([(151, 120, 80)], paint_faces)
    whole = carry(before, after, Box.of([110, 80, 190, 160]))
    after[80:160, 110:132] = before[80:160, 122:144]
    partly = carry(before, after, Box.of([110, 80, 190, 160]))
    assert whole is not None
    assert partly is not None
    assert partly.agreement < whole.agreement
