"""The schemas in docs/protocol/schemas are those of the types, and say what the decoders do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from cloud.api.protocol_schemas import protocol_schemas, written_schemas
from privacy.errors import MessageError
from privacy.protocol.codec import decode_control_from_agent, decode_control_from_ingest, decode_signalling
from privacy.protocol.messages import (
    MINOR,
    Ack,
    Bye,
    Clock,
    ClockOffset,
    Counters,
    Gap,
    Refusals,
    Refused,
    Segment,
)

FOLDER = Path(__file__).parents[2] / "docs" / "protocol" / "schemas"
COMMAND = "python -m cloud.api.protocol_schemas docs/protocol/schemas"
SCHEMAS = protocol_schemas()
TIME = 1 << 53


def test_the_files_are_what_the_types_say() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*")}
    assert found == written_schemas(), (
        f"a message has changed: run `{COMMAND}`, and say so in docs/protocol.md"
    )


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


AGENT = [
    Clock(t1_monotonic_us=TIME - 1),
    ClockOffset(offset_us=-TIME, error_us=0),
    Segment(segment=65_535, media_time_us=-TIME, monotonic_us=0, rate_permille=16_000),
    Counters(captured=(1 << 32) - 1, with_face=0, sent=0, skipped={"dark": 0}),
    Gap(first_frame=0, last_frame=(1 << 32) - 1, segment=0, media_time_us=0, reason="lost"),
    Bye(last_frame=-1),
]
INGEST = [
    Ack(bucket=(1 << 32) // 30, mask=(1 << 30) - 1, committed_utc_us=0),
    Refusals(counts={"content": (1 << 32) - 1}),
]
SIGNALLING = [Refused(code=599, reason="r" * 200, retry_after_ms=600_000)]
CASES = [
    *(("ctl_from_client", decode_control_from_agent, message) for message in AGENT),
    *(("ctl_from_ingest", decode_control_from_ingest, message) for message in INGEST),
    *(("signalling", decode_signalling, message) for message in SIGNALLING),
]


def beyond(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Give copies of a message, each with one thing wrong: a field over or under, missing, more, of another type."""
    wrong = [document | {"more": 1}, document | {"type": "other"}]
    for name, value in document.items():
        wrong.append(
            {other: kept for other, kept in document.items() if other != name or name == "retry_after_ms"}
        )
        wrong.append(document | {name: [1]})
        wrong.append(document | {name: 1.5})
        if isinstance(value, int):
            wrong += [
                document | {name: value + 1},
                document | {name: value - 1},
                document | {name: -TIME - 1},
            ]
        elif isinstance(value, dict):
            wrong += [document | {name: {"unknown": 1}}, document | {name: dict.fromkeys(value, -1)}]
    return wrong


@pytest.mark.parametrize(("name", "decode", "message"), CASES, ids=lambda case: type(case).__name__)
def test_a_schema_accepts_what_its_decoder_accepts_and_nothing_else(
    name: str, decode: Any, message: Any
) -> None:
    validator = Draft202012Validator(SCHEMAS[name])
    good = json.loads(msgspec.json.encode(message))
    validator.validate(good)
    assert decode(json.dumps(good).encode()) == message
    verdicts = set()
    for document in beyond(good):
        accepted = True
        try:
            decode(json.dumps(document).encode())
        except MessageError:
            accepted = False
        # one bound lies between two fields, which a schema cannot say: first_frame <= last_frame
        first, last = document.get("first_frame"), document.get("last_frame")
        if not (isinstance(first, int) and isinstance(last, int) and first > last):
            assert validator.is_valid(document) is accepted, document
        verdicts.add(accepted)
    assert False in verdicts


def test_the_minor_version_is_an_optional_field_of_the_offer() -> None:
    offer = SCHEMAS["offer"]["$defs"]["Offer"]
    assert offer["properties"]["minor"]["default"] == 0
    assert "minor" not in offer["required"]
    assert MINOR == 1
