"""Decoding of the face detector: goldens, invariants and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.errors import TensorShapeError
from models.face_detector import decoding

ANCHORS = decoding.short_range_anchors()


def quiet_outputs() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -20.0, np.float32)


def face_at(boxes: np.ndarray, scores: np.ndarray, anchor: int, *, size_px: float, logit: float) -> None:
    boxes[0, anchor, 2:4] = size_px
    scores[0, anchor, 0] = logit


def test_anchors_are_512_fine_then_384_coarse_cell_centres() -> None:
    assert ANCHORS.shape == (896, 2)
    np.testing.assert_allclose(ANCHORS[[0, 1]], [[1 / 32, 1 / 32]] * 2)
    np.testing.assert_allclose(ANCHORS[2], [3 / 32, 1 / 32])
    np.testing.assert_allclose(ANCHORS[32], [1 / 32, 3 / 32])
    np.testing.assert_allclose(ANCHORS[512:518], [[1 / 16, 1 / 16]] * 6)
    np.testing.assert_allclose(ANCHORS[895], [15 / 16, 15 / 16])


def test_shared_anchors_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ANCHORS[0, 0] = 1.0


def test_letterbox_of_a_webcam_frame_is_centred_with_16_black_rows_on_each_side() -> None:
    box = decoding.letterbox_parameters(480, 640, 128)
    assert (box.inner_height_px, box.inner_width_px, box.top_px, box.left_px) == (96, 128, 16, 0)


def test_one_anchor_decodes_to_the_golden_box_landmarks_and_score() -> None:
    boxes, scores = quiet_outputs()
    boxes[0, 512] = [8, 4, 32, 16, *range(12)]
    scores[0, 512] = 2.0
    found = decoding.decode_detections(boxes, scores, ANCHORS)
    np.testing.assert_allclose(found.boxes_xyxy, [[0.0, 0.03125, 0.25, 0.15625]], atol=1e-6)
    expected = np.arange(12).reshape(6, 2) / 128 + 1 / 16
    np.testing.assert_allclose(found.landmarks[0], expected, atol=1e-6)
    np.testing.assert_allclose(found.scores, [0.8807971], atol=1e-6)


def test_box_on_the_letterboxed_input_returns_to_the_webcam_frame() -> None:
    boxes, scores = quiet_outputs()
    face_at(boxes, scores, 512, size_px=16, logit=4.0)
    letterbox = decoding.letterbox_parameters(480, 640)
    found = decoding.decode_detections(boxes, scores, ANCHORS, letterbox=letterbox)
    np.testing.assert_allclose(found.boxes_xyxy, [[0, -1 / 6, 1 / 8, 0.0]], atol=1e-6)


def test_neighbouring_anchors_of_one_face_merge_into_their_weighted_mean() -> None:
    boxes, scores = quiet_outputs()
    face_at(boxes, scores, 0, size_px=40, logit=0.0)
    face_at(boxes, scores, 2, size_px=40, logit=np.log(3.0))
    found = decoding.decode_detections(boxes, scores, ANCHORS, min_score=0.4)
    assert len(found) == 1
    assert found.scores[0] == pytest.approx(0.75)
    centre_x = (0.5 * 1 / 32 + 0.75 * 3 / 32) / 1.25
    assert found.boxes_xyxy[0, [0, 2]].mean() == pytest.approx(centre_x, abs=1e-6)


def test_far_faces_stay_apart_best_first() -> None:
    boxes, scores = quiet_outputs()
    face_at(boxes, scores, 512, size_px=10, logit=1.0)
    face_at(boxes, scores, 895, size_px=10, logit=3.0)
    found = decoding.decode_detections(boxes, scores, ANCHORS)
    assert len(found) == 2
    assert found.boxes_xyxy[0, 0] > 0.5 > found.boxes_xyxy[1, 0]


def test_nothing_above_the_threshold_gives_empty_arrays_of_the_documented_shapes() -> None:
    found = decoding.decode_detections(*quiet_outputs(), ANCHORS)
    assert (found.boxes_xyxy.shape, found.landmarks.shape, found.scores.shape) == ((0, 4), (0, 6, 2), (0,))


def test_non_finite_anchors_are_dropped() -> None:
    boxes, scores = quiet_outputs()
    face_at(boxes, scores, 0, size_px=np.nan, logit=5.0)
    face_at(boxes, scores, 600, size_px=10, logit=1.0)
    scores[0, 700] = np.nan
    assert len(decoding.decode_detections(boxes, scores, ANCHORS)) == 1


def test_extreme_logits_saturate_without_overflow() -> None:
    values = decoding.sigmoid(np.array([-1e30, 0.0, 1e30], np.float32))
    np.testing.assert_allclose(values, [0.0, 0.5, 1.0], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 896, 15), (895, 16), (2, 896, 16)])
def test_wrong_box_tensor_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TensorShapeError, match="raw boxes"):
        decoding.decode_detections(np.zeros(shape, np.float32), np.zeros((896, 1), np.float32), ANCHORS)


def test_wrong_score_tensor_is_refused() -> None:
    with pytest.raises(TensorShapeError, match="raw scores"):
        decoding.decode_detections(np.zeros((896, 16), np.float32), np.zeros((896, 2), np.float32), ANCHORS)


@pytest.mark.parametrize("thresholds", [{"min_score": 0.0}, {"min_score": 1.0}, {"iou": 1.1}])
def test_thresholds_out_of_range_are_refused(thresholds: dict[str, float]) -> None:
    with pytest.raises(TensorShapeError, match="min_score"):
        decoding.decode_detections(*quiet_outputs(), ANCHORS, **thresholds)


def test_empty_frame_is_refused() -> None:
    with pytest.raises(TensorShapeError, match="letterbox"):
        decoding.letterbox_parameters(0, 640)


sizes = st.integers(1, 4096)
points = hnp.arrays(np.float32, (5, 2), elements=st.floats(0, 1, width=32))


@given(height=sizes, width=sizes, frame_points=points)
def test_letterbox_round_trip_returns_every_point(height: int, width: int, frame_points: np.ndarray) -> None:
    box = decoding.letterbox_parameters(height, width)
    inside = box.to_input(frame_points)
    assert inside.min() >= -1e-5
    assert inside.max() <= 1 + 1e-5
    np.testing.assert_allclose(box.to_frame(inside), frame_points, atol=1e-3)


@given(height=sizes, width=sizes)
def test_letterbox_fits_and_touches_two_opposite_edges(height: int, width: int) -> None:
    box = decoding.letterbox_parameters(height, width)
    assert max(box.inner_height_px, box.inner_width_px) == 128
    assert 0 <= box.top_px <= 64
    assert 0 <= box.left_px <= 64
    assert box.top_px + box.inner_height_px <= 128
    assert box.left_px + box.inner_width_px <= 128


@st.composite
def candidates(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(0, 12))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 1, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.01, 0.8, (count, 2))], axis=1).astype(np.float32)
    scores = np.sort(rng.uniform(0.1, 1, count).astype(np.float32))[::-1]
    return boxes, rng.uniform(0, 1, (count, 6, 2)).astype(np.float32), scores


@given(candidates(), st.floats(0.05, 0.95))
def test_merging_never_invents_faces_and_keeps_the_best_score(
    faces: tuple[np.ndarray, np.ndarray, np.ndarray], iou: float
) -> None:
    boxes, landmarks, scores = faces
    merged_boxes, merged_landmarks, merged_scores = decoding.merge_overlapping(
        boxes, landmarks, scores, iou=iou
    )
    assert len(merged_scores) <= len(scores)
    assert (len(merged_scores) == 0) == (len(scores) == 0)
    assert np.all(np.diff(merged_scores) <= 0)
    assert set(merged_scores.tolist()) <= set(scores.tolist())
    if len(scores):
        assert merged_scores[0] == scores[0]
        assert np.all(merged_boxes >= boxes.min(axis=0) - 1e-5)
        assert np.all(merged_boxes <= boxes.max(axis=0) + 1e-5)
        assert np.all(merged_landmarks >= landmarks.min(axis=0) - 1e-5)


@given(candidates(), st.floats(0.05, 0.95))
def test_each_face_is_the_weighted_mean_of_what_overlaps_its_best_anchor(
    faces: tuple[np.ndarray, np.ndarray, np.ndarray], iou: float
) -> None:
    boxes, landmarks, scores = faces
    overlaps = decoding.iou_matrix(boxes, boxes)
    assume(not np.any(np.abs(overlaps - iou) < 1e-5))
    merged = decoding.merge_overlapping(boxes, landmarks, scores, iou=iou)
    left = list(range(len(scores)))
    for box, marks, score in zip(*merged, strict=True):
        group = [i for i in left if i == left[0] or overlaps[left[0], i] > iou]
        weights = scores[group] / scores[group].sum()
        assert score == scores[group[0]]
        np.testing.assert_allclose(box, weights @ boxes[group], atol=1e-5)
        np.testing.assert_allclose(marks, np.tensordot(weights, landmarks[group], axes=1), atol=1e-5)
        left = [i for i in left if i not in group]
    assert left == []


@given(candidates())
def test_merging_disjoint_faces_changes_nothing(faces: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    boxes, landmarks, scores = faces
    apart = boxes + (np.arange(len(boxes), dtype=np.float32) * 4)[:, None]
    merged_boxes, _, merged_scores = decoding.merge_overlapping(apart, landmarks, scores, iou=0.3)
    np.testing.assert_allclose(merged_boxes, apart, rtol=1e-5)
    np.testing.assert_array_equal(merged_scores, scores)


@given(candidates())
def test_iou_is_symmetric_bounded_and_one_on_itself(faces: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    overlaps = decoding.iou_matrix(faces[0], faces[0])
    np.testing.assert_allclose(overlaps, overlaps.T)
    assert np.all((overlaps >= 0) & (overlaps <= 1 + 1e-6))
    np.testing.assert_allclose(np.diag(overlaps), 1.0, atol=1e-4)


@given(hnp.arrays(np.float32, (9, 16), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)))
def test_any_numbers_decode_to_finite_faces_on_the_frame(values: np.ndarray) -> None:
    boxes, scores = quiet_outputs()
    boxes[0, ::100] = values
    scores[0, ::100] = 3.0
    found = decoding.decode_detections(
        boxes, scores, ANCHORS, letterbox=decoding.letterbox_parameters(10, 640)
    )
    for array in (found.boxes_xyxy, found.landmarks, found.scores):
        assert np.isfinite(array).all()
    assert np.all(found.boxes_xyxy[:, 2:] >= found.boxes_xyxy[:, :2])
