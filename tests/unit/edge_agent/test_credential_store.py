import stat
import sys
from uuid import UUID

import pytest

from edge_agent.consent.credential_store import CredentialStore
from edge_agent.errors import CredentialError

SESSION, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def store(tmp_path):
    return CredentialStore(tmp_path / "home")


def test_an_empty_home_holds_nothing(store):
    assert store.device_key(SESSION) is None
    assert store.receipt(SESSION) is None
    assert store.last_epoch(SESSION) == 0


def test_a_device_key_is_found_again_for_its_session_only(store):
    key = store.new_device_key(SESSION)
    assert store.device_key(SESSION).private_bytes_raw() == key.private_bytes_raw()
    assert store.device_key(OTHER) is None


def test_each_consent_makes_a_fresh_key(store):
    first = store.new_device_key(SESSION).private_bytes_raw()
    assert store.new_device_key(SESSION).private_bytes_raw() != first


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_only_the_owner_can_read_what_is_stored(store):
    store.new_device_key(SESSION)
    store.store_receipt(SESSION, "receipt")
    assert stat.S_IMODE(store.home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.home.iterdir()} == {0o600}


def test_after_a_withdrawal_neither_key_nor_receipt_is_left_but_the_epoch_is(store):
    store.new_device_key(SESSION)
    store.store_receipt(SESSION, "receipt")
    store.store_epoch(SESSION, 7)
    store.forget(SESSION)
    assert store.device_key(SESSION) is None
    assert store.receipt(SESSION) is None
    assert store.last_epoch(SESSION) == 7


def test_forgetting_twice_is_harmless(store):
    store.forget(SESSION)
    store.forget(SESSION)


def test_a_damaged_key_is_a_clear_error(store):
    store.new_device_key(SESSION)
    (store.home / f"{SESSION.hex}.key").write_text("zz")
    with pytest.raises(CredentialError, match="damaged"):
        store.device_key(SESSION)


def test_a_home_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "home").write_text("a file, not a directory")
    with pytest.raises(CredentialError):
        CredentialStore(tmp_path / "home").store_receipt(SESSION, "receipt")


def test_a_session_that_was_begun_is_known_even_after_a_withdrawal(store):
    assert not store.has_begun(SESSION)
    store.store_begun(SESSION)
    store.forget(SESSION)
    assert store.has_begun(SESSION)
    assert not store.has_begun(OTHER)
