import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edge_agent.consent.api_client import ApiClient
from edge_agent.errors import PlatformAwayError, PlatformError
from edge_agent.invite import parse_invite

TOKEN = f"{'a' * 32}.{'b' * 32}.{'s' * 24}"

JOIN = {
    "session_id": "s",
    "tenant_id": "t",
    "study": "study",
    "title": {"name": "Trailer", "duration_ms": 1},
    "jurisdiction": "DE",
    "capture_allowed": True,
    "notice": {"text": "n", "sha256": "0" * 64, "locale": "en", "version": "1"},
    "controller": "Studio",
    "signing_public_key": "AAAA",
    "key_bundle": "x",
    "ingest_url": "ws://127.0.0.1:1",
    "state": "created",
    "receipt": None,
    "a_later_field": [1, 2],
}


@pytest.fixture
def platform():
    """A platform that answers as told; yields (answers, requests, invite)."""
    answers, requests = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            requests.append((self.command, self.path, self.headers["Authorization"], body))
            status, content, headers = answers.pop(0)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield answers, requests, parse_invite(f"http://127.0.0.1:{server.server_port}/v1/join#{TOKEN}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_token_travels_as_bearer_and_unknown_fields_are_ignored(platform):
    answers, requests, invite = platform
    answers.append((200, JOIN, {}))
    assert ApiClient(invite).join(locale="de").title.name == "Trailer"
    assert requests == [("GET", "/v1/join?locale=de", f"Bearer {TOKEN}", None)]


def test_consent_returns_the_receipt(platform):
    answers, requests, invite = platform
    answers.append((201, {"receipt": "jws", "expires_at": "x"}, {}))
    assert ApiClient(invite).consent({"adult": True}) == "jws"
    assert requests[0][3] == {"adult": True}


def test_a_refusal_carries_status_and_the_problems_words(platform):
    answers, _, invite = platform
    answers.append((410, {"title": "Gone", "detail": "The session is over."}, {}))
    with pytest.raises(PlatformError, match="The session is over") as caught:
        ApiClient(invite).ticket(receipt_sha256="0")
    assert caught.value.status == 410
    assert not isinstance(caught.value, PlatformAwayError)


def test_a_busy_platform_is_away_and_says_for_how_long(platform):
    answers, _, invite = platform
    answers.append((503, b"full", {"Retry-After": "7"}))
    with pytest.raises(PlatformAwayError) as caught:
        ApiClient(invite).join()
    assert caught.value.retry_after_ms == 7000


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"session_id": 5}'])
def test_a_malformed_answer_is_one_documented_error(platform, content):
    answers, _, invite = platform
    answers.append((200, content, {}))
    with pytest.raises(PlatformError, match="malformed"):
        ApiClient(invite).join()


def test_an_endless_answer_is_refused(platform):
    answers, _, invite = platform
    answers.append((200, b"x" * 300_000, {}))
    with pytest.raises(PlatformError, match="too long"):
        ApiClient(invite).join()


def test_nobody_there_is_away_and_the_token_stays_out_of_the_message():
    invite = parse_invite(f"http://127.0.0.1:9/v1/join#{TOKEN}")
    with pytest.raises(PlatformAwayError) as caught:
        ApiClient(invite, timeout_s=2).join()
    assert "sss" not in str(caught.value)
