from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data as samples

from models.errors import DatasetError, PictureError
from models.runtime.image_files import BACKGROUND, PIXELS_LIMIT, decode_picture_file, to_eight_bits, turned
from models.training.expression.data.datasets import decode_picture, read_labelled_folder

PORTRAIT = np.ascontiguousarray(samples.astronaut()[:256, 96:352])
"""Not symmetrical in any way, so that every turn shows."""

BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored so that an orientation makes it upright."""


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def lying(orientation: int) -> Image.Image:
    picture = Image.fromarray(PORTRAIT)
    move = BACK[orientation]
    return picture if move is None else picture.transpose(move)


def apart(decoded: np.ndarray, expected: np.ndarray = PORTRAIT) -> float:
    assert decoded.shape == expected.shape and decoded.dtype == np.uint8
    return float(np.abs(decoded.astype(np.int16) - expected).mean())


def with_tag(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "TIFF":
        return saved(lying(orientation), kind, tiffinfo={0x0112: orientation})
    return saved(lying(orientation), kind, exif=exif, quality=95)


@pytest.mark.parametrize("orientation", sorted(BACK))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_is_turned_upright_whatever_holds_its_orientation(kind: str, orientation: int) -> None:
    content = with_tag(orientation, kind)
    assert apart(decode_picture_file(content, "x")) < 6
    assert apart(decode_picture(content, "x")) < 6


def test_an_avif_is_turned_by_its_own_boxes_without_exif() -> None:
    content = with_tag(6, "AVIF")
    assert b"irot" in content
    assert apart(decode_picture_file(content.replace(b"Exif", b"Nope"), "x")) < 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_deep_picture_is_turned_too(kind: str, orientation: int, tmp_path: Path) -> None:
    pixels = np.asarray(lying(orientation)).astype(np.uint16)[..., ::-1] * 257
    content = cv2.imencode(".png" if kind == "PNG" else ".tiff", pixels)[1].tobytes()
    if kind == "PNG":
        exif = Image.Exif()
        exif[0x0112] = orientation
        body = b"eXIf" + exif.tobytes()[6:]
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        # Behind the pixels, where it may stand too.
        content = content[:-12] + chunk + content[-12:]
    else:
        content = retagged(content, orientation)
    assert apart(decode_picture_file(content, "x")) < 1


def retagged(content: bytes, orientation: int) -> bytes:
    """Give a TIFF the orientation tag, in a directory of its own at the end of the file."""
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    entries = [content[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    kept = [e for e in entries if struct.unpack_from("<H", e)[0] != 0x0112]
    kept.append(struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0))
    kept.sort(key=lambda e: struct.unpack_from("<H", e)[0])
    start = len(content) + len(content) % 2
    table = struct.pack("<H", len(kept)) + b"".join(kept) + bytes(4)
    return (content[:4] + struct.pack("<I", start) + content[8:]).ljust(start, b"\0") + table


@given(st.integers(1, 8))
def test_turning_by_hand_is_what_pillow_does(orientation: int) -> None:
    stored = np.asarray(lying(orientation))
    assert np.array_equal(turned(stored, orientation), PORTRAIT)


def half_hidden(mode: str, *, levels: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture whose right half is wholly transparent, and what may be seen of it."""
    hidden = np.zeros(PORTRAIT.shape[:2], np.uint16)
    hidden[:, :128] = levels
    expected = PORTRAIT.copy()
    if mode == "LA":
        expected = np.asarray(Image.fromarray(PORTRAIT).convert("L").convert("RGB")).copy()
    expected[:, 128:] = BACKGROUND
    return hidden, expected


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "PNG")]
)
def test_what_is_transparent_is_grey(mode: str, kind: str) -> None:
    hidden, expected = half_hidden(mode)
    picture = Image.fromarray(PORTRAIT).convert("L" if mode == "LA" else "RGB")
    picture.putalpha(Image.fromarray(hidden.astype(np.uint8)))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert apart(decode_picture_file(saved(picture, kind, **options), "x"), expected) < 0.1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_of_transparency_hide_too(suffix: str) -> None:
    hidden, expected = half_hidden("RGBA", levels=65535)
    deep = PORTRAIT[..., ::-1].astype(np.uint16) * 257
    content = cv2.imencode(suffix, np.dstack([deep, hidden]))[1].tobytes()
    assert apart(decode_picture_file(content, "x"), expected) < 1


