"""The API on real PostgreSQL and Redis."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from redis.asyncio import Redis

from cloud.api.app import create_app
from cloud.api.revoking import Revoker
from cloud.api.server import build_context, store_readiness
from cloud.config import Role, Settings, load_settings
from cloud.database.connection import Pool
from cloud.sessions.records import SessionState, StudyContext
from cloud.streams.redis_sessions import RedisRevocations
from cloud.web.middleware import BODY_MAX_BYTES
from privacy.crypto.keys import verify_bundle
from privacy.errors import ReceiptError, TicketError
from privacy.governance.receipts import verify_receipt
from privacy.governance.tickets import verify_ticket
from privacy.protocol.ids import SessionId, TenantId
from tests.fixtures_postgres import Database
from tests.integration.api_client import (
    ADMIN,
    Clock,
    Studio,
    Viewer,
    matrix,
    problem,
    rows,
    signing_key,
    state_with_admin_token,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(database: Database, redis_url: str, tmp_path: Path) -> Settings:
    return load_settings(
        Role.API,
        environ={},
        flags={
            "STATE_DIR": str(state_with_admin_token(tmp_path)),
            "DATABASE_URL": database.app_url,
            "REDIS_URL": redis_url,
            "CONTROLLER": "Lighthouse Pictures",
        },
    )


@pytest.fixture
def revoker(redis_client: Redis) -> Revoker:
    return Revoker(RedisRevocations(redis_client))


@pytest.fixture
async def client(
    settings: Settings, pool: Pool, redis_client: Redis, clock: Clock, revoker: Revoker
) -> AsyncIterator[httpx.AsyncClient]:
    context = build_context(settings, pool, revoker, readiness=store_readiness(pool, redis_client), now=clock)
    transport = httpx.ASGITransport(app=create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as opened:
        yield opened


async def register(client: httpx.AsyncClient, name: str = "Lighthouse") -> Studio:
    answer = await client.post("/v1/studios", json={"name": name}, headers={"X-Admin-Token": ADMIN})
    assert answer.status_code == 201, answer.text
    return Studio(client=client, tenant=answer.json()["tenant_id"], key=answer.json()["api_key"])


async def earlier_context(database: Database, tenant: str, context: str) -> None:
    """Change every study's context behind the constraint, as an earlier version would have stored it."""
    async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
        await owner.execute("SELECT set_config('app.tenant', %s, false)", (tenant,))
        row = await (
            await owner.execute(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'study_context_allowed'"
            )
        ).fetchone()
        assert row is not None and row[0].endswith("NOT VALID")
        await owner.execute("ALTER TABLE study DROP CONSTRAINT study_context_allowed")
        await owner.execute("UPDATE study SET context = %s", (context,))
        await owner.execute(f"ALTER TABLE study ADD CONSTRAINT study_context_allowed {row[0]}".encode())


@pytest.fixture
async def studio(client: httpx.AsyncClient) -> Studio:
    return await register(client)


