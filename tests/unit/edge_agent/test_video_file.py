"""Recordings as people really have them, each made here and read back."""

import gc
import os
import random
import socket
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from edge_agent.camera.video_file import VideoFile
from edge_agent.errors import CameraError
from tests.fixtures_films import SIDE, corners, middle, picture


def read(path, **options):
    """Everything a file gives: (media time in ms, picture or None) in order."""
    film, found = VideoFile(path, **options), []
    while (moment := film.next_moment()) is not None:
        found.append((moment.media_us / 1000, None if moment.picture is None else film.picture(moment)))
    film.close()
    return found


def shown(path, **options):
    return [(at, pixels) for at, pixels in read(path, **options) if pixels is not None]


def gaps(path):
    return [at for at, pixels in read(path) if pixels is None]


# time


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("film.mp4", "libx264"),
        ("film.mkv", "libx264"),
        ("film.webm", "libvpx"),
        ("film.ts", "libx264"),
        ("film.mov", "mpeg4"),
    ],
)
@pytest.mark.parametrize(
    "times_ms",
    [
        [n * 1000 / 30 for n in range(45)],
        [n * 100 for n in range(15)] + [1500 + n * 1000 / 30 for n in range(45)],
        [n * 1000 / 15 + 25 * np.sin(1.7 * n) for n in range(30)],
    ],
)
def test_each_picture_has_its_own_presentation_time(films, name, codec, times_ms):
    times_ms = [at - times_ms[0] for at in times_ms]
    found = shown(films.make(name, codec=codec, times_ms=times_ms))
    assert [at for at, _ in found] == pytest.approx(times_ms, abs=2)
    assert [middle(pixels) for _, pixels in found] == [n % 20 for n in range(len(times_ms))]


def test_a_container_without_presentation_times_gives_pictures_in_their_order(films):
    film = films.make(
        "film.avi",
        times_ms=[n * 40 for n in range(30)],
        rate=25,
        time_base=Fraction(1, 25),
        options={"bf": "3"},
    )
    found = shown(film)
    assert len(found) >= 29
    assert [at for at, _ in found[:28]] == pytest.approx([n * 40 for n in range(28)], abs=1)
    assert [middle(pixels) for _, pixels in found[:28]] == [n % 20 for n in range(28)]


def test_two_recordings_in_one_transport_stream_are_played_one_after_the_other(films):
    film = films.make("film.ts", times_ms=[n * 40 for n in range(25)])
    film.write_bytes(film.read_bytes() * 2)
    assert [at for at, _ in shown(film)] == pytest.approx([n * 40 for n in range(50)], abs=8)


def test_a_late_start_is_the_beginning(films):
    found = shown(films.make("film.mkv", times_ms=[3000 + n * 40 for n in range(10)]))
    assert [at for at, _ in found] == pytest.approx([n * 40 for n in range(10)], abs=1)


def test_pictures_that_begin_long_after_the_sound_are_found(films):
    film = films.make("film.mkv", times_ms=[30_000 + n * 40 for n in range(10)], sound_ms=31_000)
    assert [at for at, _ in shown(film)] == pytest.approx([n * 40 for n in range(10)], abs=1)


def test_a_camera_that_was_off_leaves_a_gap_and_the_time_goes_on(films):
    times_ms = [n * 1000 / 30 for n in range(30)] + [11_000 + n * 1000 / 30 for n in range(30)]
    film = films.make("film.mkv", times_ms=times_ms, sound_ms=12_000, options={"bf": "0"})
    assert [at for at, _ in shown(film)] == pytest.approx(times_ms, abs=2)
    assert len(gaps(film)) == pytest.approx(300, abs=2)


def test_more_than_thirty_a_second_is_sampled_and_not_slowed(films):
    film = films.make(times_ms=[n * 1000 / 240 for n in range(480)], rate=240, time_base=Fraction(1, 12_000))
    found = shown(film)
    assert len(found) == pytest.approx(60, abs=2)
    assert found[-1][0] == pytest.approx(479 / 240 * 1000, abs=40)
    assert max(b - a for (a, _), (b, _) in pairwise(found)) < 50


def test_a_rate_that_is_asked_for_takes_fewer_and_changes_no_time(films):
    film = films.make(times_ms=[n * 1000 / 30 for n in range(60)])
    assert [at for at, _ in shown(film, fps=10)] == pytest.approx([n * 100 for n in range(20)], abs=2)
    assert len(shown(film, fps=60)) == 60


