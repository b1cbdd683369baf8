"""Errors of the `cloud` package.

CloudError
├── ConfigError         a setting is missing, malformed or out of range
├── EntryError          bytes of a stream entry do not decode
├── AdmissionError      a session is refused at signalling (carries an HTTP-like code)
├── StoreError          PostgreSQL cannot be reached or refuses
│   └── BusyError       another transaction holds a lock for longer than this one may wait
├── StreamError         Redis cannot be reached or refuses
│   └── UnmarkedError   listeners were told of a revocation, but Redis has no room to remember it
├── LeaseLostError      another worker holds this shard now; the transaction was rolled back
├── DemoError           the demonstration or a benchmark cannot go on
├── NotFoundError       no such row for this tenant
├── ConflictError       the row's state does not allow this change
│   └── DeviceBoundError  the session's consent was given on another device
└── CustodyError        a data key does not unwrap, or what it sealed does not open
    └── KeyDestroyedError   the session's data key was destroyed, and it gets no other
"""


class CloudError(Exception):
    """Anything that `cloud` refuses."""


class ConfigError(CloudError):
    """A setting is missing, malformed or out of range."""


class EntryError(CloudError):
    """Bytes of a stream entry do not decode."""


class AdmissionError(CloudError):
    """A session is refused at signalling.

    Attributes:
        code: as in HTTP (401, 403, 409, 410, 422, 503).
        reason: for the agent's user; no personal data.
        retry_after_ms: when to try again, 0 for never.
    """

    def __init__(self, code: int, reason: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.retry_after_ms = retry_after_ms


class StoreError(CloudError):
    """PostgreSQL cannot be reached or refuses."""


class BusyError(StoreError):
    """Another transaction holds a lock for longer than this one may wait."""


class StreamError(CloudError):
    """Redis cannot be reached or refuses."""


class UnmarkedError(StreamError):
    """Listeners were told of a revocation, but Redis has no room to remember it."""


class LeaseLostError(CloudError):
    """Another worker holds this shard now; the transaction was rolled back."""


class NotFoundError(CloudError):
    """No such row for this tenant."""


class DemoError(CloudError):
    """The demonstration or a benchmark cannot go on."""


class ConflictError(CloudError):
    """The row's state does not allow this change."""


class DeviceBoundError(ConflictError):
    """The session's consent was given on another device."""


class CustodyError(CloudError):
    """A data key does not unwrap, or what it sealed does not open."""


class KeyDestroyedError(CustodyError):
    """The session's data key was destroyed, and it gets no other."""
