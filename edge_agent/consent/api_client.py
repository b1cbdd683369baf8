"""Talk to the platform's join routes over HTTP."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from edge_agent.config import ICE_URL_PATTERN
from edge_agent.consent.consenting import JoinInfo
from edge_agent.errors import PlatformAwayError, PlatformError
from edge_agent.invite import Invite

TIMEOUT_S = 10.0
RESPONSE_MAX_BYTES = 262_144

T = TypeVar("T")


class IceServer(msgspec.Struct, frozen=True, kw_only=True):
    """A STUN or TURN server for one connection; user name and credential are empty for STUN."""

    url: Annotated[str, msgspec.Meta(pattern=ICE_URL_PATTERN, max_length=256)]
    username: Annotated[str, msgspec.Meta(max_length=256)] = ""
    credential: Annotated[str, msgspec.Meta(max_length=256)] = ""

    def __repr__(self) -> str:
        return f"IceServer({self.url!r})"


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The right to one signalling exchange; a platform that names no minor version speaks 0 (protocol rule S14)."""

    ticket: str
    ingest_url: str
    ice_servers: Annotated[tuple[IceServer, ...], msgspec.Meta(max_length=8)] = ()
    protocol_minor: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __repr__(self) -> str:
        return f"Ticket(ingest_url={self.ingest_url!r})"


class _Receipt(msgspec.Struct, frozen=True, kw_only=True):
    receipt: str


class _Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    record: str = "done"
    """An earlier version of the platform says nothing of it, and answers once it is done."""


class _Deletion(msgspec.Struct, frozen=True, kw_only=True):
    receipt: str | None = None


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    signing_public_key: str


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    title: str = ""
    detail: object = ""


class ApiClient:
    """The join routes, for one invitation; blocking, one connection per call."""

    def __init__(self, invite: Invite, *, timeout_s: float = TIMEOUT_S) -> None:
        self._invite = invite
        self._timeout_s = timeout_s

    def join(self, *, locale: str | None = None) -> JoinInfo:
        """Ask what this invitation is for.

        Raises:
            PlatformAwayError: no answer, or 5xx.
            PlatformError: refused, or the answer is malformed.
        """
        path = "/v1/join" if locale is None else f"/v1/join?locale={locale}"
        return _read(self._call("GET", path), JoinInfo)

    def notice_shown(self, *, sha256: str, locale: str) -> None:
        """Record that the notice was shown; raises as `join`."""
        self._call("POST", "/v1/join/notice", {"sha256": sha256, "locale": locale})

    def consent(self, body: Mapping[str, object]) -> str:
        """Give consent; return the signed receipt; raises as `join`."""
        return _read(self._call("POST", "/v1/join/consent", body), _Receipt).receipt

    def ticket(self, *, receipt_sha256: str) -> Ticket:
        """Get a session ticket; raises as `join`."""
        return _read(self._call("POST", "/v1/join/ticket", {"receipt_sha256": receipt_sha256}), Ticket)

    def withdraw(self) -> bool:
        """Withdraw consent for good; False while the platform has not written it down yet; raises as `join`."""
        said = _read(self._call("POST", "/v1/join/withdraw", {}), _Withdrawal)
        return said.record == "done"

    def deletion_receipt(self) -> str | None:
        """Get the signed receipt of this session's deletion, None while it is being deleted; raises as `join`."""
        return _read(self._call("GET", "/v1/join/deletion-receipt"), _Deletion).receipt

    def signing_public_key(self) -> str:
        """Get the key that signs receipts, in base64; raises as `join`."""
        return _read(self._call("GET", "/.well-known/countenance/keys"), _Keys).signing_public_key

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        invite = self._invite
        headers = {
            "Authorization": f"Bearer {invite.token}",
            "Accept": "application/json",
            "Connection": "close",
        }
        payload = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            payload = msgspec.json.encode(body)
        connection = self._connect()
        try:
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
            content = response.read(RESPONSE_MAX_BYTES + 1)
            retry_after = response.getheader("Retry-After") or "0"
        except (OSError, http.client.HTTPException) as error:
            raise PlatformAwayError(
                f"the platform at {invite.base_url} does not answer ({type(error).__name__})"
            ) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise _refusal(response.status, content, retry_after)
        if len(content) > RESPONSE_MAX_BYTES:
            raise PlatformError("the platform's answer is too long")
        return content

    def _connect(self) -> http.client.HTTPConnection:
        invite = self._invite
        if invite.is_secure:
            return http.client.HTTPSConnection(
                invite.host, invite.port, timeout=self._timeout_s, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(invite.host, invite.port, timeout=self._timeout_s)


def _refusal(status: int, content: bytes, retry_after: str) -> PlatformError:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
        detail = problem.detail if isinstance(problem.detail, str) else ""
        text = (detail or problem.title)[:200]
    except (msgspec.MsgspecError, ValueError):
        text = ""
    wait_ms = int(retry_after) * 1000 if retry_after.isdecimal() else 0
    message = f"the platform answered {status}" + (f": {text}" if text else "")
    if status >= 500 or status == 429:
        return PlatformAwayError(message, status=status, retry_after_ms=wait_ms)
    return PlatformError(message, status=status, retry_after_ms=wait_ms)


def _read(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError):
        raise PlatformError("the platform's answer is malformed") from None
