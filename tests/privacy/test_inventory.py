"""The data inventory and the protocol document keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from privacy.governance.notices.rendering import span_text
from privacy.governance.policy import Artefact, load_policy
from privacy.protocol import limits

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = (ROOT / "docs" / "data-inventory.md").read_text("utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text("utf-8")
UNITS = {"second": "s", "seconds": "s", "minute": "min", "minutes": "min", "day": "d", "days": "d"}


@pytest.mark.parametrize("artefact", Artefact)
def test_the_inventory_repeats_each_artefacts_time_to_live(artefact: Artefact) -> None:
    row = next(line for line in INVENTORY.splitlines() if line.startswith(f"| `{artefact.value}` |"))
    number, unit = span_text(load_policy().ttl_us(artefact), "en").split()
    spellings = {f"{number} {UNITS[unit]}"} | ({"60 s"} if (number, unit) == ("1", "minute") else set())
    assert any(spelling in row.split("|")[4] for spelling in spellings)


def test_the_inventory_names_the_policys_version() -> None:
    assert load_policy().version in INVENTORY.replace("\n", "")


def test_the_protocol_states_the_limits_that_are_enforced() -> None:
    for value in (
        limits.DATAGRAM_MAX_BYTES,
        limits.ENVELOPE_MAX_BYTES,
        limits.CTL_MESSAGE_MAX_BYTES,
        limits.SIGNALLING_MESSAGE_MAX_BYTES,
        limits.SETUP_MAX_BYTES,
        limits.RECEIPT_MAX_BYTES,
        limits.REPLAY_WINDOW_FRAMES,
        limits.DATAGRAMS_PER_S * limits.DATAGRAM_MAX_BYTES,
        *limits.PLAINTEXT_BUCKETS_BYTES,
    ):
        assert f"{value:,}" in PROTOCOL, value
    assert limits.EPOCH_MAX_FRAMES == 2**20


def test_every_protocol_rule_that_privacy_cites_exists() -> None:
    defined = set(re.findall(r"\*\*([WKSRC]\d+)\b", PROTOCOL))
    cited: set[str] = set()
    for path in (ROOT / "privacy").rglob("*.py"):
        text = path.read_text("utf-8")
        cited |= set(re.findall(r"rules? ([WKSRC]\d+)", text))
        cited |= set(re.findall(r"# ([WKSRC]\d+)", text))
    assert len(cited) > 20
    assert cited <= defined
