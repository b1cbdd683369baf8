"""Keep the device key and the receipt between `consent` and `run`.

The device key goes to the operating system's keyring where there is one and no home directory was
named, else to a file that only its owner may read. The receipt is no secret and always a file. Neither
is ever a face.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from uuid import UUID

import platformdirs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import CredentialError

SERVICE = "countenance-agent"


class CredentialStore:
    """Device keys and receipts by session.

    Args:
        home: directory to use; None takes the user's own state directory and tries the keyring.
    """

    def __init__(self, home: Path | None) -> None:
        self._home = home or Path(platformdirs.user_state_dir("countenance-agent", appauthor=False))
        self._use_keyring = home is None

    @property
    def home(self) -> Path:
        """The directory; made on first write."""
        return self._home

    def device_key(self, session: UUID) -> Ed25519PrivateKey | None:
        """Return the device key of a session, None if there is none.

        Raises:
            CredentialError: it cannot be read.
        """
        text = _keyring_get(session) if self._use_keyring else None
        if text is None:
            text = self._read(f"{session.hex}.key")
        if text is None:
            return None
        try:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip()))
        except ValueError:
            raise CredentialError(
                "the stored device key is damaged; withdraw, and ask for a new invitation"
            ) from None

    def new_device_key(self, session: UUID) -> Ed25519PrivateKey:
        """Make and store a device key for a session; an older one is replaced.

        Raises:
            CredentialError: it cannot be stored.
        """
        key = Ed25519PrivateKey.generate()
        text = key.private_bytes_raw().hex()
        if self._use_keyring and _keyring_set(session, text):
            self._remove(f"{session.hex}.key")
            return key
        self._write(f"{session.hex}.key", text)
        return key

    def receipt(self, session: UUID) -> str | None:
        """Return the stored receipt, None if there is none."""
        return self._read(f"{session.hex}.receipt")

    def store_receipt(self, session: UUID, receipt: str) -> None:
        """Store a receipt.

        Raises:
            CredentialError: it cannot be stored.
        """
        self._write(f"{session.hex}.receipt", receipt)

    def last_epoch(self, session: UUID) -> int:
        """Return the largest epoch that this session ever used here, 0 if none."""
        text = self._read(f"{session.hex}.epoch") or "0"
        return int(text) if text.isdecimal() else 0

    def store_epoch(self, session: UUID, epoch: int) -> None:
        """Write an epoch down before it is used.

        Raises:
            CredentialError: it cannot be stored.
        """
        self._write(f"{session.hex}.epoch", str(epoch))

    def has_begun(self, session: UUID) -> bool:
        """Tell whether frames of this session were captured here before."""
        return self._read(f"{session.hex}.begun") is not None

    def store_begun(self, session: UUID) -> None:
        """Note that frames of this session are captured from now on.

        Raises:
            CredentialError: it cannot be stored.
        """
        self._write(f"{session.hex}.begun", "1")

    def has_withdrawn(self, session: UUID) -> bool:
        """Tell whether consent to this session was withdrawn here; cheap, to be asked often."""
        return (self._home / f"{session.hex}.withdrawn").exists()

    def store_deletion(self, session: UUID, receipt: str) -> Path:
        """Keep the signed receipt of a deletion and return its file.

        Raises:
            CredentialError: it cannot be stored.
        """
        self._write(f"{session.hex}.deletion", receipt)
        return self._home / f"{session.hex}.deletion"

    def forget(self, session: UUID) -> None:
        """Remove receipt and device key: after a withdrawal nothing of this session can be sealed again.

        A running agent finds the mark that is left, and stops without anybody's word.
        """
        with contextlib.suppress(CredentialError):
            self._write(f"{session.hex}.withdrawn", "1")
        if self._use_keyring:
            _keyring_delete(session)
        self._remove(f"{session.hex}.key")
        self._remove(f"{session.hex}.receipt")

    def _read(self, name: str) -> str | None:
        try:
            return (self._home / name).read_text("ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialError(
                f"{name.partition('.')[2]} cannot be read: {type(error).__name__}"
            ) from None

    def _write(self, name: str, text: str) -> None:
        path = self._home / name
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                path.with_suffix(path.suffix + ".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
            )
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            path.with_suffix(path.suffix + ".new").replace(path)
        except OSError as error:
            raise CredentialError(f"nothing can be stored in the agent's home: {error.strerror}") from None

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._home / name).unlink()


def _keyring_get(session: UUID) -> str | None:
    try:
        import keyring

        return keyring.get_password(SERVICE, session.hex)
    except Exception:
        # Keyring backends raise whatever their desktop raises; a file serves instead.
        return None


def _keyring_set(session: UUID, text: str) -> bool:
    try:
        import keyring

        if keyring.get_keyring().priority < 1:
            return False
        keyring.set_password(SERVICE, session.hex, text)
        return keyring.get_password(SERVICE, session.hex) == text
    except Exception:
        # As above.
        return False


def _keyring_delete(session: UUID) -> None:
    with contextlib.suppress(Exception):
        import keyring

        keyring.delete_password(SERVICE, session.hex)