class TestStudios:
    async def test_only_the_admin_token_registers_studios(self, client: httpx.AsyncClient) -> None:
        for token in ("", "wrong", ADMIN[:-1], ADMIN + "x"):
            answer = await client.post("/v1/studios", json={"name": "x"}, headers={"X-Admin-Token": token})
            assert answer.status_code == 401 and problem(answer) == "unauthorised"

    async def test_the_secret_of_a_key_is_not_stored(self, studio: Studio, database: Database) -> None:
        secret = studio.key.split("_", 3)[3]
        (stored,) = (await rows(database, studio.tenant, "SELECT hash, role FROM api_key"))[0:1]
        assert bytes(stored[0]) == hashlib.sha256(secret.encode()).digest()
        assert stored[1] == "admin"

    @pytest.mark.parametrize("change", ["secret", "key", "tenant", "prefix", "empty", "other-kind"])
    async def test_a_key_that_is_not_exactly_right_is_refused_alike(
        self, studio: Studio, change: str
    ) -> None:
        kind, tenant, key_id, secret = studio.key.split("_", 3)
        forged = {
            "secret": f"{kind}_{tenant}_{key_id}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}",
            "key": f"{kind}_{tenant}_{uuid4().hex}_{secret}",
            "tenant": f"{kind}_{uuid4().hex}_{key_id}_{secret}",
            "prefix": f"xyz_{tenant}_{key_id}_{secret}",
            "empty": "",
            "other-kind": f"{tenant}.{key_id}.{secret}",
        }[change]
        answer = await studio.ask("GET", "/v1/titles", key=forged)
        assert answer.status_code == 401 and problem(answer) == "unauthorised"
        assert answer.headers["www-authenticate"] == "Bearer"

    async def test_a_key_ends_when_it_expires_or_is_revoked(self, studio: Studio, clock: Clock) -> None:
        past = await studio.ask("POST", "/v1/keys", {"role": "analyst", "expires_at": clock.now.isoformat()})
        assert past.status_code == 409 and problem(past) == "expiry-past"
        in_an_hour = (clock.now + timedelta(hours=1)).isoformat()
        made = await studio.make("/v1/keys", {"role": "analyst", "expires_at": in_an_hour})
        revoked = await studio.make("/v1/keys", {"role": "analyst"})
        for key in (made, revoked):
            assert (await studio.ask("GET", "/v1/sessions", key=key["api_key"])).status_code == 200

        assert (await studio.ask("DELETE", f"/v1/keys/{revoked['key_id']}")).status_code == 204
        clock.turn(hours=1)

        for key in (made, revoked):
            assert (await studio.ask("GET", "/v1/sessions", key=key["api_key"])).status_code == 401
        assert (await studio.ask("GET", "/v1/sessions")).status_code == 200

    async def test_a_role_cannot_be_given_scopes_beyond_its_own(self, studio: Studio) -> None:
        answer = await studio.ask("POST", "/v1/keys", {"role": "analyst", "scopes": ["sessions:erase"]})
        assert answer.status_code == 403 and problem(answer) == "scope-not-of-role"


class TestAccess:
    async def test_the_matrix_names_every_endpoint_of_a_studio(self, client: httpx.AsyncClient) -> None:
        paths = (await client.get("/v1/openapi.json")).json()["paths"]
        documented = {
            (method.upper(), path)
            for path, operations in paths.items()
            for method in operations
            if path.startswith("/v1/") and not path.startswith(("/v1/join", "/v1/privacy", "/v1/studios"))
        }
        asked = matrix("{session_id}", "{study_id}", "{title_id}")
        named = {(method, path.partition("?")[0]) for method, path, _, _ in asked}
        named = {(m, "/v1/keys/{key_id}" if p.startswith("/v1/keys/") else p) for m, p in named}
        named = {(m, "/v1/models/{sha256}" if p.startswith("/v1/models/") else p) for m, p in named}
        assert named == documented

    @pytest.mark.parametrize("role", ["admin", "analyst", "compliance"])
    async def test_each_role_reaches_what_its_scopes_say_and_nothing_else(
        self, studio: Studio, role: str
    ) -> None:
        study = await studio.launched_study()
        viewer = await studio.invite(study=study)
        key = await studio.make("/v1/keys", {"role": role})
        # Erasing comes last: everything before needs the session.
        for method, path, body, scope in matrix(viewer.session, study["study_id"], study["title_id"])[:-1]:
            answer = await studio.ask(method, path, body, key=key["api_key"])
            if scope in key["scopes"]:
                assert answer.status_code not in (401, 403), (method, path, answer.text)
            else:
                assert answer.status_code == 403 and problem(answer) == "scope-missing", (method, path)

    async def test_no_studio_reaches_what_is_anothers(
        self, client: httpx.AsyncClient, studio: Studio
    ) -> None:
        study = await studio.launched_study()
        viewer = await studio.invite(study=study)
        stranger = await register(client, "Stranger")
        for method, path, body, _ in matrix(viewer.session, study["study_id"], study["title_id"]):
            answer = await stranger.ask(method, path, body)
            named = {viewer.session, study["study_id"], study["title_id"]}
            if any(name in f"{path} {body}" for name in named):
                assert answer.status_code == 404, (method, path, answer.text)
            elif method == "GET":
                assert not any(name in answer.text for name in named), (method, path)
        assert (await studio.ask("GET", f"/v1/sessions/{viewer.session}")).json()["state"] == "created"

    async def test_nothing_is_reached_without_a_credential(self, studio: Studio) -> None:
        study = await studio.launched_study()
        viewer = await studio.invite(study=study)
        for method, path, body, _ in matrix(viewer.session, study["study_id"], study["title_id"]):
            assert (await studio.client.request(method, path, json=body)).status_code == 401, (method, path)
        for method, path in [
            ("GET", ""),
            ("POST", "/notice"),
            ("POST", "/consent"),
            ("POST", "/ticket"),
            ("POST", "/withdraw"),
            ("GET", "/deletion-receipt"),
        ]:
            answer = await studio.client.request(method, f"/v1/join{path}", json={})
            assert answer.status_code in (401, 422), (method, path)

    async def test_an_api_key_is_no_join_token_and_the_other_way_round(self, studio: Studio) -> None:
        viewer = await studio.invite()
        assert (await studio.ask("GET", "/v1/join")).status_code == 401
        assert (await studio.ask("GET", "/v1/sessions", key=viewer.token)).status_code == 401

    async def test_a_join_token_opens_its_own_session_alone(self, studio: Studio) -> None:
        study = await studio.launched_study()
        first = await studio.invite(viewer="a", study=study)
        second = await studio.invite(viewer="b", study=study)
        tenant, _, secret = first.token.split(".", 2)
        forged = Viewer(client=studio.client, session=second.session, token="")
        for token in (
            f"{tenant}.{UUID(second.session).hex}.{secret}",
            f"{uuid4().hex}.{UUID(first.session).hex}.{secret}",
            first.token[:-1],
            first.token + "x",
        ):
            forged.token = token
            assert (await forged.ask("GET")).status_code == 401


