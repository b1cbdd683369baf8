import time

import pytest

from edge_agent.bench.speed import Stopwatch, measure_film, measure_films, report
from edge_agent.errors import SettingError


class Film:
    """A film of painted faces; implements what the benchmark asks of a source."""

    def __init__(self, pictures):
        self._pictures = iter(pictures)
        self.is_closed = False

    def read(self):
        return next(self._pictures, None)

    def close(self):
        self.is_closed = True


def test_a_film_is_looked_at_frame_by_frame(patch_network, paint_faces):
    film = Film([paint_faces([(320 + n, 240, 120)]) for n in range(20)])
    figures = measure_film(patch_network, lambda: film, "painted.mp4", frames=12)
    assert (figures.film, figures.frames, film.is_closed) == ("painted.mp4", 12, True)
    assert figures.inferences_per_frame == pytest.approx(patch_network.inferences / 12, abs=1e-3)
    assert 0 < figures.network_ms <= figures.detection_ms <= figures.frame_ms
    assert figures.detection_ms + figures.tracking_ms <= figures.frame_ms
    assert "painted.mp4" in report({"detector": "int8", "films": [vars_of(figures)]})


def test_a_film_shorter_than_asked_is_measured_to_its_end(patch_network, paint_faces):
    figures = measure_film(patch_network, lambda: Film([paint_faces([])] * 3), "short.mp4", frames=100)
    assert (figures.frames, figures.sent_share) == (3, 0.0)


def test_no_camera_is_opened(tmp_path):
    with pytest.raises(SettingError, match="never at a camera"):
        measure_films([tmp_path / "film.mp4", type(tmp_path)("0")], detector="int8", frames=100)
    with pytest.raises(SettingError, match="--frames"):
        measure_films([tmp_path / "film.mp4"], detector="int8", frames=1)


def test_a_part_inside_itself_is_counted_once():
    watch = Stopwatch()
    with watch.timing("part"), watch.timing("part"):
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
    assert 0.01 <= watch.taken_s["part"] < 0.019


def vars_of(figures):
    return {name: getattr(figures, name) for name in figures.__slots__}
