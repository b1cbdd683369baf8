"""The registry on a real PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from uuid import uuid4

import pytest

from cloud.consents.registry import Registry
from cloud.database.connection import open_pool
from cloud.errors import ConflictError, NotFoundError, StoreError
from cloud.sessions.records import SessionState
from privacy.protocol.ids import SessionId, TenantId
from tests.fixtures_postgres import NOW, Consented, consented_session

NOTICE = sha256(b"notice").digest()


@pytest.fixture
async def tenant(registry: Registry) -> TenantId:
    return await registry.create_tenant(name="Studio", now=NOW)


async def new_study(registry: Registry, tenant: TenantId, *, context: str = "home"):
    title = await registry.create_title(
        tenant, name="Trailer", duration_ms=1_000, media_sha256=sha256(b"m").digest(), now=NOW
    )
    return await registry.create_study(
        tenant, title_id=title.id, name="Spring", context=context, jurisdictions=["DE"], now=NOW
    )


async def new_session(
    registry: Registry, tenant: TenantId, *, study, jurisdiction: str = "DE", token: bytes = bytes(32)
) -> SessionId:
    viewer = await registry.create_viewer(tenant, pseudonym="viewer", now=NOW)
    session = SessionId(uuid4())
    await registry.create_session(
        tenant,
        session=session,
        study_id=study.id,
        viewer_id=viewer.id,
        jurisdiction=jurisdiction,
        locale="en",
        join_token_sha256=token,
        now=NOW,
    )
    return session


async def test_a_key_is_found_by_its_id_and_tells_when_it_is_no_longer_valid(
    registry: Registry, tenant: TenantId
) -> None:
    key = uuid4()
    await registry.create_api_key(
        tenant,
        key_id=key,
        secret_sha256=bytes(32),
        role="admin",
        scopes=["sessions:write"],
        now=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    found = await registry.find_api_key(tenant, key)
    assert found is not None and found.is_valid(NOW) and not found.is_valid(NOW + timedelta(days=1))
    assert found.scopes == ("sessions:write",)
    assert "hash" not in repr(found)
    await registry.revoke_api_key(tenant, key, now=NOW)
    revoked = await registry.find_api_key(tenant, key)
    assert revoked is not None and not revoked.is_valid(NOW)
    assert await registry.find_api_key(TenantId(uuid4()), key) is None


@pytest.mark.parametrize("context", ["workplace", "education", "school", "hiring", "employee_training", ""])
async def test_a_study_in_a_context_that_is_not_listed_is_refused_by_the_database_too(
    registry: Registry, tenant: TenantId, context: str
) -> None:
    with pytest.raises(ConflictError, match="refused in this context"):
        await new_study(registry, tenant, context=context)


async def test_a_study_is_launched_only_with_an_approved_assessment(
    registry: Registry, tenant: TenantId
) -> None:
    study = await new_study(registry, tenant)
    with pytest.raises(ConflictError, match="no impact assessment"):
        await registry.launch_study(tenant, study.id)
    await registry.approve_dpia(tenant, study.id, version="2", approved_by="key:1", now=NOW)
    launched = await registry.launch_study(tenant, study.id)
    assert (launched.state, launched.dpia_version, launched.dpia_approved_at) == ("launched", "2", NOW)


async def test_a_session_needs_a_launched_study_of_its_jurisdiction(
    registry: Registry, tenant: TenantId
) -> None:
    study = await new_study(registry, tenant)
    with pytest.raises(ConflictError):
        await new_session(registry, tenant, study=study)
    await registry.approve_dpia(tenant, study.id, version="1", approved_by="key:1", now=NOW)
    await registry.launch_study(tenant, study.id)
    with pytest.raises(ConflictError):
        await new_session(registry, tenant, study=study, jurisdiction="US-IL")
    session = await new_session(registry, tenant, study=study)
    assert (await registry.get_session(tenant, session)).state is SessionState.CREATED


async def test_things_of_another_tenant_are_not_found(registry: Registry, tenant: TenantId) -> None:
    study = await new_study(registry, tenant)
    other = await registry.create_tenant(name="Other", now=NOW)
    with pytest.raises(NotFoundError):
        await registry.get_study(other, study.id)
    with pytest.raises(NotFoundError):
        await registry.create_study(
            other, title_id=study.title_id, name="x", context="home", jurisdictions=[], now=NOW
        )
    with pytest.raises(NotFoundError):
        await new_session(registry, other, study=study)


async def test_a_join_token_opens_its_session_and_no_other(registry: Registry, tenant: TenantId) -> None:
    known = await consented_session(registry, tenant)
    token = sha256(known.session.bytes).digest()

    found = await registry.find_session_by_join_token(tenant, known.session, token)
    assert found is not None
    assert (found.session.id, found.title.name, found.viewer.pseudonym) == (
        known.session,
        "Trailer",
        "viewer-1",
    )
    assert await registry.find_session_by_join_token(tenant, known.session, bytes(32)) is None
    assert await registry.find_session_by_join_token(tenant, SessionId(uuid4()), token) is None
    assert await registry.find_session_by_join_token(TenantId(uuid4()), known.session, token) is None


async def test_a_viewer_is_added_once_per_pseudonym(registry: Registry, tenant: TenantId) -> None:
    first = await registry.create_viewer(tenant, pseudonym="v", now=NOW)
    assert await registry.create_viewer(tenant, pseudonym="v", now=NOW + timedelta(days=1)) == first


async def test_consent_to_a_notice_that_was_not_shown_is_refused(
    registry: Registry, tenant: TenantId
) -> None:
    study = await new_study(registry, tenant)
    await registry.approve_dpia(tenant, study.id, version="1", approved_by="key:1", now=NOW)
    await registry.launch_study(tenant, study.id)
    session = await new_session(registry, tenant, study=study)

    async def consent() -> None:
        await registry.record_consent(
            tenant,
            session,
            receipt_jws="jws",
            receipt_sha256=bytes(32),
            receipt_expires_at=NOW,
            notice_sha256=NOTICE,
            purposes=["capture"],
            opted_out=["sad"],
            now=NOW,
        )

    with pytest.raises(ConflictError, match="not shown"):
        await consent()
    assert await registry.has_notice(tenant, session, notice_sha256=NOTICE) is False
    await registry.record_notice(tenant, session, notice_sha256=NOTICE, locale="en", now=NOW)
    await consent()
    found = await registry.get_session(tenant, session)
    assert (found.state, found.opted_out, found.purposes) == (SessionState.CONSENTED, ("sad",), ("capture",))
    assert "jws" not in repr(found).replace("receipt_jws", "")


async def test_withdrawing_records_ends_and_queues_in_one_go_and_once(
    registry: Registry, consented: Consented
) -> None:
    at = (consented.tenant, consented.session)
    first = await registry.withdraw(*at, actor="viewer", now=NOW)
    again = await registry.withdraw(*at, actor="viewer", now=NOW + timedelta(minutes=1))

    assert first is not None and first == again
    assert [e.kind for e in await registry.list_consents(*at)].count("withdrawn") == 1
    assert (await registry.get_session(*at)).state is SessionState.WITHDRAWN
    with pytest.raises(ConflictError, match="past consenting"):
        await registry.record_consent(
            *at,
            receipt_jws="j",
            receipt_sha256=bytes(32),
            receipt_expires_at=NOW,
            notice_sha256=NOTICE,
            purposes=[],
            opted_out=[],
            now=NOW,
        )


async def test_a_declared_minor_ends_the_session_and_its_data_is_queued_for_deletion(
    registry: Registry, consented: Consented
) -> None:
    at = (consented.tenant, consented.session)
    await registry.record_refusal(*at, is_minor=True, notice_sha256=NOTICE, now=NOW)
    found = await registry.get_session(*at)
    assert (found.state, found.close_reason) == (SessionState.WITHDRAWN, "declared_minor")
    assert await registry.request_erasure(*at, actor="key:1", now=NOW) is not None


async def test_withdrawing_from_an_unknown_session_is_an_error(registry: Registry, tenant: TenantId) -> None:
    with pytest.raises(NotFoundError):
        await registry.withdraw(tenant, SessionId(uuid4()), actor="viewer", now=NOW)


async def test_sessions_are_listed_newest_first_and_by_study(registry: Registry, tenant: TenantId) -> None:
    first = await consented_session(registry, tenant, viewer="a")
    second = await consented_session(registry, tenant, viewer="b")
    listed = await registry.list_sessions(tenant)
    assert {record.id for record in listed} == {first.session, second.session}
    study = (await registry.get_session(tenant, first.session)).study_id
    assert [r.id for r in await registry.list_sessions(tenant, study_id=study)] == [first.session]
    assert await registry.list_sessions(tenant, before=NOW) == []


async def test_audit_entries_are_numbered_per_tenant(registry: Registry, tenant: TenantId) -> None:
    async def append(to: TenantId) -> int:
        return await registry.append_audit(
            to, actor="key:1", action="x.y", subject="s:1", detail={"scopes": ["a", "b"]}, now=NOW
        )

    other = await registry.create_tenant(name="Other", now=NOW)
    assert [await append(tenant), await append(tenant), await append(other)] == [0, 1, 0]


async def test_a_server_that_is_not_there_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.database.connection.WAIT_TIMEOUT_S", 0.5)
    with pytest.raises(StoreError, match="cannot be reached"):
        await open_pool("postgresql://nobody:x@127.0.0.1:1/none")
