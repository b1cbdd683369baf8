"""Results of a session through the API, from rows that the aggregate worker's own code wrote."""

from __future__ import annotations

import csv
import io
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from cloud.aggregate.folding import fold_deliveries
from cloud.aggregate.leases import PostgresLeaseStore
from cloud.database.connection import Pool
from cloud.results.repository import PostgresResultStore
from cloud.streams.entries import FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from cloud.streams.ports import Delivery
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import Counters, Gap
from tests.integration.api_client import Studio, Viewer
from tests.integration.test_api import (  # noqa: F401 - fixtures
    client,
    clock,
    problem,
    register,
    revoker,
    settings,
    studio,
)
from tests.unit.cloud.score_records import MODEL, event_entry, score, scores_entry

GAP_FIRST, GAP_LAST = 60, 89


@pytest.fixture
async def watched(studio: Studio, pool: Pool) -> Viewer:  # noqa: F811
    """A viewer who opted out of `sad` and showed `happy` for five seconds, the third one without a face."""
    viewer = await studio.invite()
    await viewer.consent()
    tenant, session = TenantId(UUID(studio.tenant)), SessionId(UUID(viewer.session))
    frames = [f for f in range(150) if not GAP_FIRST <= f <= GAP_LAST]
    marks = {f: FLAG_UNCERTAIN | (FLAG_OUT_OF_SCOPE if f < 10 else 0) for f in range(20)}
    records = [score(f, tenant=tenant, session=session, happy=255, flags=marks.get(f, 0)) for f in frames]
    gap = Gap(
        first_frame=GAP_FIRST, last_frame=GAP_LAST, segment=0, media_time_us=2_000_000, reason="no_face"
    )
    counters = Counters(captured=150, with_face=120, sent=120, skipped={"no_face": 30})

    def event(kind: str, message: Any) -> Delivery:
        return event_entry(kind, body=msgspec.json.encode(message), tenant=tenant, session=session)

    deliveries = [
        scores_entry(records),
        event("connected", {}),
        event("gap", gap),
        event("counters", counters),
    ]
    leases = PostgresLeaseStore(pool)
    await leases.beat("test", ttl_ms=60_000)
    held = await leases.take("test", shards=[0], limit=1, ttl_ms=60_000)
    store = PostgresResultStore(pool)
    for _ in range(2):
        for batch in fold_deliveries(deliveries).batches:
            await store.commit(batch, holder="test", leases=held)
    return viewer


async def test_seconds_are_medians_and_the_second_without_a_face_is_null(
    studio: Studio,  # noqa: F811
    watched: Viewer,
) -> None:
    body = (await studio.ask("GET", f"/v1/sessions/{watched.session}/timeline")).json()
    columns = body["columns"]
    assert columns["second"] == list(range(10))
    assert columns["happy"] == [1.0, 1.0, None, 1.0, 1.0] + [None] * 5
    assert columns["sad"] == [None] * 10
    assert columns["valid"] == [True, True, False, True, True] + [False] * 5
    # Media times are cut to whole milliseconds, so frames 30, 60, ... lie just before their second.
    assert columns["frames"][:5] == [31, 29, 1, 30, 29]
    assert columns["certain"][:5] == [11, 29, 1, 30, 29]
    assert columns["out_of_scope"][:5] == [10, 0, 0, 0, 0]
    assert columns["uncertain_share"][:6] == [round(20 / 31, 4), 0.0, 0.0, 0.0, 0.0, None]
    assert body["opted_out"] == ["sad"]
    assert body["gaps"] == {
        "first_frame": [60],
        "last_frame": [89],
        "segment": [0],
        "media_time_ms": [2_000],
        "reason": ["no_face"],
    }


