"""The aggregate benchmark runs from its command and says what was committed."""

from __future__ import annotations

import json
from pathlib import Path

from cloud.cli import main


def test_every_frame_of_a_small_run_is_committed_and_no_lease_is_lost(tmp_path: Path) -> None:
    out = tmp_path / "aggregate.json"
    assert main(["bench", "aggregate", "--sessions", "3", "--frames", "1000", "--out", str(out)]) == 0

    found = json.loads(out.read_text())
    (level,) = found["levels"]
    assert (level["sessions"], level["frames"], level["handed_back"], level["events"]) == (3, 990, 0, 33)
    assert found["headline"]["leases_lost"] == 0
    assert found["headline"]["frames_per_s_3"] > 0
