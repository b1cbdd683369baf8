from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import InviteError
from edge_agent.invite import parse_invite

TENANT, SESSION, SECRET = "a" * 32, "b" * 32, "s3cret_" + "x" * 20
TOKEN = f"{TENANT}.{SESSION}.{SECRET}"


def test_an_invitation_names_platform_studio_session_and_right():
    invite = parse_invite(f"https://studio.example/v1/join#{TOKEN}")
    assert (invite.host, invite.port, invite.is_secure) == ("studio.example", 443, True)
    assert invite.tenant == UUID(TENANT)
    assert invite.session == UUID(SESSION)
    assert invite.token == TOKEN


def test_a_loopback_platform_may_speak_plain_http():
    assert parse_invite(f"http://127.0.0.1:8000/v1/join#{TOKEN}").base_url == "http://127.0.0.1:8000"
    assert parse_invite(f"http://[::1]:8000/v1/join#{TOKEN}").base_url == "http://[::1]:8000"


def test_a_token_is_never_sent_in_the_clear_to_another_machine():
    with pytest.raises(InviteError, match="https"):
        parse_invite(f"http://studio.example/v1/join#{TOKEN}")


@pytest.mark.parametrize(
    "link",
    [
        "",
        "x",
        "ftp://h/#" + TOKEN,
        "https://h/v1/join",
        f"https://h/#{TOKEN}x/y",
        "https://h:99999/#" + TOKEN,
    ],
)
def test_what_is_no_invitation_is_refused(link):
    with pytest.raises(InviteError):
        parse_invite(link)


@given(st.text())
def test_any_text_is_read_or_refused_with_one_error(text):
    with suppress(InviteError):
        parse_invite(text)


def test_the_token_is_never_printed():
    assert SECRET not in repr(parse_invite(f"https://studio.example/v1/join#{TOKEN}"))
