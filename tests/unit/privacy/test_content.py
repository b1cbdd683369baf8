"""Opened content must be what its authenticated header says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import PayloadError, SealingError
from privacy.protocol.content import Scores, check_content, decode_scores_content, encode_scores_content
from privacy.protocol.envelope import Codec
from tests.unit.privacy.test_envelope import a_header
from tests.unit.privacy.test_jpeg import jpeg


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    cuts = sorted(draw(st.lists(st.integers(0, 255), min_size=5, max_size=5)))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, 255], strict=True)]
    return Scores(probabilities=bytes(parts), confidence=draw(st.integers(0, 255)))


def test_each_codec_accepts_its_own_content() -> None:
    check_content(a_header(codec=Codec.JPEG_RGB), jpeg())
    check_content(a_header(codec=Codec.JPEG_GRAY), jpeg(channels=1))
    check_content(a_header(codec=Codec.RAW_GRAY, width=48, height=40), bytes(48 * 40))
    good = encode_scores_content(Scores(probabilities=bytes([255, 0, 0, 0, 0, 0]), confidence=9))
    check_content(a_header(codec=Codec.SCORES, width=0, height=0), good)


@pytest.mark.parametrize("codec", Codec)
def test_no_codec_accepts_anothers_content(codec: Codec) -> None:
    contents = {
        Codec.JPEG_RGB: jpeg(),
        Codec.JPEG_GRAY: jpeg(channels=1),
        Codec.RAW_GRAY: bytes(96 * 96),
        Codec.SCORES: encode_scores_content(Scores(probabilities=bytes([0, 0, 0, 0, 0, 255]), confidence=0)),
    }
    for other, content in contents.items():
        if other is not codec:
            with pytest.raises(PayloadError):
                check_content(a_header(codec=codec), content)


@given(scores())
def test_scores_survive_the_round_trip(read: Scores) -> None:
    assert decode_scores_content(encode_scores_content(read)) == read


@given(st.binary(max_size=12))
def test_garbage_raises_only_the_documented_error(data: bytes) -> None:
    for codec in Codec:
        with contextlib.suppress(PayloadError):
            check_content(a_header(codec=codec), data)


def test_scores_that_do_not_sum_are_refused_on_both_sides() -> None:
    with pytest.raises(PayloadError, match="sum"):
        decode_scores_content(b"\x01" + bytes(6) + b"\x00")
    for bad in (
        Scores(probabilities=bytes(6), confidence=0),
        Scores(probabilities=bytes([255]), confidence=0),
        Scores(probabilities=bytes([255, 0, 0, 0, 0, 0]), confidence=256),
    ):
        with pytest.raises(SealingError):
            encode_scores_content(bad)