def test_hidden_pixels_do_not_say_how_deep_the_others_are() -> None:
    hidden, expected = half_hidden("RGBA", levels=65535)
    deep = PORTRAIT[..., ::-1].astype(np.uint16) * 16
    deep[:, 128:] = 65535
    content = cv2.imencode(".png", np.dstack([deep, hidden]))[1].tobytes()
    assert apart(decode_picture_file(content, "x"), expected) < 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_entry_of_a_palette_hides_what_it_colours(kind: str) -> None:
    picture = Image.fromarray(PORTRAIT).convert("P", palette=Image.Palette.ADAPTIVE, colors=255)
    entries = np.minimum(np.asarray(picture), 253)
    entries[:, 128:] = 254
    picture.putdata(entries.ravel().tolist())
    decoded = decode_picture_file(saved(picture, kind, transparency=254), "x")
    assert (decoded[:, 128:] == BACKGROUND).all()
    assert apart(decoded[:, :128], PORTRAIT[:, :128]) < 12


def test_half_transparent_pixels_are_blended() -> None:
    picture = Image.new("RGBA", (20, 20), (255, 255, 255, 128))
    assert abs(int(decode_picture_file(saved(picture, "PNG"), "x")[5, 5, 0]) - 192) <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("gain", [1, 4, 16, 64, 257])
def test_samples_that_use_a_part_of_their_bits_are_as_bright_as_others(suffix: str, gain: int) -> None:
    content = cv2.imencode(suffix, PORTRAIT[..., ::-1].astype(np.uint16) * gain)[1].tobytes()
    assert apart(decode_picture_file(content, "x")) < 1.5
    assert apart(decode_picture(content, "x")) < 1.5


def test_floating_point_samples_reach_from_black_to_one() -> None:
    content = cv2.imencode(".tiff", PORTRAIT[..., ::-1].astype(np.float32) / 255)[1].tobytes()
    assert apart(decode_picture_file(content, "x")) < 1
    assert to_eight_bits(np.array([np.nan, np.inf, -1, 0.5, 1], np.float64)).tolist() == [0, 0, 0, 128, 255]


def test_grey_palettes_cmyk_pages_and_animations_are_read_by_their_first_picture() -> None:
    picture = Image.fromarray(PORTRAIT)
    blank = Image.new("RGB", picture.size, (120, 120, 120))
    assert decode_picture_file(saved(picture.convert("L"), "PNG"), "x").ndim == 2
    assert decode_picture_file(saved(picture.convert("1"), "PNG"), "x").max() == 255
    for kind, mode in (("JPEG", "CMYK"), ("TIFF", "CMYK"), ("PNG", "P"), ("GIF", "P"), ("BMP", "RGBA")):
        assert apart(decode_picture_file(saved(picture.convert(mode), kind), "x")) < 16
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        content = saved(picture, kind, save_all=True, append_images=[blank])
        assert apart(decode_picture_file(content, "x")) < 8


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "JPEG2000", "JPEG"])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(Image.fromarray(PORTRAIT), kind)
    monkeypatch.setattr("models.runtime.image_files.PIXELS_LIMIT", 60_000)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was unpacked"))
    with pytest.raises(PictureError, match="256 x 256 pixels"):
        decode_picture_file(content, "x")


def test_a_header_that_declares_a_billion_pixels_is_refused() -> None:
    bitmap = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHH", 40, 40_000, 40_000, 1, 24)
        + bytes(24)
    )
    assert PIXELS_LIMIT < 40_000**2
    with pytest.raises(PictureError, match="million are read"):
        decode_picture_file(bitmap, "bomb.bmp")


@given(
    st.binary(max_size=80), st.sampled_from([b"", b"GIF89a", b"II*\0\x08\0\0\0", b"RIFF0000WEBPVP8L", b"BM"])
)
def test_any_bytes_are_a_picture_or_refused_by_name(noise: bytes, start: bytes) -> None:
    try:
        decode_picture_file(start + noise, "it.bin")
    except PictureError as error:
        assert str(error).startswith("it.bin ")


def test_a_phone_picture_in_a_codec_that_is_not_here_is_told_apart() -> None:
    with pytest.raises(PictureError, match="HEIC"):
        decode_picture_file(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(4000), "photo.heic")


def test_training_reads_a_labelled_folder_as_prediction_reads_it(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    for kind in ("JPEG", "WEBP", "TIFF", "AVIF"):
        (tmp_path / "happy" / f"turned.{kind.lower()}").write_bytes(with_tag(8, kind))
    pictures = list(read_labelled_folder(tmp_path))
    assert len(pictures) == 4
    assert all(apart(picture.pixels) < 6 for picture in pictures)
    (tmp_path / "happy" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"broken\.png is not a picture"):
        list(read_labelled_folder(tmp_path))
