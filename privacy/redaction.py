"""Values whose `repr` hides content, and the log filter that drops what must not be logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")

HIDDEN = "[redacted]"
_DEPTH_MAX = 4
_SECRET_NAMES = frozenset(
    [
        "authorization",
        "content",
        "cookie",
        "crop",
        "embedding",
        "envelope",
        "face_crop",
        "ip",
        "ip_address",
        "address",
        "remote_address",
        "client_address",
        "peer_address",
        "candidate",
        "user_agent",
        "image",
        "invite",
        "jws",
        "kek",
        "key",
        "password",
        "payload",
        "pixels",
        "private",
        "receipt",
        "receipt_jws",
        "sdp",
        "secret",
        "setup",
        "signature",
        "ticket",
        "token",
    ]
)
_SECRET_PARTS = ("password", "secret", "token", "private_key", "api_key", "_jws", "email")
_SAFE_SUFFIXES = ("_bytes", "_count", "_id", "_px", "_ms", "_us", "_s", "_sha256")
_SECRET_TEXTS = re.compile(
    r"""
    eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+)?   # a JWS
    | \bcnt_[0-9a-f]{32}_[0-9a-f]{8,}_[A-Za-z0-9_-]+              # an API key
    | \b[0-9a-f]{32}\.[0-9a-f]{32}\.[A-Za-z0-9_-]+                # a join token
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)                             # credentials in a URL
    | \bv=0\r?\n[\s\S]*                                           # an SDP body
    | \bcandidate:\S+\ [\s\S]*                                    # an ICE candidate with its address
    | -----BEGIN[\s\S]*                                           # a PEM key
    """,
    re.VERBOSE,
)


class Secret(Generic[T]):
    """Holds a value that no `repr`, `str`, format or pickle shows; `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Give the value to the one caller that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret([redacted])"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret cannot be copied or pickled")


def redact_event(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop or hide whatever could carry a face, a key or a token; a structlog processor.

    Bytes become their length, secret names become `[redacted]`, and known secret shapes are cut out
    of texts.
    """
    for name, value in event_dict.items():
        event_dict[name] = redact_value(value, name=name)
    return event_dict


def redact_value(value: object, *, name: str = "", depth: int = 0) -> object:
    """Give a value that may be logged under this name."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if is_secret_name(name):
        return HIDDEN
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _SECRET_TEXTS.sub(HIDDEN, value)
    if hasattr(value, "__array_interface__"):
        return f"<array of shape {getattr(value, 'shape', '?')}>"
    if depth >= _DEPTH_MAX:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {str(k): redact_value(v, name=str(k), depth=depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth=depth + 1) for item in value]
    return _SECRET_TEXTS.sub(HIDDEN, str(value))


def is_secret_name(name: str) -> bool:
    """Say whether whatever stands under this name is hidden."""
    lowered = name.lower()
    if lowered in _SECRET_NAMES:
        return True
    return any(part in lowered for part in _SECRET_PARTS) and not lowered.endswith(_SAFE_SUFFIXES)