def test_one_picture_a_second_stays_one(films):
    film = films.make(times_ms=[n * 1000 for n in range(6)], rate=1)
    assert [at for at, _ in shown(film)] == [n * 1000 for n in range(6)]


# shape


@pytest.mark.parametrize(
    ("turn", "is_mirrored", "seen"),
    [(90, False, "gwrb"), (180, False, "wbgr"), (270, False, "brwg"), (0, True, "grwb"), (90, True, "wgbr")],
)
def test_a_turned_or_mirrored_recording_is_upright(films, turn, is_mirrored, seen):
    film = films.make(rotation=turn, mirrored=is_mirrored)
    _, pixels = shown(film)[0]
    assert corners(pixels) == seen
    assert pixels.shape[:2] == (SIDE if turn % 180 == 0 else SIDE[::-1])


def test_no_more_pictures_are_kept_alive_than_are_needed(films):
    """Without the collector's help: a view of side data and its frame hold on to each other."""
    film = VideoFile(films.make(rotation=90))
    gc.collect()
    gc.disable()
    try:
        read = 0
        while film.read() is not None:
            read += 1
        alive = sum(isinstance(found, VideoFrame) for found in gc.get_objects())
    finally:
        gc.enable()
        film.close()
    assert read >= 20
    assert alive <= 6


@pytest.mark.parametrize(
    ("aspect", "size"), [((4, 3), (96, 171)), ((64, 45), (96, 182)), ((3, 4), (128, 128))]
)
def test_pixels_that_are_not_square_are_made_square(films, aspect, size):
    _, pixels = shown(films.make(aspect=Fraction(*aspect)))[0]
    assert pixels.shape[:2] == size
    assert corners(pixels) == "rgbw"


def test_a_turned_recording_with_pixels_that_are_not_square_is_stretched_before_it_is_turned(films):
    _, pixels = shown(films.make(aspect=Fraction(4, 3), rotation=90))[0]
    assert (pixels.shape[:2], corners(pixels)) == ((171, 96), "gwrb")


def test_a_size_that_changes_in_the_middle_is_followed(tmp_path):
    path = tmp_path / "film.webm"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=30)
        stream.height, stream.width = SIDE
        for part, size in enumerate([(96, 128), (48, 64), (96, 96)]):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.height, encoder.width = size
            encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 30)
            for n in range(5):
                frame = VideoFrame.from_ndarray(picture(n, size=size), format="rgb24").reformat(
                    format="yuv420p"
                )
                frame.pts, frame.time_base = part * 5 + n, Fraction(1, 30)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    out.mux(packet)
            for packet in encoder.encode(None):
                packet.stream = stream
                out.mux(packet)
    found = shown(path)
    assert [pixels.shape[:2] for _, pixels in found] == [(96, 128)] * 5 + [(48, 64)] * 5 + [(96, 96)] * 5
    assert all(corners(pixels) == "rgbw" for _, pixels in found)


def test_interlaced_lines_are_made_whole(films):
    def moving(number, *, size):
        """A bar that has moved between the odd and the even lines."""
        pixels = np.full((*size, 3), 60, np.uint8)
        for line in range(size[0]):
            start = 10 + 8 * number + (4 if line % 2 else 0)
            pixels[line, start : start + 12] = 220
        return pixels

    film = films.make(
        "film.mpg",
        codec="mpeg2video",
        container="mpeg",
        rate=25,
        times_ms=range(0, 400, 40),
        options={"flags": "+ildct+ilme", "qscale": "2"},
        pixels=moving,
        time_base=Fraction(1, 25),
    )
    found = shown(film)
    assert len(found) == 10
    combed = [np.abs(np.diff(pixels[20:76].astype(int), axis=0)).mean() for _, pixels in found[2:8]]
    assert max(combed) < 0.5 * np.abs(np.diff(moving(3, size=SIDE)[20:76].astype(int), axis=0)).mean()
    assert [at for at, _ in found] == pytest.approx(list(range(0, 400, 40)), abs=1)


# colours