async def test_every_frame_is_given_once_however_often_it_was_delivered(
    studio: Studio,  # noqa: F811
    watched: Viewer,
) -> None:
    path = f"/v1/sessions/{watched.session}/timeline?resolution=frame"
    columns = (await studio.ask("GET", path)).json()["columns"]
    assert columns["frame"] == [*range(60), *range(90, 150)]
    assert set(columns["happy"]) == {1.0}
    assert set(columns["sad"]) == {None}
    assert columns["media_time_ms"][1] == 33
    assert [sum(columns[name]) for name in ("uncertain", "out_of_scope")] == [20, 10]


async def test_tables_hold_the_same_and_name_the_gaps(studio: Studio, watched: Viewer) -> None:  # noqa: F811
    path = f"/v1/sessions/{watched.session}/timeline?format=csv&resolution="
    answer = await studio.ask("GET", path + "second")
    assert answer.headers["content-type"].startswith("text/csv")
    seconds = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["happy"] for row in seconds[:4]] == ["1.0", "1.0", "", "1.0"]
    assert [row["gap_reasons"] for row in seconds[:4]] == ["", "", "no_face", ""]
    frames = list(csv.DictReader(io.StringIO((await studio.ask("GET", path + "frame")).text)))
    assert len(frames) == 121
    (gap,) = [row for row in frames if row["gap_reason"]]
    assert (gap["frame"], gap["gap_frames"], gap["happy"]) == ("60", "30", "")
    assert frames.index(gap) == 60


async def test_smoothing_is_asked_for_and_named(studio: Studio, watched: Viewer) -> None:  # noqa: F811
    path = f"/v1/sessions/{watched.session}/timeline"
    raw = (await studio.ask("GET", path)).json()
    assert raw["smoothing"] == {"kernel": "raw"}
    smoothed = (await studio.ask("GET", path + "?smoothing=hmm")).json()
    assert smoothed["smoothing"]["kernel"] == "hmm" and smoothed["smoothing"]["look_ahead_ms"] == 0
    assert smoothed["columns"]["sad"] == [None] * 10
    assert smoothed["columns"]["frames"] == raw["columns"]["frames"]
    # not wholly sure any more: ten frames showed none of the six, and a face may change its expression
    assert 0.9 < smoothed["columns"]["happy"][1] < 1.0
    table = await studio.ask("GET", path + "?smoothing=hmm&format=csv")
    assert table.headers["content-disposition"].endswith('-second-hmm.csv"')
    assert (await studio.ask("GET", path + "?smoothing=none")).status_code == 422


async def test_a_baseline_is_subtracted_beside_the_raw_values(studio: Studio, watched: Viewer) -> None:  # noqa: F811
    path = f"/v1/sessions/{watched.session}/timeline?baseline="
    none = (await studio.ask("GET", path + "none")).json()
    assert none["baseline"] == {"kind": "none"} and "happy_change" not in none["columns"]
    preroll = (await studio.ask("GET", path + "preroll")).json()
    assert preroll["baseline"]["valid_seconds"] == 0
    assert preroll["columns"]["happy_change"] == [None] * 10
    leader = (await studio.ask("GET", path + "preroll&baseline_from_ms=0&baseline_to_ms=2000")).json()
    assert leader["baseline"]["window_ms"] == [0, 2000]
    assert (leader["baseline"]["valid_seconds"], leader["baseline"]["is_sufficient"]) == (2, False)
    assert leader["columns"]["happy"][:3] == [1.0, 1.0, None]
    assert leader["columns"]["happy_change"][:3] == [0.0, 0.0, None]
    refused = await studio.ask("GET", path + "preroll&baseline_from_ms=5&baseline_to_ms=5")
    assert refused.status_code == 422 and problem(refused) == "baseline-window"


