from __future__ import annotations

from pathlib import Path

import pytest

from cloud.errors import ConfigError
from cloud.keys.platform_keys import (
    KEEP_EXPIRED_US,
    RENEW_BEFORE_US,
    DirectoryKeyring,
    ensure_pool_key,
    init_state,
    load_pool_keys,
    load_signing_key,
    load_signing_public_key,
    read_admin_token,
    read_key_bundle,
)
from privacy.crypto.keys import POOL_KEY_LIFETIME_US, verify_bundle
from privacy.errors import KeyringError
from privacy.protocol.ids import KeyId

NOW = 1_772_000_000_000_000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    init_state(tmp_path / "state", now_utc_us=NOW)
    return tmp_path / "state"


def test_the_bundle_verifies_under_the_public_key_and_names_the_pool_key(state: Path) -> None:
    (public,) = verify_bundle(read_key_bundle(state), load_signing_public_key(state), NOW)
    assert [public] == [key.public for key in load_pool_keys(state)]
    assert DirectoryKeyring(state).private_key(public.key_id).public == public


def test_a_young_pool_key_is_left_alone(state: Path) -> None:
    assert ensure_pool_key(state, now_utc_us=NOW + POOL_KEY_LIFETIME_US - RENEW_BEFORE_US) == []


def test_a_pool_key_is_renewed_in_time_and_both_are_offered(state: Path) -> None:
    later = NOW + POOL_KEY_LIFETIME_US - RENEW_BEFORE_US + 1
    assert len(ensure_pool_key(state, now_utc_us=later)) == 2
    keys = verify_bundle(read_key_bundle(state), load_signing_public_key(state), later)
    assert len(keys) == 2 and keys[0].not_after_utc_us > keys[1].not_after_utc_us


def test_an_expired_pool_key_is_deleted_once_nothing_can_ask_for_it(state: Path) -> None:
    (old,) = load_pool_keys(state)
    ensure_pool_key(state, now_utc_us=NOW + POOL_KEY_LIFETIME_US + KEEP_EXPIRED_US)
    assert old in load_pool_keys(state)
    ensure_pool_key(state, now_utc_us=NOW + POOL_KEY_LIFETIME_US + KEEP_EXPIRED_US + 1)
    assert old not in load_pool_keys(state) and len(load_pool_keys(state)) == 1


def test_a_keyring_finds_a_key_that_was_renewed_after_it_was_opened(state: Path) -> None:
    keyring = DirectoryKeyring(state)
    ensure_pool_key(state, now_utc_us=NOW + POOL_KEY_LIFETIME_US)
    newest = load_pool_keys(state)[-1]
    assert keyring.private_key(newest.key_id) == newest


@pytest.mark.parametrize("name", ["", "../kek", "0" * 16, "bundle"])
def test_a_keyring_knows_no_other_key(state: Path, name: str) -> None:
    with pytest.raises(KeyringError):
        DirectoryKeyring(state).private_key(KeyId(name))


def test_a_lost_public_half_is_made_again_from_the_private_one(state: Path) -> None:
    before = load_signing_public_key(state).public_bytes_raw()
    (state / "signing.pub").write_text("not a key")
    with pytest.raises(ConfigError, match=r"signing\.pub"):
        load_signing_public_key(state)
    assert init_state(state, now_utc_us=NOW) == ["signing.pub"]
    assert load_signing_public_key(state).public_bytes_raw() == before


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("signing.key", load_signing_key),
        ("admin.token", read_admin_token),
        ("pool/bundle.jws", read_key_bundle),
    ],
)
def test_a_missing_or_damaged_file_is_named_with_what_to_do(state: Path, name: str, read: object) -> None:
    assert callable(read)
    if name != "pool/bundle.jws":
        (state / name).write_text("x")
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            read(state)
    (state / name).unlink()
    with pytest.raises(ConfigError, match="countenance init"):
        read(state)


def test_secrets_are_not_in_any_repr(state: Path) -> None:
    keyring = DirectoryKeyring(state)
    (key,) = load_pool_keys(state)
    assert key.private_bytes.hex() not in repr(keyring) + repr(key)
    assert str(key.private_bytes) not in repr(keyring) + repr(key)