@pytest.mark.parametrize(
    ("codec", "pixel_format", "name"),
    [
        ("libx264", "yuv420p10le", "film.mp4"),
        ("libx264", "yuv444p", "film.mp4"),
        ("libx264", "yuvj420p", "film.mp4"),
        ("ffv1", "yuv422p16le", "film.mkv"),
        ("ffv1", "yuv411p", "film.mkv"),
        ("ffv1", "bgra", "film.mkv"),
        ("mjpeg", "yuvj422p", "film.avi"),
        ("rawvideo", "yuyv422", "film.avi"),
        ("rawvideo", "rgb24", "film.nut"),
        ("qtrle", "argb", "film.mov"),
        ("gif", "rgb8", "film.gif"),
        ("libsvtav1", "yuv420p", "film.mkv"),
        ("libvpx-vp9", "yuv420p", "film.webm"),
    ],
)
def test_every_common_way_to_code_pixels_shows_the_same_colours(films, codec, pixel_format, name):
    found = shown(
        films.make(name, codec=codec, pixel_format=pixel_format, times_ms=range(0, 400, 40), rate=25)
    )
    assert len(found) == 10
    assert {corners(pixels) for _, pixels in found} == {"rgbw"}
    assert abs(float(found[0][1][48, 64].mean()) - 20) < 12


@pytest.mark.parametrize("pixel_format", ["gray", "gray16le", "gray10le"])
def test_grey_recordings_are_read(films, pixel_format):
    _, pixels = shown(films.make("film.mkv", codec="ffv1", pixel_format=pixel_format))[5]
    assert pixels.shape == (*SIDE, 3)
    assert abs(middle(pixels) - 5) <= 1


@pytest.mark.parametrize("color_range", [1, 2])
def test_limited_and_full_range_show_the_same_grey(films, color_range):
    film = films.make(
        tags={"color_range": color_range}, pixels=lambda _n, size: np.full((*size, 3), 40, np.uint8)
    )
    assert abs(float(shown(film)[0][1].mean()) - 40) < 3


@pytest.mark.parametrize("colorspace", [1, 5, 9])
def test_the_matrix_that_a_file_names_is_used(films, colorspace):
    red = np.array([200, 40, 60], np.uint8)
    film = films.make(
        "film.mkv",
        codec="ffv1",
        pixel_format="yuv444p",
        tags={"colorspace": colorspace},
        pixels=lambda _n, size: np.broadcast_to(red, (*size, 3)).copy(),
    )
    assert np.abs(shown(film)[0][1][10, 10].astype(int) - red[::-1]).max() <= 3


