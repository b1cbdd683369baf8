"""Draw a scene frame by frame, show it to the agent, and say whose face every crop shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.camera.frames import Frame
from edge_agent.tracking.detection import FaceNetwork
from edge_agent.tracking.pipeline import FramePipeline
from edge_agent.tracking.search import FaceSearch
from privacy.protocol.payload import max_content_bytes
from tests.crossings.people import SIDE_PX, Person
from tests.crossings.scenes import Place, Scene

PLAIN_MAX_COVER = 0.02
ALONE_FRAMES = 45
"""For so many frames at least the viewer is alone at first, at any frame rate."""

VIEWER, WALKER = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """One frame with its truth.

    Attributes:
        frame: as from the camera.
        owners: uint8 of shape (h, w): 0 the room, `VIEWER`, or `WALKER` and above.
        viewer: centre x, y and side of the viewer's face.
        covered: share of that face that others hide.
    """

    frame: Frame
    owners: np.ndarray
    viewer: Place
    covered: float
    others: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of one scene.

    Attributes:
        letters: one a frame: v the viewer's face was cropped, X another's, x what is mostly another's
            body, capital N nothing though the viewer was in plain view, a dot nothing else.
        plain: frames on which the viewer is in plain view.
        lost: of these, without a crop.
        wrong: frames on which another's face was cropped.
        inferences: runs of the network.
    """

    letters: str
    plain: int
    lost: int
    wrong: int
    inferences: int


def draw(scene: Scene, people: Sequence[Person]) -> Iterator[Drawn]:
    """Return the frames of a scene."""
    rng = np.random.default_rng(scene.seed)
    room = rng.integers(60, 190, (7, 9, 3)).astype(np.uint8)
    room = cv2.resize(room, (scene.width, scene.height), interpolation=cv2.INTER_CUBIC)
    size = (scene.height, scene.width, 3)
    noises = [rng.normal(0, scene.noise, size).astype(np.int16) for _ in range(3 if scene.noise else 1)]
    viewer = people[scene.viewer]
    for number in range(scene.frames):
        t = number * scene.step - ALONE_FRAMES * (scene.step - 1)
        picture, owners = room.copy(), np.zeros((scene.height, scene.width), np.uint8)
        place = scene.viewer_path(t)
        for tag, walker in enumerate(scene.walkers, start=WALKER):
            if walker.is_behind:
                _paste(picture, owners, people[walker.who], walker.path(t), t + 31, tag, walker.has_face)
        _paste(picture, owners, viewer, place, t, VIEWER, True)
        alone = owners == VIEWER
        for tag, walker in enumerate(scene.walkers, start=WALKER):
            if not walker.is_behind:
                _paste(picture, owners, people[walker.who], walker.path(t), t + 31, tag, walker.has_face)
        face = _face(viewer, place, t)
        pixels = _filmed(picture, scene, noises[number % len(noises)])
        index = number * scene.index_step
        yield Drawn(
            frame=Frame(pixels=pixels, index=index, monotonic_us=number * scene.step * 33_333),
            owners=owners,
            viewer=face,
            covered=_covered(alone, owners, face),
            others=tuple(_face(people[w.who], w.path(t), t + 31) for w in scene.walkers),
        )


def _filmed(picture: np.ndarray, scene: Scene, noise: np.ndarray) -> np.ndarray:
    darker = picture if scene.gain == 1.0 else cv2.convertScaleAbs(picture, alpha=scene.gain)
    return darker if not scene.noise else cv2.add(darker, noise, dtype=cv2.CV_8U)


def play(scene: Scene, people: Sequence[Person], network: FaceNetwork, *, on_frame=None) -> Tally:
    """Show a scene to a new pipeline."""
    search = FaceSearch(network)
    pipeline = FramePipeline(search, content_limit_bytes=max_content_bytes())
    letters = []
    for drawn in draw(scene, people):
        outcome = pipeline.look_at(drawn.frame)
        is_plain = drawn.covered <= PLAIN_MAX_COVER
        if outcome.crop is None:
            letters.append("N" if is_plain else ".")
        else:
            letters.append(_whose(pipeline._viewer.followed.landmarks, drawn, is_plain))
        if on_frame is not None:
            on_frame(pipeline, drawn, outcome, letters[-1])
    row = "".join(letters)
    begun = row[row.find("V") :]
    plain = sum(letter in "NVX" for letter in begun)
    return Tally(
        letters=row,
        plain=plain,
        lost=begun.count("N"),
        wrong=row.count("X") + row.count("b"),
        inferences=search.inferences,
    )


def _face(person: Person, place: Place, index: float) -> Place:
    x, y, side = place
    face_x, face_y, face_side = person.faces[person.at(int(index))]
    return x + (face_x - 0.5) * side, y + (face_y - 0.5) * side, face_side * side


def _whose(landmarks: np.ndarray, drawn: Drawn, is_plain: bool) -> str:
    x, y = landmarks[:4].mean(axis=0)
    spread = max(4.0, float(np.ptp(landmarks[:4, 1])))
    rows = slice(max(0, int(y - 0.7 * spread)), max(1, int(y + 0.7 * spread)))
    columns = slice(max(0, int(x - 0.7 * spread)), max(1, int(x + 0.7 * spread)))
    inside = drawn.owners[rows, columns]
    other = float((inside >= WALKER).mean()) if inside.size else 0.0
    vx, vy, side = drawn.viewer
    is_off = np.hypot(x - vx, y - vy) > 0.5 * side
    if other > 0.5 and any(np.hypot(x - ox, y - oy) < 0.5 * oside for ox, oy, oside in drawn.others):
        return "X" if is_plain else "b"
    if other > 0.5:
        return "x"
    if is_off:
        return "o"
    return "V" if is_plain else "v"


def _covered(alone: np.ndarray, owners: np.ndarray, face: Place) -> float:
    x, y, side = face
    half = round(0.65 * side)
    left, top = max(0, round(x) - half), max(0, round(y) - half)
    at = slice(top, round(y) + half), slice(left, round(x) + half)
    ellipse = np.zeros(alone[at].shape, np.uint8)
    centre, axes = (round(x) - left, round(y) - top), (round(0.5 * side), round(0.6 * side))
    cv2.ellipse(ellipse, centre, axes, 0, 0, 360, 1, -1)
    seen = (ellipse == 1) & alone[at]
    return float((owners[at][seen] != VIEWER).mean()) if seen.any() else 1.0


def _paste(picture, owners, person: Person, place: Place, index: int, tag: int, has_face: bool) -> None:
    x, y, side = place
    left, top, pixels = round(x - side / 2), round(y - side / 2), round(side)
    height, width = owners.shape
    x0, x1, y0, y1 = max(0, left), min(width, left + pixels), max(0, top), min(height, top + pixels)
    if x1 <= x0 or y1 <= y0:
        return
    shown = person.pictures[person.at(int(index))]
    if not has_face:
        shown = cv2.GaussianBlur(shown, (0, 0), 0.08 * SIDE_PX)
    shown = cv2.resize(shown, (pixels, pixels), interpolation=cv2.INTER_AREA)
    outline = cv2.resize(person.outline, (pixels, pixels))
    part = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    mask, at = outline[part], (slice(y0, y1), slice(x0, x1))
    weight = np.ascontiguousarray(mask)
    picture[at] = cv2.blendLinear(np.ascontiguousarray(shown[part]), picture[at].copy(), weight, 1 - weight)
    owners[at][mask > 0.5] = tag