class TestStudies:
    @pytest.mark.parametrize(
        "context", ["workplace", "education", "school", "hiring", "employee_training", "exam", "other"]
    )
    async def test_a_study_in_any_other_context_than_those_listed_is_refused_and_the_refusal_logged(
        self, studio: Studio, database: Database, context: str
    ) -> None:
        title = await studio.make("/v1/titles", {"name": "t", "duration_ms": 1_000})
        body = {"name": "s", "title_id": title["title_id"], "context": context, "jurisdictions": ["DE"]}
        answer = await studio.ask("POST", "/v1/studies", body)
        assert answer.status_code == 422 and problem(answer) == "context-refused"
        assert all(allowed in answer.json()["detail"] for allowed in StudyContext)
        logged = await rows(
            database, studio.tenant, "SELECT detail FROM audit_entry WHERE action = 'study.refused'"
        )
        assert logged == [({"context": context},)]
        assert (await studio.ask("GET", "/v1/studies")).json() == []

    @pytest.mark.parametrize("context", list(StudyContext))
    async def test_a_study_in_a_context_that_is_listed_can_be_launched(
        self, studio: Studio, context: str
    ) -> None:
        title = await studio.make("/v1/titles", {"name": "t", "duration_ms": 1_000})
        body = {"name": "s", "title_id": title["title_id"], "context": context, "jurisdictions": ["DE"]}
        study = await studio.make("/v1/studies", body)
        assert study["context"] == context
        await studio.make(f"/v1/studies/{study['study_id']}/dpia", {"version": "1", "approved_by": "dpo"})
        assert (await studio.make(f"/v1/studies/{study['study_id']}/launch"))["state"] == "launched"

    async def test_a_study_of_an_earlier_version_in_a_context_refused_today_can_do_nothing_more(
        self, studio: Studio, database: Database
    ) -> None:
        study = await studio.launched_study()
        viewer = await studio.invite(study=study)
        given = await viewer.consent()
        await earlier_context(database, studio.tenant, "hiring")
        person = await studio.make("/v1/viewers", {"pseudonym": "p"})
        body = {"study_id": study["study_id"], "viewer_id": person["viewer_id"], "jurisdiction": "DE"}
        invited = await studio.ask("POST", "/v1/sessions", body)
        assert invited.status_code == 422 and problem(invited) == "context-refused"
        approved = await studio.ask(
            "POST", f"/v1/studies/{study['study_id']}/dpia", {"version": "2", "approved_by": "dpo"}
        )
        assert approved.status_code == 409
        launched = await studio.ask("POST", f"/v1/studies/{study['study_id']}/launch")
        assert launched.status_code == 422 and problem(launched) == "context-refused"
        ticket = await viewer.ask("POST", "/ticket", {"receipt_sha256": given["receipt_sha256"]})
        assert ticket.status_code == 403 and problem(ticket) == "capture-not-allowed"
        assert (await studio.ask("GET", f"/v1/studies/{study['study_id']}")).json()["context"] == "hiring"

    async def test_a_study_where_the_policy_denies_capture_is_refused(self, studio: Studio) -> None:
        title = await studio.make("/v1/titles", {"name": "t", "duration_ms": 1_000})
        body = {"name": "s", "title_id": title["title_id"], "context": "home", "jurisdictions": ["DE", "ZZ"]}
        answer = await studio.ask("POST", "/v1/studies", body)
        assert answer.status_code == 422 and problem(answer) == "jurisdiction-denied"

    async def test_a_study_cannot_launch_without_an_approved_impact_assessment(self, studio: Studio) -> None:
        title = await studio.make("/v1/titles", {"name": "t", "duration_ms": 1_000})
        study = await studio.make(
            "/v1/studies",
            {"name": "s", "title_id": title["title_id"], "context": "home", "jurisdictions": ["DE"]},
        )
        path = f"/v1/studies/{study['study_id']}"
        answer = await studio.ask("POST", f"{path}/launch")
        assert answer.status_code == 409 and problem(answer) == "dpia-missing"
        await studio.make(f"{path}/dpia", {"version": "1", "approved_by": "dpo"})
        assert (await studio.make(f"{path}/launch"))["state"] == "launched"

    async def test_nobody_is_invited_to_a_draft(self, studio: Studio) -> None:
        title = await studio.make("/v1/titles", {"name": "t", "duration_ms": 1_000})
        study = await studio.make(
            "/v1/studies",
            {"name": "s", "title_id": title["title_id"], "context": "home", "jurisdictions": ["DE"]},
        )
        person = await studio.make("/v1/viewers", {"pseudonym": "p"})
        body = {"study_id": study["study_id"], "viewer_id": person["viewer_id"], "jurisdiction": "DE"}
        answer = await studio.ask("POST", "/v1/sessions", body)
        assert answer.status_code == 409 and problem(answer) == "study-not-launched"

    @pytest.mark.parametrize(("where", "status"), [("FR", 409), ("ZZ", 422)])
    async def test_nobody_is_invited_where_the_study_or_the_policy_is_not(
        self, studio: Studio, where: str, status: int
    ) -> None:
        study = await studio.launched_study(jurisdictions=("DE",))
        person = await studio.make("/v1/viewers", {"pseudonym": "p"})
        body = {"study_id": study["study_id"], "viewer_id": person["viewer_id"], "jurisdiction": where}
        answer = await studio.ask("POST", "/v1/sessions", body)
        assert answer.status_code == status and problem(answer) == "jurisdiction-denied"