def test_what_is_transparent_is_not_shown(films):
    def erased(number, *, size):
        pixels = np.dstack([picture(number, size=size), np.full(size, 255, np.uint8)])
        pixels[:, : size[1] // 2, 3] = 0
        return pixels

    path = films.folder / "film.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("qtrle", rate=25)
        stream.height, stream.width = SIDE
        stream.pix_fmt = "argb"
        for n in range(5):
            frame = VideoFrame.from_ndarray(erased(n, size=SIDE), format="rgba").reformat(format="argb")
            frame.pts = n
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    _, pixels = shown(path)[0]
    assert corners(pixels)[1::2] == "gw"
    assert (pixels[:, :60] == 128).all()


@pytest.mark.parametrize(("transfer", "white"), [(16, 203), (18, 203)])
def test_recordings_of_high_dynamic_range_get_a_webcams_range(films, transfer, white):
    """A grey wall of 60 cd/m² under a white of 203: half as bright as white on a webcam, by gamma 2.4."""
    signal = {16: 0.4586, 18: 0.5342}[transfer]
    film = films.make(
        "film.mkv",
        codec="ffv1",
        pixel_format="yuv444p10le",
        tags={"color_trc": transfer, "color_primaries": 9, "colorspace": 9},
        pixels=lambda _n, size: np.full((*size, 3), round(255 * signal), np.uint8),
    )
    assert float(shown(film)[0][1].mean()) == pytest.approx(255 * (60 / white) ** (1 / 2.4), abs=6)


def test_a_turned_recording_of_high_dynamic_range_is_upright_too(films):
    tags = {"color_trc": 18, "color_primaries": 9, "colorspace": 9}
    film = films.make("film.mov", pixel_format="yuv420p10le", tags=tags, rotation=90, aspect=Fraction(4, 3))
    _, pixels = shown(film)[0]
    assert (pixels.shape[:2], corners(pixels)) == ((171, 96), "gwrb")


@pytest.mark.parametrize(
    ("size", "seen"),
    [((2160, 3840), (1080, 1920)), ((1440, 2560), (1440, 2560)), ((3840, 2160), (1920, 1080))],
)
def test_pictures_far_larger_than_a_webcams_are_made_smaller(films, size, seen):
    film = films.make("film.mp4", codec="mpeg4", size=size, times_ms=[0, 40])
    _, pixels = shown(film)[0]
    assert (pixels.shape[:2], corners(pixels)) == (seen, "rgbw")


def test_pictures_too_small_for_any_face_are_refused_before_anything_starts(films):
    film = films.make("film.mp4", size=(24, 24), times_ms=[0, 40])
    with pytest.raises(CameraError, match="24x24 px are smaller than 32"):
        VideoFile(film)


def test_pictures_too_large_for_any_camera_are_refused_before_they_are_decoded(films):
    film = films.make("film.avi", codec="mjpeg", pixel_format="yuvj444p", size=(32, 9000), times_ms=[0, 40])
    with pytest.raises(CameraError, match="9000x32 px are larger than 8192"):
        VideoFile(film)


def test_colours_that_cannot_be_read_are_refused_by_name(films):
    film = films.make("film.mkv", codec="ffv1", pixel_format="yuv444p", tags={"colorspace": 14})
    with pytest.raises(CameraError, match=r"film\.mkv: its colours are coded as ICtCp"):
        VideoFile(film)


# damage


def spoilt(path, *, start=0.4, end=0.45, zeros=False):
    content = bytearray(path.read_bytes())
    noise = random.Random(1)
    for i in range(int(len(content) * start), int(len(content) * end)):
        content[i] = 0 if zeros else noise.randrange(256)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
@pytest.mark.parametrize("zeros", [False, True])
def test_damage_in_the_middle_is_a_gap_and_the_rest_is_played(films, name, zeros):
    def noisy(number, *, size):
        pixels = picture(number, size=size)
        pixels[30:66, 40:90] = np.random.default_rng(number).integers(0, 255, (36, 50, 3), np.uint8)
        return pixels

    film = films.make(
        name,
        times_ms=[n * 1000 / 30 for n in range(120)],
        options={"g": "15", "bf": "0"},
        container_options={"movflags": "faststart"} if name == "film.mp4" else {},
        pixels=noisy,
    )
    found = read(spoilt(film, zeros=zeros))
    assert found[-1][0] == pytest.approx(119 * 1000 / 30, abs=2)
    lost = [at for at, pixels in found if pixels is None]
    assert lost
    assert len(found) == pytest.approx(120, abs=3)
    assert len(lost) < 40


def test_damage_at_the_beginning_is_a_gap_and_moves_nothing(films):
    film = films.make(
        times_ms=[n * 1000 / 30 for n in range(90)],
        options={"g": "30", "bf": "0"},
        container_options={"movflags": "faststart"},
    )
    content = bytearray(film.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + (len(content) - start) // 6] = bytes((len(content) - start) // 6)
    film.write_bytes(content)
    found = read(film)
    assert found[0] == (0, None)
    first = next(at for at, pixels in found if pixels is not None)
    assert first > 300
    late = [(at, middle(pixels)) for at, pixels in found if pixels is not None and at > 1100]
    assert all(number == round(at * 30 / 1000) % 20 for at, number in late)
    assert found[-1][0] == pytest.approx(89 * 1000 / 30, abs=2)
    assert middle(found[-1][1]) == 89 % 20


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi", "film.ts", "film.flv"])
def test_a_cut_file_plays_to_where_it_was_cut_and_says_so(films, name):
    film = films.make(
        name,
        codec="flv" if name == "film.flv" else "mpeg2video" if name == "film.ts" else "mpeg4",
        time_base=Fraction(1, 25),
        times_ms=[n * 40 for n in range(100)],
        rate=25,
        container_options={"movflags": "faststart"} if name == "film.mp4" else {},
        pixels=lambda n, size: np.random.default_rng(n).integers(0, 255, (*size, 3), np.uint8),
    )
    assert told_at_the_end(film) is None
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 6 // 10])
    found = [at for at, _ in shown(film)]
    assert 40 * 40 < found[-1] < 70 * 40
    assert told_at_the_end(film).startswith(f"{name} was cut off")


def told_at_the_end(path):
    film = VideoFile(path)
    while film.next_moment() is not None:
        pass
    film.close()
    return film.end_problem


def test_a_file_without_its_index_says_that_it_was_cut(films):
    film = films.make("film.mp4")
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with pytest.raises(CameraError, match="cut off before its index"):
        VideoFile(film)


# what is no film


def test_a_cover_image_is_no_video(films):
    path = films.make("film.mp4", cover=True)
    assert [middle(pixels) for _, pixels in shown(path)][:4] == [0, 1, 2, 3]


def test_sound_with_a_cover_image_is_refused(tmp_path):
    path = tmp_path / "podcast.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        sound, cover = out.add_stream("aac", rate=48_000), out.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = *SIDE, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuvj420p")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 48_000
        out.mux([*cover.encode(frame), *cover.encode(None), *sound.encode(tone), *sound.encode(None)])
    with pytest.raises(CameraError, match="cover image, but no video"):
        VideoFile(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is no video",
        bytes(5000),
        b"\xff\xd8\xff" + b"x" * 999,
        b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
    ],
)
def test_a_file_that_is_not_a_video_is_a_clear_error(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(CameraError, match="clip"):
        VideoFile(path)


@pytest.mark.parametrize(
    "name", ["still.gif", "still.png", "still.jpg", "still.webp", "still.tif", "still.bmp"]
)
def test_a_single_picture_is_not_a_video(tmp_path, name):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / name
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(CameraError, match="is a picture, not a video"):
        VideoFile(path)


def test_a_missing_file_a_directory_and_a_pipe_are_clear_errors(tmp_path):
    with pytest.raises(CameraError, match="no video none"):
        VideoFile(tmp_path / "none.mp4")
    with pytest.raises(CameraError, match="not a file"):
        VideoFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CameraError, match="not a file"):
        VideoFile(tmp_path / "pipe")


