"""Data keys in files: made once, destroyed for good, and wrapped anew while others read and make them."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from cloud.errors import CustodyError, KeyDestroyedError
from cloud.keys.custody import FileKeyCustody, prepare_keys
from privacy.crypto.at_rest import new_data_key, wrap_key
from privacy.protocol.ids import SessionId, TenantId

TENANT = TenantId(UUID(int=1))
SESSION = SessionId(UUID(int=2))
OTHER = SessionId(UUID(int=3))


@pytest.fixture
def custody(tmp_path: Path) -> FileKeyCustody:
    made = FileKeyCustody(tmp_path / "keys")
    made.add_kek()
    return made


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_session_has_one_key_and_every_process_finds_it(custody: FileKeyCustody, tmp_path: Path) -> None:
    assert custody.find_key(TENANT, SESSION) is None
    key = custody.key(TENANT, SESSION)
    second = FileKeyCustody(tmp_path / "keys")
    assert second.key(TENANT, SESSION) == second.find_key(TENANT, SESSION) == key
    assert custody.key(TENANT, OTHER) != key
    assert (custody.count(TENANT, SESSION), custody.count(TenantId(UUID(int=9)), SESSION)) == (1, 0)
    assert all(
        key not in content and key.hex().encode() not in content for content in files(tmp_path).values()
    )


def test_a_destroyed_key_is_in_no_file_and_is_never_made_again(
    custody: FileKeyCustody, tmp_path: Path
) -> None:
    custody.key(TENANT, SESSION)
    (kept,) = [content for path, content in files(tmp_path).items() if path.stem == SESSION.hex]
    assert (custody.destroy(TENANT, SESSION), custody.count(TENANT, SESSION)) == (1, 0)
    assert all(kept[16:] not in content for content in files(tmp_path).values())
    assert custody.find_key(TENANT, SESSION) is None
    with pytest.raises(KeyDestroyedError):
        custody.key(TENANT, SESSION)
    assert custody.destroy(TENANT, SESSION) == 0


def test_a_session_without_a_key_gets_none_after_it_was_destroyed(custody: FileKeyCustody) -> None:
    assert custody.destroy(TENANT, SESSION) == 0
    with pytest.raises(KeyDestroyedError):
        custody.key(TENANT, SESSION)


def test_what_tells_of_a_destroyed_key_goes_in_its_time_and_keys_stay(custody: FileKeyCustody) -> None:
    key = custody.key(TENANT, OTHER)
    custody.destroy(TENANT, SESSION)
    assert custody.forget_destroyed(before_s=0) == 0
    assert custody.forget_destroyed(before_s=2e10) == 1
    assert custody.find_key(TENANT, OTHER) == key


def test_a_rotation_makes_every_old_wrap_and_every_old_file_worthless(
    custody: FileKeyCustody, tmp_path: Path
) -> None:
    keys = {session: custody.key(TENANT, session) for session in (SESSION, OTHER)}
    old = files(tmp_path)
    custody.destroy(TENANT, SESSION)
    assert custody.rotate() == 1
    assert custody.find_key(TENANT, OTHER) == keys[OTHER]
    new = files(tmp_path)
    assert [path.suffix for path in new if path.parent.name == "kek"].count(".key") == 1
    for path, content in old.items():
        assert all(content not in other for other in new.values()), path
    # somebody kept a copy of the old file and puts it back
    (copied,) = [path for path in old if path.stem == SESSION.hex]
    copied.write_bytes(old[copied])
    with pytest.raises(CustodyError, match="another key-encryption key"):
        custody.find_key(TENANT, SESSION)


def test_keys_made_and_read_during_rotations_all_stay_readable(
    custody: FileKeyCustody, tmp_path: Path
) -> None:
    made: dict[SessionId, bytes] = {}
    done = threading.Event()
    failures: list[Exception] = []

    def make() -> None:
        own = FileKeyCustody(tmp_path / "keys")
        try:
            while not done.is_set():
                session = SessionId(uuid4())
                made[session] = own.key(TENANT, session)
                assert own.find_key(TENANT, session) == made[session]
        except Exception as error:
            failures.append(error)

    makers = [threading.Thread(target=make) for _ in range(3)]
    for maker in makers:
        maker.start()
    for _ in range(4):
        custody.rotate()
    done.set()
    for maker in makers:
        maker.join()
    custody.rotate()
    assert not failures
    assert len(made) > 3
    assert all(custody.find_key(TENANT, session) == key for session, key in made.items())
    assert len(list((tmp_path / "keys" / "kek").glob("*.key"))) == 1


def test_two_processes_do_not_rotate_at_once(custody: FileKeyCustody, tmp_path: Path) -> None:
    key = custody.key(TENANT, SESSION)
    custody.rotate()
    with (tmp_path / "keys" / "kek" / "rotation.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CustodyError):
            custody.rotate()
    assert custody.find_key(TENANT, SESSION) == key


def test_a_wrapped_key_of_an_earlier_version_is_taken_over(custody: FileKeyCustody) -> None:
    kek, key = bytes(range(32)), new_data_key()
    kek_id = custody.add_kek(kek)
    wrapped = wrap_key(kek, key, TENANT.bytes + SESSION.bytes + kek_id.encode())
    custody.adopt(TENANT, SESSION, wrapped=wrapped, kek_id=kek_id)
    assert custody.find_key(TENANT, SESSION) == key
    custody.destroy(TENANT, SESSION)
    custody.adopt(TENANT, SESSION, wrapped=wrapped, kek_id=kek_id)
    assert custody.find_key(TENANT, SESSION) is None


def test_a_file_begun_by_a_process_that_died_is_begun_again(custody: FileKeyCustody, tmp_path: Path) -> None:
    custody.key(TENANT, SESSION)
    (path,) = [path for path in files(tmp_path) if path.stem == SESSION.hex]
    path.write_bytes(path.read_bytes()[:20])
    assert custody.find_key(TENANT, SESSION) is None
    assert custody.key(TENANT, SESSION) == custody.find_key(TENANT, SESSION)


def test_a_directory_without_a_key_encryption_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CustodyError, match="countenance init"):
        FileKeyCustody(tmp_path).key(TENANT, SESSION)


def test_the_one_key_of_earlier_versions_is_taken_over_and_its_file_destroyed(tmp_path: Path) -> None:
    kek, key = bytes(range(32)), new_data_key()
    (tmp_path / "kek.key").write_text(kek.hex())
    assert prepare_keys(tmp_path / "keys", former_kek=tmp_path / "kek.key") == ["keys/kek from kek.key"]
    assert prepare_keys(tmp_path / "keys", former_kek=tmp_path / "kek.key") == []
    custody = FileKeyCustody(tmp_path / "keys")
    (path,) = (tmp_path / "keys" / "kek").iterdir()
    kek_id = path.stem.partition("-")[2]
    wrapped = wrap_key(kek, key, TENANT.bytes + SESSION.bytes + kek_id.encode())
    custody.adopt(TENANT, SESSION, wrapped=wrapped, kek_id=kek_id)
    assert custody.find_key(TENANT, SESSION) == key
    custody.rotate()
    assert not any(kek.hex().encode() in content for content in files(tmp_path).values())
    assert custody.find_key(TENANT, SESSION) == key


def test_a_new_directory_gets_a_key_encryption_key_once(tmp_path: Path) -> None:
    assert prepare_keys(tmp_path / "keys") == ["keys/kek"]
    assert prepare_keys(tmp_path / "keys") == []
    assert len(FileKeyCustody(tmp_path / "keys").key(TENANT, SESSION)) == 32
