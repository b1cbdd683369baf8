from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cloud.demo.performer import FPS, HEIGHT_PX, WIDTH_PX, Performance, Staging, film
from cloud.demo.portrait import LANDMARKS, POSES
from cloud.demo.schedule import make_schedule
from cloud.demo.trailer import draw_frame, make_trailer
from cloud.demo.warping import Face, PortraitPainter, View, fit_displacement
from cloud.errors import DemoError
from privacy.protocol.expressions import Expression

STILL = Staging(seed=5, noise_levels=0.01)
VIEW = View(left=166.0, top=72.0, step=1.0, width_px=122, height_px=130)


def face_showing(expression: str, *, lids: float = 0.0) -> Face:
    pose = POSES[expression]
    return Face(
        moves=pose.moves,
        smile_folds=pose.smile_folds,
        teeth=pose.teeth,
        mouth_depth=pose.mouth_depth,
        lids=lids,
    )


def test_every_pose_is_named_by_an_expression_of_the_product() -> None:
    assert set(POSES) <= {expression.value for expression in Expression}


def test_every_displacement_names_a_landmark() -> None:
    assert {name for pose in POSES.values() for name in pose.moves} <= set(LANDMARKS)


def test_the_spline_takes_its_values_at_its_knots() -> None:
    knots = np.array([[0, 0], [40, 0], [0, 40], [40, 40], [20, 10]], np.float32)
    wanted = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [3, 3]], np.float32)
    np.testing.assert_allclose(fit_displacement(knots, wanted, knots), wanted, atol=0.01)


def test_an_undisplaced_face_is_the_picture_itself() -> None:
    painter = PortraitPainter(VIEW)
    painted = painter.paint(Face(moves={}, smile_folds=1.0, teeth=1.0, mouth_depth=0.0)).astype(int)
    half_px_view = painter._still
    assert np.abs(painted - half_px_view).mean() < 0.6


def share_of_teeth(painted: np.ndarray) -> float:
    """Share of the mouth's pixels that are bright and nearly grey, as teeth are and skin is not."""
    mouth = painted[68:84, 40:75].astype(int)
    return float(((mouth.min(-1) > 170) & (np.ptp(mouth, axis=-1) < 40)).mean())


def test_closing_the_mouth_hides_the_teeth() -> None:
    painter = PortraitPainter(VIEW)
    smiling, closed = (share_of_teeth(painter.paint(face_showing(name))) for name in ("happy", "neutral"))
    assert smiling > 0.1
    assert closed < 0.03


def test_a_surprised_mouth_is_open_and_dark_inside() -> None:
    painted = PortraitPainter(VIEW).paint(face_showing("surprised"))
    assert painted[80, 57].max() < 70


def test_closed_lids_hide_the_iris() -> None:
    painter = PortraitPainter(VIEW)
    iris = slice(28, 31), slice(35, 38)
    opened, closed = (painter.paint(face_showing("neutral", lids=lids))[iris].mean() for lids in (0.0, 1.0))
    assert closed > opened + 40


def test_nothing_but_the_face_and_its_surroundings_moves_with_the_expression() -> None:
    wide = View(left=0.0, top=0.0, step=1.0, width_px=512, height_px=512)
    painter = PortraitPainter(wide)
    changed = np.argwhere(
        (painter.paint(face_showing("surprised")) != painter.paint(face_showing("happy"))).any(-1)
    )
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert left >= 166 and right <= 288 and top >= 72 and bottom <= 202


def test_two_viewers_with_other_seeds_do_not_look_alike() -> None:
    schedule = make_schedule(["happy"], each_ms=1000)
    first = Performance(schedule, Staging(seed=1)).frame_at(500).astype(int)
    second = Performance(schedule, Staging(seed=2, mirrored=True)).frame_at(500).astype(int)
    assert np.abs(first - second).mean() > 5


def test_the_same_seed_gives_the_same_performance() -> None:
    schedule = make_schedule(["happy"], each_ms=1000)
    frames = [next(iter(Performance(schedule, Staging(seed=3)).frames())) for _ in range(2)]
    np.testing.assert_array_equal(frames[0], frames[1])


def test_a_film_has_thirty_frames_a_second_of_the_agreed_size(tmp_path: Path) -> None:
    path = tmp_path / "viewer.mp4"
    assert film(make_schedule(["neutral", "happy"], each_ms=500), STILL, path) == FPS
    capture = cv2.VideoCapture(str(path))
    shapes = []
    while (read := capture.read())[0]:
        shapes.append(read[1].shape)
    assert shapes == [(HEIGHT_PX, WIDTH_PX, 3)] * FPS


def test_a_film_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="cannot write"):
        film(make_schedule(["happy"], each_ms=100), STILL, tmp_path / "absent" / "viewer.mp4")


def test_the_trailer_knows_its_length_and_digest(tmp_path: Path) -> None:
    trailer = make_trailer(tmp_path / "trailer.mp4", duration_ms=500)
    assert trailer.duration_ms == 500
    assert len(bytes.fromhex(trailer.sha256)) == 32
    assert cv2.VideoCapture(str(trailer.path)).read()[0]


def test_the_trailer_moves() -> None:
    assert (draw_frame(0) != draw_frame(3000)).any()
