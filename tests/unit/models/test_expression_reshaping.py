import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.expression.taxonomy import LABELS
from models.training.expression.data.reshaping import (
    FROWN,
    N_POINTS,
    RAISED_INNER_BROWS,
    SHAPES,
    WRINKLED_NOSE,
    Strength,
    disturb_face,
    draw_strength,
    reshape_face,
    shape_target,
)

EVEN = Strength(left=1.0, right=1.0, shade=0.0)
SIDE = 96


def mesh() -> np.ndarray:
    """Landmarks of a schematic face: those that shapes move or hold lie apart, the rest in the middle."""
    points = np.full((N_POINTS, 2), 48.0, np.float32)
    places = {
        33: (24, 38), 133: (38, 39), 362: (58, 39), 263: (72, 38), 168: (48, 38), 1: (48, 56), 4: (48, 54),
        107: (41, 29), 55: (42, 31), 66: (37, 28), 336: (55, 29), 285: (54, 31), 296: (59, 28),
        105: (31, 28), 52: (31, 31), 65: (36, 31), 334: (65, 28), 282: (65, 31), 295: (60, 31),
        159: (31, 36), 158: (33, 36), 160: (29, 36), 386: (65, 36), 385: (63, 36), 387: (67, 36),
        145: (31, 41), 144: (29, 41), 153: (33, 41), 374: (65, 41), 373: (67, 41), 380: (63, 41),
        129: (40, 57), 64: (42, 58), 48: (41, 58), 358: (56, 57), 294: (54, 58), 278: (55, 58),
        61: (37, 72), 291: (59, 72), 37: (45, 69), 40: (42, 70), 267: (51, 69), 270: (54, 70),
        0: (48, 69), 84: (45, 77), 314: (51, 77), 17: (48, 78), 10: (48, 8), 67: (34, 12), 297: (62, 12),
        103: (28, 16), 332: (68, 16), 152: (48, 92), 172: (24, 76), 397: (72, 76), 136: (28, 82),
        365: (68, 82), 234: (16, 48), 454: (80, 48), 50: (30, 54), 280: (66, 54), 205: (34, 62),
        425: (62, 62), 117: (30, 48), 346: (66, 48),
    }  # fmt: skip
    for index, place in places.items():
        points[index] = place
    return points


def dotted(index: int) -> np.ndarray:
    """A grey face with a bright dot at one landmark."""
    picture = np.full((SIDE, SIDE), 90, np.uint8)
    x, y = mesh()[index].astype(int)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 250
    return picture


def middle_of_dot(picture: np.ndarray) -> np.ndarray:
    weight = np.clip(picture.astype(float) - 110, 0, None)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize(
    ("shape", "index", "inwards", "down"),
    [
        (FROWN, 107, 1, 1),
        (FROWN, 336, -1, 1),
        (FROWN, 61, 1, 0),
        (WRINKLED_NOSE, 129, 0, -1),
        (RAISED_INNER_BROWS, 107, 0, -1),
        (RAISED_INNER_BROWS, 61, 0, 1),
    ],
)
def test_a_shape_moves_what_the_expression_moves(shape: str, index: int, inwards: int, down: int) -> None:
    before = dotted(index)
    move = middle_of_dot(reshape_face(before, mesh(), shape, EVEN)) - middle_of_dot(before)
    for amount, sign in zip(move, (inwards, down), strict=True):
        assert amount * sign > 0.4 if sign else abs(amount) < 1.6


@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_corners_of_the_eyes_and_the_chin_stay(shape: str) -> None:
    for index in (33, 263, 152):
        before = dotted(index)
        move = middle_of_dot(reshape_face(before, mesh(), shape, EVEN)) - middle_of_dot(before)
        assert np.abs(move).max() < 0.8


def test_folds_darken_where_skin_folds_and_leave_the_chin_alone() -> None:
    flat = np.full((SIDE, SIDE, 3), 120, np.uint8)
    frowning = reshape_face(flat, mesh(), FROWN, Strength(left=0.0, right=0.0, shade=1.0)).astype(int)
    assert frowning[33, 45].max() < 105 and frowning[33, 51].max() < 105
    assert (frowning[85:] == 120).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(SHAPES)))
def test_a_target_is_a_distribution_and_a_weak_shape_is_nearer_to_rest(seed: int, shape: str) -> None:
    strength = draw_strength(np.random.default_rng(seed))
    target = shape_target(shape, strength)
    assert target.sum() == pytest.approx(1.0, abs=1e-6) and target[-1] == 0
    assert LABELS[int(target[:-1].argmax())] in (SHAPES[shape][0], "neutral")
    weaker = Strength(left=0.6, right=0.6, shade=0)
    rest = LABELS.index("neutral")
    assert (
        shape_target(shape, weaker)[rest] >= shape_target(shape, Strength(left=1.3, right=1.3, shade=1))[rest]
    )


def test_a_disturbed_face_is_changed_but_not_between_its_brows() -> None:
    picture = np.random.default_rng(0).integers(60, 200, (SIDE, SIDE, 3), np.uint8)
    disturbed = disturb_face(picture, mesh(), rng=np.random.default_rng(5)).astype(int)
    changed = np.abs(disturbed - picture).mean(axis=2)
    assert changed.mean() > 0.5 and changed[30:36, 44:53].mean() < changed.mean() / 2
    assert np.array_equal(disturbed, disturb_face(picture, mesh(), rng=np.random.default_rng(5)))
