"""Custody of the sessions' data keys in files of their own, wrapped under key-encryption keys that take turns.

    <keys>/kek/<number>-<id>.key     a key-encryption key, hex; the last by number wraps
    <keys>/<tenant>/<session>.key    id of the key-encryption key (16) | wrapped data key

A key is destroyed by overwriting its file, which then says so for a day: nobody makes the session another one in that
time. After keys were destroyed, `rotate` wraps those that are left anew and destroys the old key-encryption keys the same
way: what somebody kept of an old file, in a copy or on the disk beneath, no longer opens. Files are changed in place under a
lock, so that several processes, also on several machines with a shared directory, work on them at once.

In a fleet with a key management service, the port's methods are calls to it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

from cloud.errors import CustodyError, KeyDestroyedError
from privacy.crypto.at_rest import KEY_BYTES, WRAPPED_BYTES, new_data_key, unwrap_key, wrap_key
from privacy.errors import OpeningError
from privacy.protocol.ids import SessionId, TenantId

_ID_LABEL = b"countenance/1 kek id\0"
_ID_CHARS = 16
_DESTROYED = b"destroyed\n"
_KEK = "kek"


class FileKeyCustody:
    """The port's methods on a directory; each call is a few system calls, a new key two writes to disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        return f"FileKeyCustody({str(self._directory)!r})"

    def key(self, tenant: TenantId, session: SessionId) -> bytes:
        """Give a session's data key; one is made where there is none."""
        found = self.find_key(tenant, session)
        if found is not None:
            return found
        path = self._path(tenant, session)
        with _reached(), self._current_kek() as (kek_id, kek), _opened(path, is_made=True) as file:
            content = _read_all(file)
            if content == _DESTROYED:
                raise KeyDestroyedError("the session's data key was destroyed")
            if _is_whole(content):
                return self._unwrap(tenant, session, content)
            # empty, or begun by a process that died before anything was sealed under it
            key = new_data_key()
            _overwrite(file, kek_id.encode() + wrap_key(kek, key, _aad(tenant, session, kek_id)))
            _sync_directory(path.parent)
        return key

    def find_key(self, tenant: TenantId, session: SessionId) -> bytes | None:
        """Give a session's data key; None where it has none, or none any more."""
        path = self._path(tenant, session)
        with _reached():
            try:
                # without a lock, a key that is being wrapped anew may be met half-way
                with contextlib.suppress(CustodyError):
                    return self._unwrap(tenant, session, path.read_bytes())
                content = _read_locked(path)
            except FileNotFoundError:
                return None
            return self._unwrap(tenant, session, content) if _is_whole(content) else None

    def destroy(self, tenant: TenantId, session: SessionId) -> int:
        """Destroy a session's key; returns how many there were, 0 or 1."""
        path = self._path(tenant, session)
        with _reached(), _opened(path, is_made=True) as file:
            had_key = _is_whole(_read_all(file))
            _overwrite(file, _DESTROYED)
            _sync_directory(path.parent)
        return int(had_key)

    def count(self, tenant: TenantId, session: SessionId) -> int:
        """Count the keys that a session has now, 0 or 1, by reading its file."""
        with _reached():
            try:
                return int(_is_whole(_read_locked(self._path(tenant, session))))
            except FileNotFoundError:
                return 0

    def adopt(self, tenant: TenantId, session: SessionId, *, wrapped: bytes, kek_id: str) -> None:
        """Keep a wrapped key of an earlier version as it is."""
        path = self._path(tenant, session)
        with _reached(), _opened(path, is_made=True) as file:
            content = _read_all(file)
            if not _is_whole(content) and content != _DESTROYED:
                _overwrite(file, kek_id.encode() + wrapped)
                _sync_directory(path.parent)

    def add_kek(self, kek: bytes | None = None) -> str:
        """Begin to wrap under a key-encryption key, a new one if none is given; returns its id."""
        kek = secrets.token_bytes(KEY_BYTES) if kek is None else kek
        kek_id = _kek_id(kek)
        with _reached():
            number = 1 + max((int(path.stem.partition("-")[0]) for path in self._keks()), default=0)
            path = self._directory / _KEK / f"{number:08d}-{kek_id}.key"
            with _opened(path, is_made=True) as file:
                _overwrite(file, kek.hex().encode())
            _sync_directory(path.parent)
        return kek_id

    def has_kek(self) -> bool:
        """Say whether there is a key-encryption key."""
        return bool(self._keks())

    def rotate(self) -> int:
        """Wrap every key under a new key-encryption key, then destroy the old ones; returns how many keys there are.

        May be cut short at any moment; the next call does it all.

        Raises:
            CustodyError: the keys cannot be reached, or another process is at it.
        """
        alone = self._directory / _KEK / "rotation.lock"
        # two at once would each wrap under what the other is about to destroy
        with _reached(), _opened(alone, is_made=True, waits=False):
            old = self._keks()
            current = self.add_kek()
            kept = self._rewrap_all(current, is_forced=False)
            for path in old:
                self._destroy_kek(path, current)
        return kept

    def forget_destroyed(self, *, before_s: float) -> int:
        """Remove what tells of keys that were destroyed before a time (POSIX seconds); returns how many there were."""
        gone = 0
        with _reached():
            for path in self._key_files():
                if path.stat().st_mtime < before_s and _read_locked(path) == _DESTROYED:
                    path.unlink(missing_ok=True)
                    gone += 1
        return gone

    def _rewrap_all(self, current: str, *, is_forced: bool) -> int:
        """Wrap every key under one key-encryption key, and force them to disk; returns how many there are."""
        keks = {path.stem.partition("-")[2]: _parse_kek(path.read_bytes()) for path in self._keks()}
        kept = sum(_rewrap(path, keks, current) for path in self._key_files())
        if is_forced and hasattr(os, "sync"):
            os.sync()
        return kept

    def _destroy_kek(self, path: Path, current: str) -> None:
        """Destroy a key-encryption key; one that somebody wraps under just now waits for the next rotation."""
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _opened(path, waits=False) as file:
            # nobody can begin to wrap under it while we hold it; whoever did since the first round is done
            self._rewrap_all(current, is_forced=True)
            _overwrite(file, bytes(2 * KEY_BYTES))
            path.unlink()
            _sync_directory(path.parent)

    def _unwrap(self, tenant: TenantId, session: SessionId, content: bytes) -> bytes:
        kek_id = content[:_ID_CHARS].decode("ascii", "replace")
        for path in self._keks():
            if path.stem.endswith(f"-{kek_id}"):
                with contextlib.suppress(FileNotFoundError):
                    return _unwrap(_parse_kek(path.read_bytes()), content, tenant, session)
        raise CustodyError("the data key was wrapped under another key-encryption key")

    @contextlib.contextmanager
    def _current_kek(self) -> Iterator[tuple[str, bytes]]:
        """Hold the newest key-encryption key, so that it is not destroyed before what it wraps is in its place."""
        with contextlib.ExitStack() as stack:
            while True:
                keks = self._keks()
                if not keks:
                    raise CustodyError(f"{self._directory / _KEK} holds no key: run `countenance init` first")
                with contextlib.suppress(FileNotFoundError):
                    file = stack.enter_context(_opened(keks[-1], is_shared=True))
                    break
            kek = _parse_kek(_read_all(file))
            yield _kek_id(kek), kek

    def _keks(self) -> list[Path]:
        return sorted((self._directory / _KEK).glob("*-*.key"))

    def _key_files(self) -> Iterator[Path]:
        return (path for path in self._directory.glob("*/*.key") if path.parent.name != _KEK)

    def _path(self, tenant: TenantId, session: SessionId) -> Path:
        return self._directory / tenant.hex / f"{session.hex}.key"


