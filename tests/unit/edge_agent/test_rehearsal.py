import cv2
import msgspec
import numpy as np
import pytest

from edge_agent.errors import FrameError, PlatformError, SettingError
from edge_agent.rehearsal import (
    Answered,
    Asked,
    Rehearsal,
    Terms,
    decode_picture,
    find_steps,
    look_at_picture,
    rehearse,
)
from edge_agent.tracking.crop_encoding import LADDER
from edge_agent.tracking.detector_selection import detector_manifest
from edge_agent.tracking.litert_detector import load_network
from edge_agent.tracking.search import FaceSearch
from edge_agent.tracking.self_test import draw_face
from privacy.crypto.keys import sign_bundle
from privacy.crypto.opening import open_setup
from privacy.protocol.envelope import decode_envelope
from tests.fixtures_street import Platform, Viewer, utc_us


@pytest.fixture(scope="module")
def search():
    return FaceSearch(load_network(detector_manifest(), "float32"))


def png(pixels):
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()


def terms_for(viewer: Viewer) -> bytes:
    platform = viewer.platform
    return msgspec.json.encode(
        Terms(
            signing_public_key=platform.public_key.public_bytes_raw(),
            key_bundle=sign_bundle([platform.pool_key.public], platform.signing_key),
            tenant=str(viewer.tenant),
            session=str(viewer.session),
            receipt=viewer.receipt,
        )
    )


def dialogue(search, platform, *asked):
    rehearsal = Rehearsal(search, detector_id=1, utc_us=utc_us)
    lines = [terms_for(Viewer(platform)), *(msgspec.json.encode(one) for one in asked)]
    hello, *answers = rehearse(rehearsal, lines)
    assert msgspec.json.decode(hello) == {
        "device_public_key": msgspec.to_builtins(rehearsal.device_public_key)
    }
    return [msgspec.json.decode(answer, type=Answered) for answer in answers]


def test_a_face_is_cropped_and_a_wall_is_not(search):
    seen = look_at_picture(search, draw_face(256))
    assert seen.skip is None
    assert seen.crop.step.name == "rgb96_q75"
    wall = look_at_picture(search, np.full((256, 256, 3), 128, np.uint8))
    assert (wall.skip, wall.crop) == ("no_face", None)


def test_what_was_sealed_opens_to_the_crop_that_a_preview_shows(search):
    platform = Platform()
    first, second = dialogue(search, platform, *[Asked(picture=png(draw_face(256)))] * 2)
    assert second.setup is None
    session = open_setup(first.setup, platform.keyring, now_utc_us=utc_us())
    shown = look_at_picture(search, draw_face(256)).crop.content
    assert session.open(first.envelope).content == session.open(second.envelope).content == shown
    assert decode_envelope(first.envelope)[0].counter < decode_envelope(second.envelope)[0].counter


def test_an_encoding_can_be_asked_for(search):
    platform = Platform()
    (answer,) = dialogue(search, platform, Asked(picture=png(draw_face(256)), ladder=("grey48_q60",)))
    assert answer.step == "grey48_q60"
    assert decode_envelope(answer.envelope)[0].width == 48


def test_a_picture_without_a_face_is_answered_by_its_reason(search):
    (answer,) = dialogue(search, Platform(), Asked(picture=png(np.full((64, 64, 3), 90, np.uint8))))
    assert (answer.skip, answer.envelope, answer.setup) == ("no_face", None, None)


def test_a_forged_bundle_seals_nothing(search):
    viewer, other = Viewer(Platform()), Platform()
    forged = msgspec.structs.replace(
        msgspec.json.decode(terms_for(viewer), type=Terms),
        key_bundle=sign_bundle([other.pool_key.public], other.signing_key),
    )
    rehearsal = Rehearsal(search, detector_id=1, utc_us=utc_us)
    with pytest.raises(PlatformError, match="cannot be sealed"):
        rehearsal.answer(forged, Asked(picture=png(draw_face(256))))


def test_a_malformed_line_ends_the_rehearsal(search):
    rehearsal = Rehearsal(search, detector_id=1, utc_us=utc_us)
    with pytest.raises(PlatformError, match="malformed"):
        list(rehearse(rehearsal, [b"{}"]))


def test_unknown_encodings_are_refused_by_name():
    assert find_steps(()) == LADDER
    with pytest.raises(SettingError, match="no encoding is called 'nothing'"):
        find_steps(("nothing",))


@pytest.mark.parametrize("content", [b"", b"text", png(np.zeros((8, 8), np.uint8))[:40]])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(FrameError):
        decode_picture(content)


def test_a_tiny_picture_is_framed_to_a_cameras_least_side():
    assert decode_picture(png(np.zeros((10, 50), np.uint8))).shape == (32, 50, 3)