class TestConsent:
    async def test_a_consenting_viewer_gets_a_receipt_that_verifies_and_a_ticket(
        self, studio: Studio, clock: Clock
    ) -> None:
        viewer = await studio.invite()
        joined = (await viewer.ask("GET")).json()
        assert joined["capture_allowed"] is True and joined["receipt"] is None
        assert joined["controller"] == "Lighthouse Pictures"
        given = await viewer.consent()
        now = int(clock.now.timestamp() * 1e6)
        key = signing_key(joined)
        claims = verify_receipt(
            given["receipt"],
            key,
            now_utc_us=now,
            session=SessionId(UUID(viewer.session)),
            tenant=TenantId(UUID(studio.tenant)),
        )
        assert {str(name) for name in claims.opted_out} == {"sad"}
        assert claims.device_public_key == viewer.device.public_key().public_bytes_raw()
        assert verify_bundle(joined["key_bundle"], key, now)

        ticket = await viewer.ask("POST", "/ticket", {"receipt_sha256": given["receipt_sha256"]})
        assert ticket.status_code == 201, ticket.text
        admitted = verify_ticket(ticket.json()["ticket"], key, now_utc_us=now)
        assert admitted.receipt_sha256 == given["receipt_sha256"]
        with pytest.raises(TicketError):
            verify_ticket(ticket.json()["ticket"], key, now_utc_us=now + 61_000_000)
        with pytest.raises(ReceiptError):
            verify_receipt(given["receipt"], key, now_utc_us=now + 25 * 3_600_000_000)
        assert (await viewer.ask("GET")).json()["receipt"] == given["receipt"]

    async def test_consent_without_a_notice_shown_before_is_refused(self, studio: Studio) -> None:
        viewer = await studio.invite()
        notice = (await viewer.ask("GET")).json()["notice"]
        answer = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"]))
        assert answer.status_code == 409 and problem(answer) == "notice-not-shown"

    async def test_consent_to_another_text_than_was_shown_is_refused(self, studio: Studio) -> None:
        viewer = await studio.invite()
        await viewer.read_notice()
        german = (await viewer.ask("GET", "?locale=de")).json()["notice"]
        for digest in (german["sha256"], "0" * 64):
            answer = await viewer.ask("POST", "/consent", viewer.consent_body(digest))
            assert answer.status_code == 409 and problem(answer) == "notice-not-shown"

    async def test_a_notice_that_is_not_in_force_cannot_be_stored(self, studio: Studio) -> None:
        viewer = await studio.invite()
        answer = await viewer.ask("POST", "/notice", {"sha256": "0" * 64, "locale": "en"})
        assert answer.status_code == 409 and problem(answer) == "notice-outdated"

    @pytest.mark.parametrize(
        "forged", ["purposes", "opted_out", "notice_sha256", "device_public_key", "adult"]
    )
    async def test_a_request_changed_after_the_device_signed_it_is_refused(
        self, studio: Studio, forged: str
    ) -> None:
        viewer = await studio.invite()
        notice = await viewer.read_notice()
        body = viewer.consent_body(notice["sha256"])
        body[forged] = {
            "purposes": ["capture", "cloud_scoring", "research_reuse"],
            "opted_out": [],
            "notice_sha256": "1" * 64,
            "device_public_key": base64.b64encode(bytes(32)).decode(),
            "adult": False,
        }[forged]
        answer = await viewer.ask("POST", "/consent", body)
        assert answer.status_code == 403 and problem(answer) == "device-signature"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"purposes": ["capture"]}, "consent-missing-purpose"),
            ({"purposes": ["cloud_scoring"]}, "consent-missing-purpose"),
            (
                {"opted_out": ["happy", "sad", "angry", "surprised", "disgust", "neutral"]},
                "consent-all-opted-out",
            ),
        ],
    )
    async def test_choices_that_allow_nothing_are_refused_but_may_be_changed(
        self, studio: Studio, changes: dict[str, Any], code: str
    ) -> None:
        viewer = await studio.invite()
        notice = await viewer.read_notice()
        answer = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"], **changes))
        assert answer.status_code == 403 and problem(answer) == code
        assert (await viewer.consent())["receipt"]

    async def test_a_declared_minor_ends_the_session_and_leaves_only_that(
        self, studio: Studio, database: Database, redis_client: Redis
    ) -> None:
        viewer = await studio.invite()
        notice = await viewer.read_notice()
        answer = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"], adult=False))
        assert answer.status_code == 403 and problem(answer) == "consent-minor"
        again = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"]))
        assert again.status_code == 410 and problem(again) == "session-over"
        kinds = await rows(
            database, studio.tenant, "SELECT kind, purposes, receipt_sha256 FROM consent_event"
        )
        assert kinds == [("declared_minor", [], None)]
        assert await RedisRevocations(redis_client).is_revoked(SessionId(UUID(viewer.session)))

    async def test_consent_events_can_only_be_added(self, studio: Studio, database: Database) -> None:
        viewer = await studio.invite()
        await viewer.consent()
        await viewer.consent(opted_out=[])
        await viewer.ask("POST", "/withdraw")
        kinds = await rows(database, studio.tenant, "SELECT kind FROM consent_event ORDER BY at, kind")
        assert sorted(kind for (kind,) in kinds) == ["given", "given", "withdrawn"]
        async with await psycopg.AsyncConnection.connect(database.app_url) as connection:
            await connection.execute("SELECT set_config('app.tenant', %s, false)", (studio.tenant,))
            for statement in ("UPDATE consent_event SET kind = 'given'", "DELETE FROM consent_event"):
                with pytest.raises(psycopg.Error):
                    async with connection.transaction():
                        await connection.execute(statement.encode())

    async def test_a_changed_choice_makes_the_old_receipt_useless_for_tickets(self, studio: Studio) -> None:
        viewer = await studio.invite()
        old = await viewer.consent()
        new = await viewer.consent(opted_out=[])
        refused = await viewer.ask("POST", "/ticket", {"receipt_sha256": old["receipt_sha256"]})
        assert refused.status_code == 409 and problem(refused) == "receipt-unknown"
        assert (
            await viewer.ask("POST", "/ticket", {"receipt_sha256": new["receipt_sha256"]})
        ).status_code == 201

    async def test_choices_cannot_change_while_frames_flow(self, studio: Studio, database: Database) -> None:
        viewer = await studio.invite()
        await viewer.consent()
        notice = await viewer.read_notice()
        await rows(database, studio.tenant, "UPDATE session SET state = 'live' RETURNING id")

        again = await viewer.ask(
            "POST", "/consent", viewer.consent_body(notice["sha256"], opted_out=["happy"])
        )

        assert again.status_code == 409 and problem(again) == "session-live"

    async def test_no_ticket_without_consent_or_after_it_expired(self, studio: Studio, clock: Clock) -> None:
        viewer = await studio.invite()
        refused = await viewer.ask("POST", "/ticket", {"receipt_sha256": "0" * 64})
        assert refused.status_code == 409 and problem(refused) == "consent-missing"
        given = await viewer.consent()
        clock.turn(days=1)
        refused = await viewer.ask("POST", "/ticket", {"receipt_sha256": given["receipt_sha256"]})
        assert refused.status_code == 410 and problem(refused) == "receipt-expired"


