"""Errors of the `edge_agent` package.

AgentError
├── SettingError           a setting or flag is out of its range
├── CameraError            the camera or file cannot be opened or read
│   └── CameraLostError    it could be opened, then stopped giving frames
├── FrameError             a picture has another shape or dtype than documented
├── DetectorError          no detector variant can be loaded, or none passes its self-test
├── ConsentMissingError    no valid signed receipt: the camera stays closed
├── InviteError            the invitation link is malformed or refused
├── PlatformError          the platform refuses, or does not answer
│   └── PlatformAwayError  it does not answer at the moment; trying again makes sense
├── RevokedError           the session was ended from the other side
└── CredentialError        the receipt or the device key cannot be stored or read
"""


class AgentError(Exception):
    """Anything that the agent reports to its viewer; the message is safe to show."""


class SettingError(AgentError):
    """A setting or flag is out of its range."""


class CameraError(AgentError):
    """The camera or file cannot be opened or read."""


class CameraLostError(CameraError):
    """The camera or file could be opened, then stopped giving frames."""


class FrameError(AgentError):
    """A picture has another shape or dtype than documented."""


class DetectorError(AgentError):
    """No detector variant can be loaded, or none passes its self-test."""


class ConsentMissingError(AgentError):
    """There is no valid signed receipt, so the camera stays closed."""


class InviteError(AgentError):
    """The invitation link is malformed or refused."""


class PlatformError(AgentError):
    """The platform refuses, or does not answer.

    Attributes:
        status: HTTP-like status, 0 where there was no answer.
        retry_after_ms: how long the platform asked to wait, in milliseconds.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_ms = retry_after_ms


class PlatformAwayError(PlatformError):
    """The platform does not answer at the moment; trying again makes sense."""


class RevokedError(AgentError):
    """The session was ended from the other side."""


class CredentialError(AgentError):
    """The receipt or the device key cannot be stored or read."""
