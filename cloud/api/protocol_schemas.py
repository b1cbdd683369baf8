"""JSON Schemas of everything a client says and hears, made from the types that check it.

`python -m cloud.api.protocol_schemas docs/protocol/schemas` writes them; a test compares.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from cloud.api import schemas
from privacy.crypto.keys import BundleDocument
from privacy.governance.erasure import DeletionDocument
from privacy.governance.receipts import receipt_schema
from privacy.governance.tickets import TicketDocument
from privacy.protocol.messages import (
    Answer,
    ControlFromAgent,
    ControlFromIngest,
    Offer,
    Refused,
    Revoked,
    SessionSetup,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_WIRE: Mapping[str, Any] = {
    "setup": SessionSetup,
    "offer": Offer,
    "signalling": Answer | Refused | Revoked,
    "ctl_from_client": ControlFromAgent,
    "ctl_from_ingest": ControlFromIngest,
    "bundle": BundleDocument,
    "ticket": TicketDocument,
    "deletion_receipt": DeletionDocument,
}

_REQUESTS: Mapping[str, type[BaseModel]] = {
    "notice_shown": schemas.NoticeShown,
    "consent": schemas.Consent,
    "ticket_request": schemas.TicketRequest,
}

_ANSWERS: Mapping[str, type[BaseModel]] = {
    "join": schemas.Join,
    "notice_stored": schemas.NoticeStored,
    "consent_answer": schemas.Receipt,
    "ticket_answer": schemas.Ticket,
    "withdrawal": schemas.Withdrawal,
    "deletion_queued": schemas.Deletion,
    "deletion_answer": schemas.DeletionReceipt,
}


def protocol_schemas() -> dict[str, dict[str, Any]]:
    """Give each schema by the name of its file, without suffix."""
    found = {name: msgspec.json.schema(kind) for name, kind in _WIRE.items()}
    found |= {name: model.model_json_schema(mode="validation") for name, model in _REQUESTS.items()}
    found |= {name: model.model_json_schema(mode="serialization") for name, model in _ANSWERS.items()}
    found["receipt"] = receipt_schema()
    return {name: {"$schema": DIALECT} | _tidy(schema) for name, schema in sorted(found.items())}


def _tidy(part: Any) -> Any:
    """Take the indentation of docstrings out of descriptions."""
    if isinstance(part, list):
        return [_tidy(one) for one in part]
    if not isinstance(part, dict):
        return part
    tidy = {name: _tidy(one) for name, one in part.items()}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = inspect.cleandoc(tidy["description"])
    return tidy


def written_schemas() -> dict[str, str]:
    """Give each schema's file by name, as it is written."""
    return {
        f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in protocol_schemas().items()
    }


def main(folder: Path) -> None:
    """Write every schema into a folder, and remove what is none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = written_schemas()
    for path in folder.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
