"""Errors of the `privacy` package.

PrivacyError
├── WireError                  bytes or messages from outside that are refused
│   ├── EnvelopeError          an envelope's layout or a header field is refused
│   ├── PayloadError           the opened plaintext's layout is refused
│   │   └── ContentError       its content is not the plain picture, or the scores, that the header says
│   ├── MessageError           a control, signalling or setup message is refused
│   └── ReplayError            a counter was seen before, or lies behind the window
├── SealingError               a crop cannot be sealed (epoch exhausted, too large)
├── OpeningError               a sealed crop, session setup or record at rest does not open
├── KeyringError               a key is unknown, expired or malformed
├── SignatureError             a signed document is malformed or not signed by the key named
├── ReceiptError               a consent receipt is malformed, forged, expired or not for this
├── TicketError                a session ticket is malformed, forged or expired
├── ErasureError               an erasure is incomplete, or its receipt does not verify
├── ConsentError               a consent transition is not allowed
├── PolicyError                the retention policy is malformed
└── AuditError                 an audit log or proof does not verify
"""


class PrivacyError(Exception):
    """Anything that `privacy` refuses."""


class WireError(PrivacyError):
    """Bytes or messages from outside are refused."""


class EnvelopeError(WireError):
    """An envelope's layout or a header field is refused."""


class PayloadError(WireError):
    """The opened plaintext's layout is refused."""


class ContentError(PayloadError):
    """The opened content is not the plain picture, or the scores, that its header says."""


class MessageError(WireError):
    """A control, signalling or setup message is refused."""


class ReplayError(WireError):
    """A counter was seen before, or lies behind the window."""


class SealingError(PrivacyError):
    """A crop cannot be sealed."""


class OpeningError(PrivacyError):
    """A sealed crop, a session setup or a record at rest does not open."""


class KeyringError(PrivacyError):
    """A key is unknown, expired or malformed."""


class SignatureError(PrivacyError):
    """A signed document is malformed or not signed by the key named."""


class ReceiptError(PrivacyError):
    """A consent receipt is malformed, forged, expired or not meant for this use."""


class TicketError(PrivacyError):
    """A session ticket is malformed, forged or expired."""


class ErasureError(PrivacyError):
    """An erasure is incomplete, or its receipt does not verify."""


class ConsentError(PrivacyError):
    """A consent transition is not allowed."""


class PolicyError(PrivacyError):
    """The retention policy is malformed."""


class AuditError(PrivacyError):
    """An audit log or a proof does not verify."""
