"""Free loopback ports, with a lock that lets one supervisor own a directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cloud.errors import StoreError


def free_port() -> int:
    """Find a loopback TCP port that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DirectoryLock:
    """Held while this process owns a directory; the system drops it when the process dies.

    Raises:
        StoreError: another living process holds it.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "supervisor.lock"
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._file)
        except OSError:
            os.close(self._file)
            self._file = None
            raise StoreError(f"another supervisor uses {directory}: stop it first") from None

    def release(self) -> None:
        """Give the directory back; safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lock(file: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
