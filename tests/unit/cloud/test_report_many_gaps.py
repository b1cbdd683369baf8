from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.analytics.gaps import BANDS_DRAWN_MAX, GapBand, drawn_bands, reasons_by_second

REASONS = ("no_face", "dark", "overload")


def band(start_ms: int, length_ms: int, reason: str, *, frames: int = 1) -> GapBand:
    return GapBand(start_ms=start_ms, end_ms=start_ms + length_ms, frames=frames, reason=reason)


BANDS = st.lists(
    st.builds(band, st.integers(0, 9_000), st.integers(1, 4_000), st.sampled_from(REASONS)), max_size=30
).map(lambda bands: sorted(bands, key=lambda one: one.start_ms))


@given(BANDS, st.integers(0, 12))
def test_a_second_names_every_reason_that_touches_it_in_the_order_of_the_bands(
    bands: list[GapBand], seconds: int
) -> None:
    one_by_one = [
        list(
            dict.fromkeys(
                one.reason
                for one in bands
                if one.start_ms < 1_000 * (second + 1) and one.end_ms > 1_000 * second
            )
        )
        for second in range(seconds)
    ]
    assert reasons_by_second(bands, seconds=seconds) == one_by_one


@given(BANDS, st.integers(1, 10))
def test_a_figure_never_draws_more_bands_than_it_can_show_and_loses_no_frame(
    bands: list[GapBand], most: int
) -> None:
    drawn = drawn_bands(bands, most=most)
    assert len(drawn) <= most or drawn is bands
    assert len(drawn) <= most
    assert sum(one.frames for one in drawn) == sum(one.frames for one in bands)
    assert {one.reason for one in drawn} <= {*REASONS, "several_reasons"}


def test_few_bands_are_drawn_as_they_are_and_very_many_close_together_as_one_of_several_reasons() -> None:
    few = [band(100 * number, 50, "dark") for number in range(BANDS_DRAWN_MAX)]
    assert drawn_bands(few) is few
    many = [band(100 * number, 50, REASONS[number % 2]) for number in range(200_000)]
    drawn = drawn_bands(many)
    assert len(drawn) <= BANDS_DRAWN_MAX and {one.reason for one in drawn} == {"several_reasons"}
    assert sum(len(found) for found in reasons_by_second(many, seconds=20_000)) == 40_000
