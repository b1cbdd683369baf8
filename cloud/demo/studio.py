"""A studio's side of the REST API, as the demonstration and the benchmarks use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from cloud.errors import DemoError

TIMEOUT_S = 20.0
JURISDICTION = "DE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One viewer's place in a study: what the agent is given (`invite`) and what the studio reads by."""

    session_id: str
    pseudonym: str
    invite: str = field(repr=False)


class Studio:
    """A registered studio; every call is an ordinary request with its API key."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @classmethod
    async def register(cls, api_url: str, *, admin_token: str, name: str) -> Self:
        """Register a new studio with the platform.

        Raises:
            DemoError: the platform refuses.
        """
        client = httpx.AsyncClient(base_url=api_url, timeout=TIMEOUT_S)
        made = await _ask(
            client, "POST", "/v1/studios", json={"name": name}, headers={"X-Admin-Token": admin_token}
        )
        client.headers["Authorization"] = f"Bearer {made['api_key']}"
        return cls(client)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def launch_study(self, *, title: str, duration_ms: int, media_sha256: str) -> str:
        """Register a title and a study of it, have its impact assessment approved, and launch it.

        Returns:
            The study's id.
        """
        media = {"name": title, "duration_ms": duration_ms, "media_sha256": media_sha256}
        title_id = (await self._post("/v1/titles", media))["title_id"]
        wanted = {
            "title_id": title_id,
            "name": f"{title}: first audience",
            "context": "audience_research",
            "jurisdictions": [JURISDICTION],
        }
        study_id = str((await self._post("/v1/studies", wanted))["study_id"])
        approval = {"version": "demo-1", "approved_by": "demonstration"}
        await self._post(f"/v1/studies/{study_id}/dpia", approval)
        await self._post(f"/v1/studies/{study_id}/launch", {})
        return study_id

    async def seat(self, study_id: str, *, pseudonym: str) -> Seat:
        """Register a viewer and a session."""
        viewer_id = (await self._post("/v1/viewers", {"pseudonym": pseudonym}))["viewer_id"]
        wanted = {"study_id": study_id, "viewer_id": viewer_id, "jurisdiction": JURISDICTION, "locale": "en"}
        made = await self._post("/v1/sessions", wanted)
        return Seat(session_id=made["session_id"], pseudonym=pseudonym, invite=made["invite"])

    async def session(self, seat: Seat) -> dict[str, Any]:
        """Read a session's state."""
        return await _ask(self._client, "GET", f"/v1/sessions/{seat.session_id}")

    async def summary(self, seat: Seat) -> dict[str, Any]:
        """Read a session's counters, gaps, duplicates and latencies."""
        return await _ask(self._client, "GET", f"/v1/sessions/{seat.session_id}/summary")

    async def timeline(self, seat: Seat, *, resolution: str) -> dict[str, Any]:
        """Read a session's timeline; `resolution` is `frame` or `second`."""
        query = {"resolution": resolution}
        return await _ask(self._client, "GET", f"/v1/sessions/{seat.session_id}/timeline", params=query)

    async def _post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        return await _ask(self._client, "POST", path, json=content)


async def _ask(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> dict[str, Any]:
    try:
        answer = await client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise DemoError(f"{method} {path}: {type(error).__name__}") from None
    if answer.is_error:
        raise DemoError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
    content = answer.json()
    if not isinstance(content, dict):
        raise DemoError(f"{method} {path}: expected a JSON object")
    return content