def prepare_keys(directory: Path, *, former_kek: Path | None = None) -> list[str]:
    """Make the directory with a key-encryption key if there is none.

    Args:
        directory: of the keys.
        former_kek: file in which earlier versions kept the one key-encryption key; it is taken over, then destroyed.

    Returns:
        What was made now, for a person.

    Raises:
        CustodyError: the directory cannot be written, or the former key is damaged.
    """
    custody = FileKeyCustody(directory)
    if custody.has_kek():
        return []
    with _reached():
        if former_kek is None or not former_kek.exists():
            custody.add_kek()
            return [f"{directory.name}/kek"]
        custody.add_kek(_parse_kek(former_kek.read_bytes().strip()))
        # a secret that is mounted cannot be destroyed from here
        with contextlib.suppress(OSError), _opened(former_kek) as file:
            _overwrite(file, bytes(2 * KEY_BYTES))
            former_kek.unlink()
    return [f"{directory.name}/kek from {former_kek.name}"]


def _rewrap(path: Path, keks: Mapping[str, bytes], current: str) -> bool:
    """Wrap one file's key under another key-encryption key; says whether there is one."""
    try:
        tenant, session = TenantId(UUID(path.parent.name)), SessionId(UUID(path.stem))
        with _opened(path) as file:
            content = _read_all(file)
            if not _is_whole(content):
                return False
            kek_id = content[:_ID_CHARS].decode("ascii", "replace")
            if kek_id != current and kek_id in keks:
                key = _unwrap(keks[kek_id], content, tenant, session)
                wrapped = wrap_key(keks[current], key, _aad(tenant, session, current))
                # of the same length, within one sector: all of it is written or nothing
                _write(file, current.encode() + wrapped)
            return True
    except (FileNotFoundError, ValueError, CustodyError):
        return False


