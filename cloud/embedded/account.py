"""The system account that PostgreSQL runs under when this process is root, which the server refuses."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from cloud.errors import StoreError

_CANDIDATES = ("postgres", "nobody")
_FALLBACK_ROOT = Path("/var/lib/countenance")
_BELONGS_TO = "belongs-to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An unprivileged account; `None` in place of one means: run as whoever we are."""

    user_id: int
    group_id: int


def choose_account(data_directory: Path) -> Account | None:
    """Pick who runs the server: nobody special unless we are root.

    Args:
        data_directory: an existing one keeps its owner.

    Raises:
        StoreError: we are root and the machine has no unprivileged account.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    import pwd

    if data_directory.exists() and data_directory.stat().st_uid != 0:
        owner = data_directory.stat()
        return Account(user_id=owner.st_uid, group_id=owner.st_gid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(user_id=entry.pw_uid, group_id=entry.pw_gid)
    raise StoreError("PostgreSQL does not run as root, and there is no account named postgres or nobody")


def reachable_directory(wanted: Path, account: Account | None) -> Path:
    """Make a directory that the account can reach, and return where it is.

    The parent (the state directory) is opened for passing through, not for listing. Where something
    above it is closed, as /root is, the data goes below /var/lib under a name derived from `wanted`.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is None:
        wanted.mkdir(exist_ok=True, mode=0o700)
        return wanted
    if _is_passable(wanted.parent.parent):
        wanted.parent.chmod(stat.S_IMODE(wanted.parent.stat().st_mode) | 0o011)
        chosen = wanted
    else:
        name = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
        chosen = _FALLBACK_ROOT / name / wanted.name
        marker = wanted.with_name(wanted.name + ".location")
        if not marker.exists():
            # a state directory that was removed and made again must not meet its old database
            shutil.rmtree(chosen.parent, ignore_errors=True)
        _sweep(_FALLBACK_ROOT)
        chosen.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        marker.write_text(f"{chosen}\n")
        (chosen.parent / _BELONGS_TO).write_text(str(marker.resolve()))
    chosen.mkdir(exist_ok=True, mode=0o700)
    os.chown(chosen, account.user_id, account.group_id)
    return chosen


def reachable_binaries(installed: Path, account: Account | None, *, copy_to: Path) -> Path:
    """Return a PostgreSQL installation that the account can run, copying it where it cannot.

    Args:
        installed: root of the installation, with bin, lib and share.
        account: who will run it.
        copy_to: where a copy goes, inside a directory that the account can reach.
    """
    if account is None or _is_passable(installed / "bin"):
        return installed
    if not (copy_to / "bin" / "postgres").exists():
        partial = copy_to.with_name(copy_to.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(installed, partial, ignore=shutil.ignore_patterns("include"))
        for path in [partial, *partial.rglob("*")]:
            os.chown(path, account.user_id, account.group_id)
        partial.rename(copy_to)
    return copy_to


def _sweep(root: Path) -> None:
    """Remove data whose state directory is gone, unless a server still runs on it."""
    for belongs_to in root.glob(f"*/{_BELONGS_TO}"):
        home = belongs_to.parent
        if Path(belongs_to.read_text()).exists():
            continue
        if not any((data / "postmaster.pid").exists() for data in home.glob("*/data")):
            shutil.rmtree(home, ignore_errors=True)


def _is_passable(path: Path) -> bool:
    """Say whether everybody may pass through a directory and all above it."""
    return all(step.stat().st_mode & 0o001 for step in [path.resolve(), *path.resolve().parents])
