from edge_agent.clocks import PlatformClock, utc_us

HOUR_US = 3_600_000_000


def test_a_wrong_wall_clock_is_set_right_by_the_platforms() -> None:
    platform_utc_us = utc_us() + HOUR_US

    read = PlatformClock(platform_utc_us).utc_us()

    assert 0 <= read - platform_utc_us < 60_000_000


def test_a_platform_that_tells_no_time_leaves_the_wall_clock_in_charge() -> None:
    assert abs(PlatformClock(None).utc_us() - utc_us()) < 60_000_000
