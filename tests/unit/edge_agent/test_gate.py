from dataclasses import replace

import pytest

from edge_agent.tracking.gate import GateSettings, refuse_choice, refuse_quality
from edge_agent.tracking.subject_selector import Choice, Standing
from models.face_crop.quality import Pose, Quality
from privacy.protocol.messages import SkipReason

GOOD = Quality(
    pose=Pose(yaw_deg=0, pitch_deg=0, roll_deg=0),
    eyes_px=60.0,
    brightness=120,
    sharpness=80,
    score=200,
    attention=250,
)


@pytest.mark.parametrize(
    ("standing", "faces", "dark", "reason"),
    [
        (Standing.FOLLOWED, 1, False, None),
        (Standing.FOLLOWED, 2, False, None),
        (Standing.AMBIGUOUS, 2, False, SkipReason.AMBIGUOUS_TRACK),
        (Standing.HIDDEN, 0, False, SkipReason.NO_FACE),
        (Standing.HIDDEN, 1, False, SkipReason.SECOND_FACE),
        (Standing.NOBODY, 0, False, SkipReason.NO_FACE),
        (Standing.NOBODY, 0, True, SkipReason.DARK),
    ],
)
def test_each_standing_has_its_reason(standing, faces, dark, reason):
    assert refuse_choice(Choice(standing=standing, track=None, faces=faces), dark=dark) == reason


def test_a_good_crop_passes():
    assert refuse_quality(GOOD, GateSettings()) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"brightness": 5}, SkipReason.DARK),
        ({"brightness": 254}, SkipReason.LOW_QUALITY),
        ({"eyes_px": 6.0}, SkipReason.LOW_QUALITY),
        ({"sharpness": 1}, SkipReason.LOW_QUALITY),
        ({"pose": Pose(yaw_deg=-85, pitch_deg=0, roll_deg=0)}, SkipReason.LOW_QUALITY),
    ],
)
def test_a_crop_that_shows_too_little_is_refused_with_its_reason(change, reason):
    assert refuse_quality(replace(GOOD, **change), GateSettings()) is reason
