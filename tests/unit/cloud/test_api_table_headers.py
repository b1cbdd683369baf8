"""A table links to the errors of the models that scored it, where there is something behind the link."""

from __future__ import annotations

from typing import Any

from cloud.api.routes.results import _table_headers
from cloud.reports.viewers import ViewerTimeline
from cloud.streams.scoring import ON_DEVICE, ScoredFrames
from tests.unit.cloud.score_records import MODEL

NO_TRACE: Any = None


def headers(*models: Any) -> dict[str, str]:
    scored = [ScoredFrames(model=model, frames=1) for model in models]
    return _table_headers("t.csv", ViewerTimeline(pseudonym="v", session="s", trace=NO_TRACE, models=scored))


def test_a_model_on_the_viewers_device_is_not_linked_since_nothing_is_known_of_it() -> None:
    link = f'</v1/models/{MODEL.sha256.hex()}>; rel="describedby"'
    assert headers(MODEL, ON_DEVICE)["Link"] == link
    assert "Link" not in headers(ON_DEVICE)
    assert headers(MODEL)["Content-Disposition"] == 'attachment; filename="t.csv"'
