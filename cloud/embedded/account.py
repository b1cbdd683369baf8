"""The system account that PostgreSQL runs under when this process is root, which the server refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from cloud.errors import StoreError

_CANDIDATES = ("postgres", "nobody")
_FALLBACK_ROOT = Path("/var/lib/countenance")
_BELONGS_TO = "belongs-to"
_MOUNTS = Path("/proc/self/mountinfo")


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

    Raises:
        StoreError: there is data below /var/lib already, of a state directory that may only not be mounted now.
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
        if not marker.exists() and chosen.parent.exists():
            _remove_abandoned(chosen.parent)
        _sweep(_FALLBACK_ROOT)
        chosen.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        marker.write_text(f"{chosen}\n")
        (chosen.parent / _BELONGS_TO).write_text(json.dumps(_whereabouts(marker.resolve())))
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


def _remove_abandoned(home: Path) -> None:
    """Remove data whose state directory was removed and made again: it must not meet its old database."""
    if not _is_abandoned(home):
        raise StoreError(
            f"{home} holds the database of a state directory of this name, which is empty now: mount the disk that "
            f"it is on, or remove {home} if it is gone for good"
        )
    shutil.rmtree(home, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove data whose state directory is gone for good, unless a server still runs on it."""
    for belongs_to in root.glob(f"*/{_BELONGS_TO}"):
        home = belongs_to.parent
        if _is_abandoned(home) and not any(
            (data / "postmaster.pid").exists() for data in home.glob("*/data")
        ):
            shutil.rmtree(home, ignore_errors=True)


def _is_abandoned(home: Path) -> bool:
    """Say whether the state directory of this data was removed; a disk that is away removes nothing.

    The marker is gone for good only if what is mounted where it was is what was mounted when it was written.
    Data of earlier versions does not say what that was, and is kept.
    """
    try:
        was = json.loads((home / _BELONGS_TO).read_text())
        marker = Path(was["marker"])
        return not marker.exists() and _whereabouts(marker) == was
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _whereabouts(marker: Path) -> dict[str, str | int]:
    """Describe a marker by its path and by the file system that is mounted there now."""
    mount = _mount_of(marker)
    facts = mount.stat()
    return {"marker": str(marker), "mount": str(mount), "device": facts.st_dev, "inode": facts.st_ino}


def _mount_of(path: Path) -> Path:
    """Find the mount point above a path; bind mounts, too, are seen where Linux lists them."""
    try:
        lines = _MOUNTS.read_text().splitlines()
        mounts = {Path(line.split()[4].encode().decode("unicode_escape")) for line in lines}
    except (OSError, IndexError, ValueError):
        mounts = set()
    return next(step for step in path.parents if step in mounts or step.is_mount() or step == step.parent)


def _is_passable(path: Path) -> bool:
    """Say whether everybody may pass through a directory and all above it."""
    return all(step.stat().st_mode & 0o001 for step in [path.resolve(), *path.resolve().parents])
