from __future__ import annotations

from pathlib import Path

import pytest

from cloud.config import Bind, ClassifierEngine, Role, load_settings, parse_bind
from cloud.errors import ConfigError

API = {
    "COUNTENANCE_STATE_DIR": "/state",
    "COUNTENANCE_DATABASE_URL": "postgresql://app:geheim@db/countenance",
    "COUNTENANCE_REDIS_URL": "redis://127.0.0.1:6379/0",
}


@pytest.mark.parametrize("missing", sorted(API))
def test_a_missing_setting_is_named_with_what_to_do(missing: str) -> None:
    environ = {name: value for name, value in API.items() if name != missing}
    with pytest.raises(ConfigError) as refused:
        load_settings(Role.API, environ=environ)
    assert missing in str(refused.value)
    assert "--" + missing.removeprefix("COUNTENANCE_").lower().replace("_", "-") in str(refused.value)


def test_a_flag_beats_the_environment() -> None:
    settings = load_settings(Role.API, environ={**API, "COUNTENANCE_SHARDS": "16"}, flags={"SHARDS": "8"})
    assert settings.shards == 8


def test_an_unset_flag_leaves_the_environment_in_force() -> None:
    settings = load_settings(Role.API, environ={**API, "COUNTENANCE_SHARDS": "16"}, flags={"SHARDS": None})
    assert settings.shards == 16


def test_a_process_sees_only_the_secrets_it_needs() -> None:
    everything = {**API, "COUNTENANCE_DATABASE_OWNER_URL": "postgresql://owner:geheim@db/countenance"}
    ingest = load_settings(Role.INGEST, environ=everything)
    assert ingest.redis_url
    assert ingest.database_url == "" and ingest.database_owner_url == ""


def test_data_keys_are_in_the_state_directory_unless_a_directory_is_named() -> None:
    assert load_settings(Role.API, environ=API).keys_dir == Path("/state/keys")
    named = {**API, "COUNTENANCE_KEYS_DIR": "/elsewhere"}
    assert load_settings(Role.LIFECYCLE, environ=named).keys_dir == Path("/elsewhere")
    aggregate = {name: value for name, value in named.items() if name != "COUNTENANCE_STATE_DIR"}
    assert load_settings(Role.AGGREGATE, environ=aggregate).keys_dir == Path("/elsewhere")
    with pytest.raises(ConfigError, match="KEYS_DIR is not set"):
        load_settings(
            Role.AGGREGATE, environ={n: v for n, v in aggregate.items() if n != "COUNTENANCE_KEYS_DIR"}
        )


def test_addresses_with_passwords_stay_out_of_the_repr() -> None:
    assert "geheim" not in repr(load_settings(Role.API, environ=API))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SHARDS", "0", "1 to 4096"),
        ("SHARDS", "many", "1 to 4096"),
        ("SHARDS", "4097", "1 to 4096"),
        ("MAX_SESSIONS", "-1", "1 to 10000"),
        ("CLASSIFIER", "magic", "auto, litert, tensorflow"),
        ("API_BIND", "8000", "HOST:PORT"),
        ("API_BIND", "localhost:99999", "0 to 65535"),
        ("PUBLIC_URL", "ftp://x", "https://"),
        ("INGEST_URL", "http://x", "ws://"),
        ("REDIS_URL", "http://x", "redis://"),
        ("ICE_URLS", "stun:a,stun:b,stun:c,stun:d,stun:e", "at most 4"),
        ("ICE_URLS", "https://x", "stun:stun.example.org"),
        ("ICE_URLS", "turn:x?transport=sctp", "stun:stun.example.org"),
        ("ICE_URLS", "stun:user@x", "stun:stun.example.org"),
        ("ICE_URLS", "stun:[2001:db8::1]:3478", "names or IPv4 addresses"),
        ("ICE_URLS", "turns:x?transport=udp", "stun:stun.example.org"),
        *(
            ("ALLOWED_ORIGINS", value, "https://view.example.org")
            for value in (
                "*",
                "null",
                "https://a.example/",
                "https://a.example/path",
                "https://A.example",
                "http://a.example",
                "https://*.example",
                "a.example",
                "https://user@a.example",
                ",".join(f"https://{n}.example" for n in range(9)),
            )
        ),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(Role.API, environ={**API, "COUNTENANCE_" + name: value})
    assert name in str(refused.value) and says in str(refused.value)


def test_a_refused_address_is_not_quoted_as_it_may_hold_a_password() -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(Role.API, environ={**API, "COUNTENANCE_DATABASE_URL": "mysql://app:geheim@db/x"})
    assert "geheim" not in str(refused.value)


def test_public_addresses_follow_the_binds_unless_told_otherwise() -> None:
    settings = load_settings(Role.API, environ={**API, "COUNTENANCE_API_BIND": "127.0.0.1:9000"})
    assert settings.public_url == "http://127.0.0.1:9000"
    assert settings.classifier is ClassifierEngine.AUTO


def test_binds_of_both_families_are_read_and_written() -> None:
    assert parse_bind("API_BIND", "[::1]:80") == Bind(host="::1", port=80)
    assert str(Bind(host="::1", port=80)) == "[::1]:80"
    assert str(parse_bind("API_BIND", "0.0.0.0:0")) == "0.0.0.0:0"


def test_a_turn_server_needs_a_secret_that_only_the_processes_concerned_are_given() -> None:
    asked = {**API, "COUNTENANCE_ICE_URLS": "stun:a.example, turns:192.0.2.1:5349?transport=tcp"}
    with pytest.raises(ConfigError, match="COUNTENANCE_TURN_SECRET"):
        load_settings(Role.INGEST, environ=asked)
    asked["COUNTENANCE_TURN_SECRET"] = "geheim-und-lang-genug"
    for role in (Role.API, Role.INGEST):
        settings = load_settings(role, environ=asked)
        assert settings.ice_urls == ("stun:a.example", "turns:192.0.2.1:5349?transport=tcp")
        assert settings.turn_secret == "geheim-und-lang-genug"
        assert "geheim" not in repr(settings)
    for role in (Role.CLASSIFY, Role.AGGREGATE, Role.LIFECYCLE):
        settings = load_settings(role, environ=asked)
        assert (settings.ice_urls, settings.turn_secret) == ((), "")


def test_the_processes_that_pages_speak_to_know_which_pages_may() -> None:
    asked = {**API, "COUNTENANCE_ALLOWED_ORIGINS": "https://view.example.org, http://127.0.0.1:8080"}
    for role in (Role.API, Role.INGEST):
        assert load_settings(role, environ=asked).allowed_origins == (
            "https://view.example.org",
            "http://127.0.0.1:8080",
        )
        assert load_settings(role, environ=API).allowed_origins == ()
    assert load_settings(Role.CLASSIFY, environ=asked).allowed_origins == ()


def test_stun_alone_needs_no_secret() -> None:
    settings = load_settings(Role.API, environ={**API, "COUNTENANCE_ICE_URLS": "stun:a.example:3478"})
    assert (settings.ice_urls, settings.turn_secret) == (("stun:a.example:3478",), "")
