"""The API on a real PostgreSQL and Redis, asked in process, with a clock that tests can turn."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from privacy.crypto.jws import canonical_json
from tests.fixtures_postgres import Database

ADMIN = "an-admin-token-of-enough-characters-for-tests"


@dataclass
class Clock:
    # A little ahead: the pool key is made by the real clock, after this one was set.
    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=1))

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Studio:
    """One studio's way to the API."""

    client: httpx.AsyncClient
    tenant: str
    key: str

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"}
        return await self.client.request(method, path, json=body, headers=headers)

    async def make(self, path: str, body: Any = None) -> dict[str, Any]:
        answer = await self.ask("POST", path, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def launched_study(self, *, jurisdictions: tuple[str, ...] = ("DE", "US-CA")) -> dict[str, Any]:
        title = await self.make("/v1/titles", {"name": "Harbour Lights", "duration_ms": 10_000})
        study = await self.make(
            "/v1/studies",
            {
                "name": "First cut",
                "title_id": title["title_id"],
                "context": "home",
                "jurisdictions": list(jurisdictions),
            },
        )
        await self.make(f"/v1/studies/{study['study_id']}/dpia", {"version": "1", "approved_by": "dpo"})
        return await self.make(f"/v1/studies/{study['study_id']}/launch")

    async def invite(self, *, viewer: str = "viewer-1", study: dict[str, Any] | None = None) -> Viewer:
        study = study or await self.launched_study()
        person = await self.make("/v1/viewers", {"pseudonym": viewer})
        made = await self.make(
            "/v1/sessions",
            {"study_id": study["study_id"], "viewer_id": person["viewer_id"], "jurisdiction": "DE"},
        )
        return Viewer(client=self.client, session=made["session_id"], token=made["invite"].partition("#")[2])


@dataclass
class Viewer:
    """One viewer's agent."""

    client: httpx.AsyncClient
    session: str
    token: str
    device: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    async def ask(self, method: str, path: str = "", body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.client.request(method, f"/v1/join{path}", json=body, headers=headers)

    async def read_notice(self) -> dict[str, Any]:
        answer = await self.ask("GET")
        assert answer.status_code == 200, answer.text
        notice: dict[str, Any] = answer.json()["notice"]
        stored = await self.ask("POST", "/notice", {"sha256": notice["sha256"], "locale": notice["locale"]})
        assert stored.status_code == 201, stored.text
        return notice

    def consent_body(self, notice_sha256: str, **changes: Any) -> dict[str, Any]:
        raw = self.device.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        body: dict[str, Any] = {
            "purposes": ["capture", "cloud_scoring"],
            "opted_out": ["sad"],
            "notice_sha256": notice_sha256,
            "device_public_key": base64.b64encode(raw).decode(),
            "adult": True,
            **changes,
        }
        signature = self.device.sign(canonical_json(body))
        return {**body, "device_signature": base64.b64encode(signature).decode()}

    async def consent(self, **changes: Any) -> dict[str, Any]:
        notice = await self.read_notice()
        answer = await self.ask("POST", "/consent", self.consent_body(notice["sha256"], **changes))
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]


def state_with_admin_token(directory: Path) -> Path:
    from cloud.keys.platform_keys import init_state

    state = directory / "state"
    state.mkdir(mode=0o700)
    (state / "admin.token").write_text(ADMIN)
    init_state(state)
    return state


def problem(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code and body["detail"]
    return str(body["type"]).rpartition(":")[2]


def signing_key(joined: dict[str, Any]) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(joined["signing_public_key"]))


async def rows(database: Database, tenant: str, query: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, false)", (tenant,))
        return await (await connection.execute(query.encode())).fetchall()


def matrix(session: str, study: str, title: str) -> list[tuple[str, str, Any, str]]:
    """Every studio endpoint: method, path, body, the scope it needs."""
    return [
        ("POST", "/v1/keys", {"role": "analyst"}, "keys:write"),
        ("DELETE", f"/v1/keys/{uuid4()}", None, "keys:write"),
        ("POST", "/v1/titles", {"name": "t", "duration_ms": 1}, "studies:write"),
        ("GET", "/v1/titles", None, "studies:read"),
        ("GET", f"/v1/titles/{title}", None, "studies:read"),
        (
            "POST",
            "/v1/studies",
            {"name": "s", "title_id": title, "context": "home", "jurisdictions": ["DE"]},
            "studies:write",
        ),
        ("GET", "/v1/studies", None, "studies:read"),
        ("GET", f"/v1/studies/{study}", None, "studies:read"),
        ("POST", f"/v1/studies/{study}/dpia", {"version": "2", "approved_by": "dpo"}, "studies:approve"),
        ("POST", f"/v1/studies/{study}/launch", None, "studies:write"),
        ("POST", "/v1/viewers", {"pseudonym": "p"}, "sessions:write"),
        ("GET", "/v1/viewers", None, "results:read"),
        (
            "POST",
            "/v1/sessions",
            {"study_id": study, "viewer_id": str(uuid4()), "jurisdiction": "DE"},
            "sessions:write",
        ),
        ("GET", "/v1/sessions", None, "results:read"),
        ("GET", f"/v1/sessions/{session}", None, "results:read"),
        ("GET", f"/v1/sessions/{session}/timeline", None, "results:read"),
        ("GET", f"/v1/sessions/{session}/timeline?resolution=frame&format=csv", None, "results:read"),
        ("GET", f"/v1/sessions/{session}/summary", None, "results:read"),
        ("GET", f"/v1/sessions/{session}/report", None, "results:read"),
        ("GET", f"/v1/models/{'0' * 64}", None, "results:read"),
        ("GET", f"/v1/sessions/{session}/consents", None, "sessions:erase"),
        ("GET", f"/v1/sessions/{session}/deletion-receipts", None, "sessions:erase"),
        ("POST", f"/v1/sessions/{session}/erase", None, "sessions:erase"),
    ]
