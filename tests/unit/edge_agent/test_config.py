import pytest

from edge_agent.config import RunSettings
from edge_agent.errors import SettingError
from edge_agent.invite import parse_invite

INVITE = parse_invite(f"http://127.0.0.1/v1/join#{'a' * 32}.{'b' * 32}.{'s' * 24}")


def test_defaults_are_within_their_ranges():
    assert RunSettings(invite=INVITE, camera="0").detector == "auto"


@pytest.mark.parametrize(
    "change",
    [
        {"camera": ""},
        {"fps": 0.5},
        {"fps": 61.0},
        {"duration_s": 0.0},
        {"duration_s": 1e6},
        {"camera_delay_ms": -1},
        {"camera_delay_ms": 501},
        {"ice_servers": ("stun:[::1]:3478",)},
        {"ice_servers": ("stun:a.example", "https://x")},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(change):
    with pytest.raises(SettingError, match="--"):
        RunSettings(**{"invite": INVITE, "camera": "0", **change})
