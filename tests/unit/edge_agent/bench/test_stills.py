import numpy as np
import pytest

from edge_agent.bench.degradations import Still
from edge_agent.bench.stills import Tally, is_hit, measure_stills
from edge_agent.tracking.geometry import Box

TRUTH = Box.of([100, 100, 140, 140])


@pytest.mark.parametrize(
    ("box", "hit"),
    [
        ([100, 100, 140, 140], True),
        ([115, 100, 155, 140], True),
        ([125, 100, 165, 140], False),
        ([85, 85, 155, 155], True),
        ([70, 70, 170, 170], False),
        ([113, 113, 127, 127], False),
    ],
)
def test_a_hit_lies_on_the_face_and_is_about_as_large(box, hit):
    assert is_hit(Box.of(box), TRUTH) is hit


def test_a_tally_counts_found_missed_and_extra():
    tally = Tally()
    still = Still(pixels=np.zeros((300, 300, 3), np.uint8), faces=(TRUTH, Box.of([200, 200, 240, 240])))
    tally.add(still, [TRUTH, Box.of([10, 10, 50, 50])], runs=4, ms=2.0)
    tally.add(still, list(still.faces), runs=0, ms=0.0)
    figures = tally.figures()
    assert (figures["faces"], figures["found"], figures["extra"]) == (4, 3, 1)
    assert (figures["recall"], figures["runs"], figures["ms"]) == (0.75, 2.0, 1.0)


def test_what_the_scan_misses_for_size_the_tiles_recover(patch_network, paint_faces):
    """The simulator sees nothing below 8 px of its input: 30 px of a camera frame is 6 px, and 12 in a tile."""
    patch_network.min_side_px = 8
    still = Still(pixels=paint_faces([(300, 220, 120)]), faces=(Box.of([240, 160, 360, 280]),))
    figures = measure_stills(patch_network, [still])
    assert figures["as_it_is"]["none"]["recall"] == 1.0
    assert figures["far"]["lifting"]["recall"] == 0.0
    assert figures["far"]["tiles"]["recall"] == 1.0
    assert figures["far"]["tiles"]["runs"] > 6
