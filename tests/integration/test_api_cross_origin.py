"""Pages of named origins may call the join routes; no page may call anything else."""

from __future__ import annotations

import pytest

from cloud.config import Role, Settings, load_settings
from tests.fixtures_postgres import Database
from tests.integration.api_client import Studio, state_with_admin_token
from tests.integration.test_api import client, clock, revoker, studio  # noqa: F401 - fixtures

PAGE = "https://view.example.org"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}
ALLOW = "access-control-allow-origin"


@pytest.fixture
def settings(database: Database, redis_url: str, tmp_path) -> Settings:
    return load_settings(
        Role.API,
        environ={"COUNTENANCE_ALLOWED_ORIGINS": PAGE},
        flags={
            "STATE_DIR": str(state_with_admin_token(tmp_path)),
            "DATABASE_URL": database.app_url,
            "REDIS_URL": redis_url,
        },
    )


async def test_a_named_page_may_ask_for_the_join_routes_and_read_their_answers(studio: Studio) -> None:  # noqa: F811
    viewer = await studio.invite()
    asked = await studio.client.options("/v1/join/consent", headers={"Origin": PAGE, **PREFLIGHT})
    assert (asked.status_code, asked.headers[ALLOW]) == (200, PAGE)
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers
    for token, status in ((viewer.token, 200), ("wrong", 401)):
        answer = await studio.client.get(
            "/v1/join", headers={"Origin": PAGE, "Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer.headers[ALLOW]) == (status, PAGE)
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origin", "path"),
    [
        ("https://example.org", "/v1/join"),
        (PAGE + ".example.org", "/v1/join"),
        ("null", "/v1/join"),
        (PAGE, "/v1/sessions"),
        (PAGE, "/v1/joined"),
        (PAGE, "/v1/studios"),
        (PAGE, "/dashboard"),
        (PAGE, "/v1/openapi.json"),
    ],
)
async def test_no_other_page_and_no_other_route_is_opened(studio: Studio, origin: str, path: str) -> None:  # noqa: F811
    asked = await studio.client.options(path, headers={"Origin": origin, **PREFLIGHT})
    answer = await studio.client.get(path, headers={"Origin": origin})
    for response in (asked, answer):
        assert not [name for name in response.headers if name.startswith("access-control-")]
    assert asked.status_code >= 400