class TestWithdrawal:
    async def test_withdrawing_ends_everything_at_once_and_may_be_repeated(
        self, studio: Studio, database: Database, redis_client: Redis
    ) -> None:
        viewer = await studio.invite()
        given = await viewer.consent()
        subscription = redis_client.pubsub()
        await subscription.subscribe("revocations")
        await subscription.get_message(timeout=1)

        for _ in range(2):
            answer = await viewer.ask("POST", "/withdraw")
            assert answer.status_code == 200
            assert answer.json() == {"stream": "stopped", "record": "done", "deletion": "queued"}

        message = await subscription.get_message(timeout=1)
        assert message is not None and message["data"].decode() == UUID(viewer.session).hex
        await subscription.aclose()
        assert await RedisRevocations(redis_client).is_revoked(SessionId(UUID(viewer.session)))
        for path, body in [
            ("/ticket", {"receipt_sha256": given["receipt_sha256"]}),
            ("/notice", {"sha256": "0" * 64, "locale": "en"}),
            ("/consent", viewer.consent_body("0" * 64)),
        ]:
            refused = await viewer.ask("POST", path, body)
            assert refused.status_code == 410 and problem(refused) == "session-over"
        jobs = await rows(database, studio.tenant, "SELECT reason FROM erasure_job")
        assert jobs == [("withdrawal",)]
        session = await studio.ask("GET", f"/v1/sessions/{viewer.session}")
        assert session.json()["state"] == SessionState.WITHDRAWN
        for what in ("timeline", "summary", "report"):
            gone = await studio.ask("GET", f"/v1/sessions/{viewer.session}/{what}")
            assert gone.status_code == 410 and problem(gone) == "session-erased"

    async def test_withdrawing_works_before_consent_too(self, studio: Studio) -> None:
        viewer = await studio.invite()
        assert (await viewer.ask("POST", "/withdraw")).status_code == 200


