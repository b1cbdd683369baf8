"""Nothing that could carry a face, a key or a token reaches a log line."""

from __future__ import annotations

import copy
import pickle
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.redaction import HIDDEN, Secret, is_secret_name, redact_event, redact_value
from tests.unit.privacy.worlds import World

TENANT, ITEM = uuid.UUID(int=1).hex, uuid.UUID(int=2).hex


@given(st.binary(min_size=8, max_size=64))
def test_bytes_become_their_length_wherever_they_stand(data: bytes) -> None:
    event = redact_event(None, "info", {"event": "x", "a": data, "b": [data], "c": {"d": (data,)}})
    assert event["a"] == f"<{len(data)} bytes>"
    assert repr(data) not in repr(event)


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "join_token",
        "sdp",
        "ticket",
        "receipt",
        "receipt_jws",
        "secret",
        "Authorization",
        "password",
        "database_password",
        "admin_token",
        "invite",
        "crop",
        "content",
        "envelope",
        "api_key",
        "setup",
        "kek",
        "remote_address",
        "ip",
    ],
)
def test_secret_names_are_hidden(name: str) -> None:
    assert redact_event(None, "info", {name: "value"})[name] == HIDDEN
    assert redact_value({"inner": {name: ["value"]}}) == {"inner": {name: HIDDEN}}


@pytest.mark.parametrize(
    "name", ["event", "session", "token_count", "envelope_bytes", "frames", "receipt_sha256", "api_key_id"]
)
def test_harmless_names_are_kept(name: str) -> None:
    assert not is_secret_name(name)
    assert redact_event(None, "info", {name: "value"})[name] == "value"


def test_known_secrets_are_cut_out_of_texts(world: World) -> None:
    secrets = (
        world.receipt,
        f"cnt_{TENANT}_{ITEM}_c2VjcmV0",
        f"{TENANT}.{ITEM}.c2VjcmV0",
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7",
        "-----BEGIN PRIVATE KEY-----\nMC4",
        "candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host",
    )
    for secret in secrets:
        text = redact_value(f"failed: {secret}")
        assert isinstance(text, str)
        assert secret not in text
        assert HIDDEN in text
    url = redact_value("postgresql://countenance_app:hunter2@127.0.0.1:5432/db")
    assert url == f"postgresql://{HIDDEN}@127.0.0.1:5432/db"


def test_arrays_become_their_shape() -> None:
    assert redact_value(np.full((2, 3), 7)) == "<array of shape (2, 3)>"


def test_depth_is_bounded() -> None:
    nested: object = "deep"
    for _ in range(50):
        nested = [nested]
    assert "deep" not in repr(redact_value(nested))


def test_plain_facts_stay_as_they_are() -> None:
    event = {"event": "started", "frames": 3, "share": 0.5, "ok": True, "none": None}
    assert redact_event(None, "info", dict(event)) == event


def test_a_secret_shows_nothing_and_cannot_be_copied() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {redact_value(secret)}"
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(secret)