def test_a_name_that_would_steer_the_terminal_is_escaped(tmp_path):
    path = tmp_path / os.fsdecode(b"a\x1b[2Jb\ncaf\xe9.mp4")
    path.write_bytes(b"no film")
    with pytest.raises(CameraError) as caught:
        VideoFile(path)
    assert str(caught.value).startswith("a\\x1b[2Jb\\ncaf\\xe9.mp4 is not")


def test_a_name_too_long_for_any_file_is_a_clear_error(tmp_path):
    with pytest.raises(CameraError):
        VideoFile(tmp_path / ("x" * 5000))


# names


@pytest.mark.parametrize(
    "name",
    [
        b"2024-11-30T10:15 P07.mp4",
        b"http:session.mp4",
        b"http:__127.0.0.1_film.mp4",
        b"rtsp:camera",
        b"concat:a|b.mp4",
        b"take%02d.mp4",
        "größe é 顔 😀.mp4".encode(),
        b"caf\xe9.mp4",
        b"-dash.mp4",
        b"0",
        b"noext",
        b"x.png",
        b"list.m3u8",
        b"pipe:0",
        b"n" * 236 + b".mp4",
    ],
)
def test_an_existing_path_is_a_local_file_whatever_its_name(films, name, monkeypatch):
    path = films.make("film.mp4", times_ms=range(0, 200, 40)).rename(films.folder / os.fsdecode(name))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("somebody was asked"))
    assert len(shown(path)) == 5


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.mp4'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
    ],
)
def test_a_playlist_is_refused_and_nobody_that_it_names_is_asked(tmp_path, text):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.01)
        path = tmp_path / "film.mp4"
        path.write_text(text.format(port=listener.getsockname()[1]))
        with pytest.raises(CameraError, match="not a video"):
            VideoFile(path)
        with pytest.raises(TimeoutError):
            listener.accept()


# going on


def test_a_film_can_be_played_again_from_its_start(films):
    film = VideoFile(films.make())
    first = [middle(film.read()) for _ in range(5)]
    assert film.rewind()
    assert [middle(film.read()) for _ in range(5)] == first
    film.close()


def test_in_a_hurry_only_pictures_that_stand_alone_are_decoded_and_the_rest_is_counted(films):
    film = VideoFile(films.make(times_ms=[n * 1000 / 30 for n in range(90)], options={"g": "30", "bf": "0"}))
    film.next_moment()
    film.hurry(2_000_000)
    found = []
    while (moment := film.next_moment()) is not None:
        found.append(moment)
    film.close()
    assert sum(moment.picture is not None for moment in found) <= 5
    assert len(found) == pytest.approx(89, abs=1)
    assert found[-1].media_us == pytest.approx(89 * 1e6 / 30, abs=2000)


def test_nothing_is_written_to_standard_error(films, capfd):
    film = films.make(
        "film.mp4",
        times_ms=[n * 40 for n in range(50)],
        container_options={"movflags": "faststart"},
        options={"g": "5"},
    )
    content = film.read_bytes()
    read(spoilt(film, start=0.5, end=0.6))
    film.write_bytes(content[: len(content) // 2])
    read(film)
    film.write_bytes(content[: len(content) // 9])
    with pytest.raises(CameraError):
        VideoFile(film)
    assert capfd.readouterr().err == ""