class TestEdges:
    async def test_answers_carry_security_headers(self, studio: Studio) -> None:
        answer = await studio.ask("GET", "/v1/titles")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers

    @pytest.mark.parametrize("declared", [True, False])
    async def test_a_body_over_the_limit_is_refused_whether_declared_or_not(
        self, studio: Studio, declared: bool
    ) -> None:
        headers = {"Authorization": f"Bearer {studio.key}", "Content-Type": "application/json"}
        big = b'{"name": "' + b"x" * BODY_MAX_BYTES + b'"}'

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(big), 8_192):
                yield big[at : at + 8_192]

        content = big if declared else chunks()
        answer = await studio.client.post("/v1/titles", content=content, headers=headers)
        assert answer.status_code == 413 and problem(answer) == "too-large"

    async def test_a_malformed_request_is_told_where_but_not_quoted(self, studio: Studio) -> None:
        answer = await studio.ask("POST", "/v1/titles", {"name": "geheim\x00", "duration_ms": -1, "extra": 1})
        assert answer.status_code == 422 and problem(answer) == "invalid-request"
        assert {item["where"] for item in answer.json()["errors"]} == {
            "body.name",
            "body.duration_ms",
            "body.extra",
        }
        assert "geheim" not in answer.text

    async def test_names_that_are_not_known_are_problems_too(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/v1/nothing")
        assert answer.status_code == 404 and problem(answer) == "not-found"
        answer = await client.put("/v1/titles")
        assert answer.status_code == 405 and problem(answer) == "method-not-allowed"

    async def test_the_policy_and_the_keys_are_public(self, client: httpx.AsyncClient) -> None:
        policy = (await client.get("/v1/privacy/governance/policy")).json()
        assert policy["minimum_age_years"] >= 18 and "DE" in policy["jurisdictions"]
        keys = (await client.get("/.well-known/countenance/keys")).json()
        assert verify_bundle(
            keys["key_bundle"], signing_key(keys), int(Clock().now.timestamp() * 1e6) + 1_000_000
        )

    async def test_health_readiness_and_openapi_are_served_and_metrics_are_not(
        self, client: httpx.AsyncClient
    ) -> None:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json() == {"ready": True, "checks": {"postgres": "ok", "redis": "ok"}}
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/v1/openapi.json")).json()["info"]["title"] == "Countenance"

    async def test_a_store_that_is_away_is_said_so(self, studio: Studio, pool: Pool) -> None:
        await pool.close()
        answer = await studio.ask("GET", "/v1/titles")
        assert answer.status_code == 503 and problem(answer) == "unavailable"
        assert answer.headers["retry-after"] == "1"
        assert (await studio.client.get("/readyz")).status_code == 503


class TestGarbage:
    @pytest.mark.parametrize(
        "moment",
        ["9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", 1e10, "1e10"],
    )
    async def test_a_moment_that_overflows_somewhere_on_earth_is_refused(
        self, studio: Studio, moment: str | float
    ) -> None:
        answer = await studio.ask("POST", "/v1/keys", {"role": "analyst", "expires_at": moment})
        assert answer.status_code == 422 and problem(answer) == "invalid-request"
        latest = {"role": "analyst", "expires_at": "9999-12-30T00:00:00Z"}
        key = (await studio.make("/v1/keys", latest))["api_key"]
        assert (await studio.ask("GET", "/v1/titles", key=key)).status_code == 200

    async def test_a_key_that_was_made_to_expire_beyond_the_year_9999_goes_on(
        self, studio: Studio, database: Database
    ) -> None:
        with psycopg.connect(database.admin_url) as admin:
            admin.execute("UPDATE api_key SET expires_at = '10000-01-01 11:59:59+00'")
        assert (await studio.ask("GET", "/v1/titles")).status_code == 200

    async def test_a_method_that_a_path_does_not_take_is_refused_with_those_it_takes(
        self, client: httpx.AsyncClient
    ) -> None:
        for path, methods in {
            "/v1/titles": "GET, POST",
            "/v1/join/withdraw": "POST",
            "/healthz": "GET, HEAD",
        }.items():
            for method in ("PUT", "TRACE", "OPTIONS"):
                answer = await client.request(method, path)
                assert answer.status_code == 405 and problem(answer) == "method-not-allowed"
                assert answer.headers["allow"] == methods

    async def test_a_body_of_another_kind_is_refused(self, studio: Studio) -> None:
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
            "application/vnd.a+json",
        ):
            headers = {"Authorization": f"Bearer {studio.key}", "Content-Type": kind}
            answer = await studio.client.post("/v1/titles", content=b"{}", headers=headers)
            assert answer.status_code == 415 and problem(answer) == "unsupported-media-type"

    async def test_a_path_that_nobody_serves_is_a_problem_and_never_a_redirect(
        self, client: httpx.AsyncClient
    ) -> None:
        for path in ("/v1/titles/", "/v2", "//v1/titles", "/v1/%2e%2e/metrics", "/%00"):
            answer = await client.get(path)
            assert answer.status_code == 404 and problem(answer) == "not-found"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[" * 60_000,
            b'{"name": "\\ud800", "duration_ms": 1}',
            b'{"name": "x", "duration_ms": 1, "\\ud800": 1}',
            b'{"name": "\\u0000", "duration_ms": 1}',
            b'{"name": "x", "duration_ms": ' + b"9" * 5_000 + b"}",
            b'{"name": "x", "duration_ms": 1e400}',
            b'{"name": "x", "duration_ms": NaN}',
            b'{"name": "x", "duration_ms": 99999999999999999999999}',
            b'\xff\xfe{"name": "x"}',
            b'"text"',
        ],
    )
    async def test_a_body_that_makes_no_sense_is_the_clients_fault(self, studio: Studio, body: bytes) -> None:
        headers = {"Authorization": f"Bearer {studio.key}", "Content-Type": "application/json"}
        answer = await studio.client.post("/v1/titles", content=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        assert problem(answer)

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/sessions/not-an-id",
            "/v1/sessions?before=yesterday",
            "/v1/sessions?before=9999-12-31T23:59:59-12:00",
            "/v1/sessions?before=0001-01-01T00:00:00%2B14:00",
            "/v1/sessions?before=253402300800",
            "/v1/sessions?study_id=%00",
            "/v1/sessions/%ED%A0%80",
            "/v1/titles?limit=99999999999999999999999999",
            f"/v1/models/{'0' * 63}%0A",
            f"/v1/sessions/{UUID(int=1)}/timeline?baseline_from_ms=-99999999999999999999",
            "/v1/sessions?limit=0",
            "/v1/sessions?limit=1001",
            f"/v1/sessions/{UUID(int=1)}/timeline?resolution=hour",
            f"/v1/sessions/{UUID(int=1)}/timeline?format=xml",
        ],
    )
    async def test_a_query_that_makes_no_sense_is_the_clients_fault(self, studio: Studio, path: str) -> None:
        answer = await studio.ask("GET", path)
        assert answer.status_code == 422 and problem(answer) == "invalid-request"

    @pytest.mark.parametrize(
        "credential",
        ["", "Bearer", "Basic x", "Bearer " + "x" * 300, "Bearer cnt___", "Bearer ..", "Bearer \xe9"],
    )
    async def test_a_credential_that_makes_no_sense_is_refused(
        self, client: httpx.AsyncClient, credential: str
    ) -> None:
        headers = {"Authorization": credential.encode("latin-1")}
        for path in ("/v1/titles", "/v1/join"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code in (401, 422) and problem(answer)
