import pytest

from edge_agent.tracking.fallbacks import ALL_FALLBACKS, LastPlace, Tiles, Turned
from edge_agent.tracking.geometry import Box

SIZES = [(640, 480), (480, 640), (1920, 1080), (3840, 2160), (500, 500), (1000, 240)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_tiles_cover_the_frame_and_every_small_face_lies_wholly_in_one(width, height):
    regions = [glance.region for glance in Tiles().glances(width=width, height=height, last=None)]
    assert len(regions) <= 9
    side = max(width, height) / 8
    for i in range(9):
        for j in range(9):
            x, y = (width - side) * i / 8, (height - side) * j / 8
            assert any(
                r.x_min <= x and r.y_min <= y and x + side <= r.x_max and y + side <= r.y_max for r in regions
            )


def test_tiles_show_twice_the_scale():
    assert {g.region.side for g in Tiles().glances(width=640, height=480, last=None)} == {320.0}


def test_the_view_is_turned_to_both_sides():
    assert [g.roll_deg for g in Turned().glances(width=640, height=480, last=None)] == [40.0, -40.0]


def test_the_last_place_is_looked_around_and_nothing_without_one():
    last = Box.of([100, 100, 140, 140])
    (glance,) = LastPlace().glances(width=640, height=480, last=last)
    assert (glance.region.centre, glance.region.side) == ((120.0, 120.0), 160.0)
    assert LastPlace().glances(width=640, height=480, last=None) == ()


def test_each_strategy_has_a_name_of_its_own():
    assert len({fallback.name for fallback in ALL_FALLBACKS}) == len(ALL_FALLBACKS)