def _unwrap(kek: bytes, content: bytes, tenant: TenantId, session: SessionId) -> bytes:
    kek_id = content[:_ID_CHARS].decode("ascii", "replace")
    try:
        return unwrap_key(kek, content[_ID_CHARS:], _aad(tenant, session, kek_id))
    except OpeningError:
        raise CustodyError("the data key does not unwrap") from None


def _aad(tenant: TenantId, session: SessionId, kek_id: str) -> bytes:
    return tenant.bytes + session.bytes + kek_id.encode()


def _kek_id(kek: bytes) -> str:
    return hashlib.sha256(_ID_LABEL + kek).hexdigest()[:_ID_CHARS]


def _parse_kek(text: bytes) -> bytes:
    try:
        kek = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        kek = b""
    if len(kek) != KEY_BYTES:
        raise CustodyError("a key-encryption key is damaged")
    return kek


def _is_whole(content: bytes) -> bool:
    return len(content) == _ID_CHARS + WRAPPED_BYTES


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CustodyError(f"the keys cannot be reached ({error.strerror})") from None


@contextlib.contextmanager
def _opened(
    path: Path, *, is_made: bool = False, is_shared: bool = False, waits: bool = True
) -> Iterator[int]:
    """Open a file and hold its lock; raises `FileNotFoundError` where it went meanwhile."""
    if is_made:
        for directory in (path.parent.parent, path.parent):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = (os.O_RDONLY if is_shared else os.O_RDWR) | (os.O_CREAT if is_made else 0)
    file = os.open(path, flags, 0o600)
    try:
        _lock(file, is_shared=is_shared, waits=waits)
        if os.fstat(file).st_ino != path.stat().st_ino:
            raise FileNotFoundError(errno.ENOENT, "replaced meanwhile")
        yield file
    finally:
        os.close(file)


def _lock(file: int, *, is_shared: bool, waits: bool) -> None:
    if os.name == "nt":
        return
    import fcntl

    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    fcntl.flock(file, kind | (0 if waits else fcntl.LOCK_NB))


def _read_all(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 4_096)


def _read_locked(path: Path) -> bytes:
    with _opened(path, is_shared=True) as file:
        return _read_all(file)


def _write(file: int, content: bytes) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, content)


def _overwrite(file: int, content: bytes) -> None:
    """Replace what a file holds, on the disk as well, before its length changes."""
    size = os.fstat(file).st_size
    _write(file, content.ljust(size, b"\0"))
    os.fsync(file)
    if size > len(content):
        os.ftruncate(file, len(content))
        os.fsync(file)


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":
        return
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
