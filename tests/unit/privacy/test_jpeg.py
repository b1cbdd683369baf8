"""Only plain baseline pictures of the size announced reach a decoder."""

from __future__ import annotations

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import ContentError, PayloadError
from privacy.protocol.jpeg import check_jpeg
from privacy.protocol.payload import max_content_bytes


def picture(width: int, height: int, *, channels: int = 3) -> np.ndarray:
    noise = np.random.default_rng(width * 1_000 + height).integers(
        0, 256, (height, width, channels), np.uint8
    )
    return cv2.GaussianBlur(noise, (7, 7), 0).reshape(height, width, channels)


def jpeg(width: int = 96, height: int = 96, *, channels: int = 3, options: tuple[int, ...] = ()) -> bytes:
    done, data = cv2.imencode(
        ".jpg", picture(width, height, channels=channels), [cv2.IMWRITE_JPEG_QUALITY, 75, *options]
    )
    assert done
    return bytes(data.tobytes())


@pytest.mark.parametrize("width, height", [(96, 96), (16, 16), (128, 128), (112, 80), (17, 33)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [20, 45, 75, 95])
def test_what_the_agents_encoder_writes_is_accepted(
    width: int, height: int, channels: int, quality: int
) -> None:
    data = jpeg(width, height, channels=channels, options=(cv2.IMWRITE_JPEG_QUALITY, quality))
    check_jpeg(data, width=width, height=height, components=channels)
    check_jpeg(data, width=width, height=height)


@pytest.mark.parametrize(
    "option",
    [(cv2.IMWRITE_JPEG_OPTIMIZE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)],
    ids=["optimised", "restarts"],
)
def test_other_baseline_pictures_are_accepted(option: tuple[int, int]) -> None:
    check_jpeg(jpeg(options=option), width=96, height=96, components=3)


def test_a_progressive_picture_is_refused() -> None:
    with pytest.raises(PayloadError, match="marker"):
        check_jpeg(jpeg(options=(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), width=96, height=96)


def test_another_size_or_component_count_is_refused() -> None:
    data = jpeg()
    for width, height in ((95, 96), (96, 97), (0, 0), (65_535, 65_535)):
        with pytest.raises(PayloadError, match="size"):
            check_jpeg(data, width=width, height=height)
    with pytest.raises(PayloadError, match="components"):
        check_jpeg(data, width=96, height=96, components=1)
    with pytest.raises(PayloadError, match="components"):
        check_jpeg(jpeg(channels=1), width=96, height=96, components=3)


def test_an_image_bomb_is_refused_before_anything_decodes_it() -> None:
    """A frame header that promises 65,535 x 65,535 pixels, inside an otherwise valid small file."""
    data = bytearray(jpeg())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_535, 65_535)
    with pytest.raises(PayloadError, match="size"):
        check_jpeg(bytes(data), width=96, height=96)


def test_other_formats_are_refused() -> None:
    bomb = zlib.compress(bytes(10_000_000))[:3_000]
    for data in (b"", b"\xff", b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + bomb, b"RIFF\x00\x00\x00\x00WEBP", b"BM"):
        with pytest.raises(PayloadError):
            check_jpeg(data, width=96, height=96)


def insert(data: bytes, segment: bytes) -> bytes:
    return data[:2] + segment + data[2:]


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe1\x00\x10" + b"Exif\0\0" + bytes(8),
        b"\xff\xe2\x00\x10" + bytes(14),
        b"\xff\xe2\x00\x10" + b"ICC_PROFILE\0\x01\x02",
        b"\xff\xe2\x00\x10" + b"ICC_PROFILE\0\x02\x02",
        b"\xff\xe2\x00\x06" + b"MPF\0",
        b"\xff\xe2" + struct.pack(">H", 1_027) + b"ICC_PROFILE\0\x01\x01" + bytes(1_011),
        b"\xff\xe1\x00\x10" + b"ICC_PROFILE\0\x01\x01",
        b"\xff\xfe\x00\x08secret",
        b"\xff\xe0" + struct.pack(">H", 67) + bytes(65),
        b"\xff\xc2\x00\x11" + bytes(15),
        b"\xff\xdc\x00\x04\x00\x60",
        b"\xff\xd0\x00\x02",
        b"\xff\xcc\x00\x04\x00\x00",
        b"\xff\xdb\x00\x43\x10" + bytes(64),
        b"\xff\xdb\x00\x10" + bytes(14),
        b"\xff\xdb\x00\x02",
        b"\xff\xc4\x00\x14\x02" + bytes(17),
        b"\xff\xc4\x00\x13\x00" + b"\xff" * 16,
        b"\xff\xdd\x00\x05\x00\x01\x00",
        b"\xff\xd9",
        b"\xff\xdb\xff\xff",
        b"\xff\xdb\x00\x01",
        b"\x00",
    ],
)
def test_a_segment_that_the_agent_never_writes_is_refused(segment: bytes) -> None:
    with pytest.raises(PayloadError):
        check_jpeg(insert(jpeg(), segment), width=96, height=96)