async def test_every_answer_names_the_model_that_scored(studio: Studio, watched: Viewer) -> None:  # noqa: F811
    path = f"/v1/sessions/{watched.session}"
    named = {
        "name": "expression",
        "version": "9.1",
        "variant": "int8",
        "sha256": MODEL.sha256.hex(),
        "frames": 120,
        "measured": None,
    }
    for answer in ("/summary", "/timeline", "/timeline?resolution=frame"):
        assert (await studio.ask("GET", path + answer)).json()["models"] == [named], answer
    table = (await studio.ask("GET", path + "/timeline?format=csv")).text
    assert {row["models"] for row in csv.DictReader(io.StringIO(table))} == {
        "expression 9.1 int8 000102030405"
    }
    assert "expression 9.1 int8 000102030405: 120 frames." in (await studio.ask("GET", path + "/report")).text


async def test_a_models_errors_travel_with_every_answer(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    watched: Viewer,
) -> None:
    shipped = load_manifest(ARTIFACTS_DIR / "expression").variant().sha256
    known = (await studio.ask("GET", f"/v1/models/{shipped}")).json()
    rows = known["test_sets"]["rafdb"]["confusion"]
    assert len(rows) == 6 and sum(map(sum, rows)) == known["test_sets"]["rafdb"]["pictures"]
    assert "display rules" in known["validity"]
    unknown = await studio.ask("GET", f"/v1/models/{MODEL.sha256.hex()}")
    assert unknown.status_code == 404 and problem(unknown) == "not-found"
    for answer in ("/summary", "/timeline"):
        body = (await studio.ask("GET", f"/v1/sessions/{watched.session}{answer}")).json()
        assert "display rules differ between cultures" in body["validity"], answer
    table = await studio.ask("GET", f"/v1/sessions/{watched.session}/timeline?format=csv")
    assert table.headers["link"] == f'</v1/models/{MODEL.sha256.hex()}>; rel="describedby"'


async def test_the_summary_accounts_for_every_frame(studio: Studio, watched: Viewer) -> None:  # noqa: F811
    body = (await studio.ask("GET", f"/v1/sessions/{watched.session}/summary")).json()
    assert body["frames"] == {
        "captured": 150,
        "with_face": 120,
        "sent": 120,
        "stored": 120,
        "skipped": {"no_face": 30},
        "lost_flagged": 0,
        "lost_unflagged": 0,
        "late": 0,
        "uncertain": 20,
        "out_of_scope": 10,
    }
    assert body["duplicates"] == 0 and body["redelivered"] == 120
    assert body["gaps"] == {"count": 1, "frames_by_reason": {"no_face": 30}}
    assert body["seconds"] == {"total": 10, "valid": 4, "coverage": 0.4}
    classified = body["latency_ms"]["classified"]
    assert (classified["p50"], classified["p99"], classified["count"]) == (21.0, 21.0, 120)
    assert body["share_of_certain_frames"]["happy"] == 1.0
    assert body["share_of_frames"]["happy"] == 1.0 and body["share_of_frames"]["sad"] is None
    assert body["state"] == "live"


async def test_the_report_is_one_page_under_its_own_policy(studio: Studio, watched: Viewer) -> None:  # noqa: F811
    answer = await studio.ask("GET", f"/v1/sessions/{watched.session}/report")
    assert answer.headers["content-type"].startswith("text/html")
    assert "'sha256-" in answer.headers["content-security-policy"]
    assert "viewer-1" in answer.text and "no face in view" in answer.text


async def test_results_are_nobody_elses(
    client: httpx.AsyncClient,  # noqa: F811
    watched: Viewer,
) -> None:
    stranger = await register(client, "Stranger")
    for what in ("timeline", "summary", "report"):
        answer = await stranger.ask("GET", f"/v1/sessions/{watched.session}/{what}")
        assert answer.status_code == 404 and problem(answer) == "not-found"


async def test_the_dashboard_holds_no_data_and_allows_no_other_host(client: httpx.AsyncClient) -> None:  # noqa: F811
    home = await client.get("/")
    assert home.headers["location"] == "/dashboard"
    page = await client.get("/dashboard")
    policy = page.headers["content-security-policy"]
    assert "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "http" not in policy and "unsafe-eval" not in policy
    assert "localStorage" not in page.text and "document.cookie" not in page.text
