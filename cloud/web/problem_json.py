"""Errors as `application/problem+json` (RFC 9457), each with a stable code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

PROBLEM_TYPE = "urn:countenance:problem:"
MEDIA_TYPE = "application/problem+json"


def problem_document(status: int, code: str, detail: str) -> dict[str, Any]:
    """Write a problem.

    Args:
        status: HTTP status.
        code: stable, for machines; ends the problem's `type`.
        detail: one sentence for a person: what is wrong and what to do. Quotes nothing that a client sent.
    """
    return {
        "type": PROBLEM_TYPE + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
