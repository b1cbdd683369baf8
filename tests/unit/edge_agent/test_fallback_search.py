"""The order of looks is what matters here, so the search is a script of answers."""

import numpy as np
import pytest

from edge_agent.camera.frames import Frame
from edge_agent.tracking.detection import Detection
from edge_agent.tracking.fallback_search import EAGER_FRAMES, FallbackSearch
from edge_agent.tracking.fallbacks import Tiles, Turned
from edge_agent.tracking.geometry import Box

FRAME = Frame(pixels=np.zeros((480, 640, 3), np.uint8), index=0, monotonic_us=0)


def face_at(x, score=0.5):
    box = Box.of([x - 20, 100, x + 20, 140])
    return Detection(box=box, landmarks=np.zeros((6, 2), np.float32), score=score)


class ScriptedSearch:
    """Stands for `FaceSearch`; proposes `proposals` in every glance and confirms what is in `real`."""

    def __init__(self, proposals=(), real=()):
        self.proposals, self.real = proposals, real
        self.looks = []

    def propose(self, frame, glance):
        self.looks.append(("propose", glance))
        return self.proposals

    def confirming_look(self, frame, box, *, roll_deg):
        self.looks.append(("confirm", box.centre[0]))
        return next((face for face in self.real if face.box == box), None)

    def mirrored_look(self, frame, box, *, roll_deg):
        self.looks.append(("mirror", box.centre[0]))
        return next((face for face in self.real if face.box == box), None)


def steps(fallbacks, count, *, tracked=(), is_followed=False, last=None):
    return [fallbacks.step(FRAME, tracked=tracked, last=last, is_followed=is_followed) for _ in range(count)]


def test_one_run_of_the_network_a_frame_whatever_is_proposed():
    search = ScriptedSearch(proposals=tuple(face_at(60 * i) for i in range(1, 9)))
    fallbacks = FallbackSearch(search)
    for count in range(1, 60):
        steps(fallbacks, 1)
        assert len(search.looks) == count


def test_a_proposal_is_confirmed_in_close_up_then_in_the_mirror_before_it_counts():
    face = face_at(100)
    search = ScriptedSearch(proposals=(face,), real=(face,))
    fallbacks = FallbackSearch(search, [Turned()])
    assert steps(fallbacks, 3) == [None, None, face]
    assert [name for name, _ in search.looks] == ["propose", "confirm", "mirror"]
    assert fallbacks.finds == {"turned": 1}


def test_what_the_close_up_refuses_is_never_asked_of_the_mirror():
    search = ScriptedSearch(proposals=(face_at(100),))
    assert steps(FallbackSearch(search, [Turned()]), 30) == [None] * 30
    assert "mirror" not in {name for name, _ in search.looks}


def test_strategies_take_turns_and_each_comes_round():
    search = ScriptedSearch()
    steps(FallbackSearch(search, [Turned(), Tiles()]), 12)
    glances = [glance for _, glance in search.looks]
    assert [glance.roll_deg for glance in glances[::2]] == [40, -40] * 3
    assert len({(g.region.x_min, g.region.y_min) for g in glances[1::2]}) == 6


def test_while_a_face_is_seen_nothing_is_done():
    search = ScriptedSearch()
    steps(FallbackSearch(search), 20, tracked=(face_at(100).box,))
    assert search.looks == []


def test_after_a_find_every_strategy_looks_for_company_before_the_survey_ends():
    face, companion = face_at(100), face_at(400)
    search = ScriptedSearch(proposals=(face,), real=(face, companion))
    fallbacks = FallbackSearch(search, [Turned(), Tiles()])
    steps(fallbacks, 3)
    assert fallbacks.is_surveying
    del search.looks[:]
    search.proposals = ()
    frames = 0
    while fallbacks.is_surveying:
        steps(fallbacks, 1, tracked=(face.box,))
        frames += 1
    assert frames == 9
    seen = {(g.region.x_min, g.region.y_min, g.roll_deg) for _, g in search.looks}
    assert len(seen) == 8
    steps(fallbacks, 5, tracked=(face.box,))
    assert len(search.looks) == 8


def test_a_survey_finds_the_company_and_does_not_confirm_the_same_face_again():
    face, companion = face_at(100), face_at(400)
    search = ScriptedSearch(proposals=(face, companion), real=(face, companion))
    fallbacks = FallbackSearch(search, [Turned()])
    assert steps(fallbacks, 3) == [None, None, face]
    found = [f for f in steps(fallbacks, 4, tracked=(face.box,)) if f is not None]
    assert found == [companion]


def test_a_viewer_who_is_followed_already_needs_no_survey():
    face = face_at(100)
    search = ScriptedSearch(proposals=(face,), real=(face,))
    fallbacks = FallbackSearch(search, [Turned()])
    assert steps(fallbacks, 3, is_followed=True)[-1] is face
    assert not fallbacks.is_surveying


@pytest.mark.parametrize(
    ("frames", "runs"), [(EAGER_FRAMES, EAGER_FRAMES), (EAGER_FRAMES + 300, EAGER_FRAMES + 100)]
)
def test_an_empty_room_is_looked_at_less_often_after_ten_seconds(frames, runs):
    search = ScriptedSearch()
    steps(FallbackSearch(search), frames)
    assert len(search.looks) == runs