def icc(profile: bytes) -> bytes:
    body = b"ICC_PROFILE\0\x01\x01" + profile
    return b"\xff\xe2" + struct.pack(">H", 2 + len(body)) + body


@pytest.mark.parametrize("profile", [b"", bytes(456), b"\xff" * 1_010], ids=["empty", "as canvas", "largest"])
def test_a_small_colour_profile_as_a_canvas_writes_it_is_accepted_and_changes_no_pixel(
    profile: bytes,
) -> None:
    plain = jpeg()
    app0_ends = 4 + int.from_bytes(plain[4:6], "big")
    for data in (insert(plain, icc(profile)), plain[:app0_ends] + icc(profile) + plain[app0_ends:]):
        check_jpeg(data, width=96, height=96, components=3)
        decoded = [
            cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            for one in (plain, data)
        ]
        assert np.array_equal(decoded[0], decoded[1])


def test_a_second_colour_profile_is_refused() -> None:
    with pytest.raises(ContentError, match="marker"):
        check_jpeg(insert(insert(jpeg(), icc(b"")), icc(b"")), width=96, height=96)


def test_many_small_segments_are_refused() -> None:
    data = jpeg()
    for _ in range(30):
        data = insert(data, b"\xff\xdd\x00\x04\x00\x00")
    with pytest.raises(PayloadError, match="too many"):
        check_jpeg(data, width=96, height=96)


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(PayloadError, match="follow"):
        check_jpeg(jpeg() + b"x", width=96, height=96)
    with pytest.raises(PayloadError, match="follow"):
        check_jpeg(jpeg() + jpeg(), width=96, height=96)


def test_every_truncation_is_refused() -> None:
    data = jpeg(32, 32)
    for length in range(len(data)):
        with pytest.raises(PayloadError):
            check_jpeg(data[:length], width=32, height=32)


@given(st.binary(max_size=400))
def test_garbage_raises_only_the_documented_error(data: bytes) -> None:
    for content in (data, b"\xff\xd8" + data):
        with pytest.raises(PayloadError):
            check_jpeg(content, width=96, height=96)


SMALL = jpeg(24, 24)


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_what_passes_after_damage_still_decodes_to_the_announced_size(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(SMALL)
    for place, value in changes:
        damaged[place] = value
    with contextlib.suppress(PayloadError):
        check_jpeg(bytes(damaged), width=24, height=24, components=3)
        decoded = cv2.imdecode(np.frombuffer(bytes(damaged), np.uint8), cv2.IMREAD_UNCHANGED)
        assert decoded is None or decoded.shape[:2] == (24, 24)


def test_a_scan_full_of_restart_markers_is_walked_to_its_end() -> None:
    """Worst case for the walk: it visits each marker once."""
    data = jpeg(options=(cv2.IMWRITE_JPEG_RST_INTERVAL, 1))
    room = max_content_bytes() - len(data)
    padded = data[:-2] + b"\xff\xd0" * max(0, room // 2) + data[-2:]
    check_jpeg(padded, width=96, height=96)
