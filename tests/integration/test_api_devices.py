"""Whoever holds an invitation is not the viewer: the first consent binds the device, and its signature is evidence."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from cryptography.exceptions import InvalidSignature
from redis.asyncio import Redis

from cloud.streams.redis_sessions import RedisRevocations
from privacy.crypto.jws import decode_base64url, load_public_key
from privacy.protocol.ids import SessionId
from tests.fixtures_postgres import Database
from tests.integration.api_client import Clock, Studio, Viewer, problem, rows
from tests.integration.test_api import client, clock, revoker, settings, studio  # noqa: F401 - fixtures
from tests.integration.test_api_endings import full


def elsewhere(viewer: Viewer) -> Viewer:
    """Somebody else who holds the same invitation: its maker, say."""
    return Viewer(client=viewer.client, session=viewer.session, token=viewer.token)


@pytest.mark.parametrize("changes", [{}, {"opted_out": []}, {"adult": False}, {"purposes": ["capture"]}])
async def test_after_the_first_consent_no_other_device_speaks_for_the_viewer(
    studio: Studio,  # noqa: F811
    database: Database,
    changes: dict[str, object],
) -> None:
    viewer = await studio.invite()
    given = await viewer.consent()
    maker = elsewhere(viewer)
    notice = await maker.read_notice()
    refused = await maker.ask("POST", "/consent", maker.consent_body(notice["sha256"], **changes))
    assert refused.status_code == 409 and problem(refused) == "device-bound"
    assert "new invitation" in refused.json()["detail"]
    assert (await viewer.ask("GET")).json()["receipt"] == given["receipt"]
    kinds = await rows(database, studio.tenant, "SELECT kind FROM consent_event")
    assert kinds == [("given",)]
    again = await viewer.consent(opted_out=["happy"])
    assert again["receipt_sha256"] != given["receipt_sha256"]


async def test_withdrawing_needs_the_invitation_alone(studio: Studio) -> None:  # noqa: F811
    viewer = await studio.invite()
    await viewer.consent()
    assert (await elsewhere(viewer).ask("POST", "/withdraw")).status_code == 200


async def test_what_the_device_signed_is_kept_as_evidence_and_cannot_be_changed(
    studio: Studio,  # noqa: F811
    clock: Clock,  # noqa: F811
    database: Database,
) -> None:
    viewer = await studio.invite()
    given = await viewer.consent(opted_out=["sad"])
    clock.turn(seconds=1)
    await viewer.ask("POST", "/withdraw")
    answer = await studio.ask("GET", f"/v1/sessions/{viewer.session}/consents")
    assert answer.status_code == 200
    consent, withdrawn = answer.json()
    assert (consent["kind"], withdrawn["kind"]) == ("given", "withdrawn")
    assert consent["receipt"] == given["receipt"] and consent["opted_out"] == ["sad"]
    key = load_public_key(decode_base64url(consent["device_public_key"]))
    assert key.public_bytes_raw() == viewer.device.public_key().public_bytes_raw()
    signature = decode_base64url(consent["device_signature"])
    key.verify(signature, consent["signed_request"].encode())
    with pytest.raises(InvalidSignature):
        key.verify(signature, consent["signed_request"].replace("sad", "happy").encode())
    assert withdrawn["device_signature"] is None
    async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
        await owner.execute("SELECT set_config('app.tenant', %s, false)", (studio.tenant,))
        with pytest.raises(psycopg.errors.RestrictViolation):
            await owner.execute("UPDATE consent_event SET device_signature = NULL")


async def test_a_declared_minor_leaves_no_signature(studio: Studio, database: Database) -> None:  # noqa: F811
    viewer = await studio.invite()
    notice = await viewer.read_notice()
    await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"], adult=False))
    kept = await rows(
        database, studio.tenant, "SELECT kind, device_public_key, device_signature FROM consent_event"
    )
    assert kept == [("declared_minor", None, None)]


async def test_a_new_consent_puts_the_earlier_receipt_out_of_force_before_it_counts(
    studio: Studio,  # noqa: F811
    redis_client: Redis,
    database: Database,
) -> None:
    viewer = await studio.invite()
    session = SessionId(UUID(viewer.session))
    first = await viewer.consent()
    await viewer.ask("POST", "/ticket", {"receipt_sha256": first["receipt_sha256"]})
    assert await RedisRevocations(redis_client).receipt_in_force(session) == first["receipt_sha256"]
    second = await viewer.consent(opted_out=["happy"])
    assert await RedisRevocations(redis_client).receipt_in_force(session) == second["receipt_sha256"]
    notice = await viewer.read_notice()
    async with full(redis_client):
        refused = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"]))
        assert refused.status_code == 503, "an earlier receipt would have stayed in force"
    latest = await rows(database, studio.tenant, "SELECT receipt_sha256 FROM session")
    assert latest[0][0].hex() == second["receipt_sha256"]
    ticket = await viewer.ask("POST", "/ticket", {"receipt_sha256": second["receipt_sha256"]})
    assert ticket.status_code == 201
    await redis_client.flushall()
    ticket = await viewer.ask("POST", "/ticket", {"receipt_sha256": second["receipt_sha256"]})
    assert ticket.status_code == 201
    assert await RedisRevocations(redis_client).receipt_in_force(session) == second["receipt_sha256"]
