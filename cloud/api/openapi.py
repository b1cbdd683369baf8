"""The API's own description: what FastAPI derives from the routes, completed with every refusal that can occur.

A route names the refusals that are its own (`refuses`); what all of them have in common is added here. Refusals and
failures are `application/problem+json` throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cloud.web.problem_json import MEDIA_TYPE, PROBLEM_TYPE
from privacy.governance.policy import Policy

Schema = dict[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")
_FROM_FASTAPI = ("HTTPValidationError", "ValidationError")

_PROBLEM: Schema = {
    "title": "Problem",
    "description": "What is wrong and what to do (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "pattern": f"^{PROBLEM_TYPE}[a-z0-9-]+$",
            "description": "Stable, for machines.",
            "examples": [f"{PROBLEM_TYPE}not-found"],
        },
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "One sentence for a person."},
        "errors": {
            "type": "array",
            "description": "Which parts of the request do not have the documented form.",
            "items": {
                "type": "object",
                "required": ["where", "message"],
                "properties": {"where": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}

_HEADERS: Mapping[int, Schema] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string", "enum": ["Bearer"]}}},
    429: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
}

ALWAYS = (400, 413, 500, 503)
"""A request that is no HTTP or too large, a fault of ours, and a store that is away or no place to be served."""

WITH_BODY = (408, 415, 422)
WITH_CREDENTIAL = (401, 429)
WITH_SCOPE = (403,)


def refuses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Name the refusals of one route, for its `responses`."""
    return {status: {"description": HTTPStatus(status).phrase} for status in statuses}


def describe(app: FastAPI, policy: Policy) -> Schema:
    """Give the description in OpenAPI 3.1.

    Args:
        app: with all its routes.
        policy: says which jurisdictions can be named at all.
    """
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FROM_FASTAPI:
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    allowed = sorted(policy.jurisdictions)
    schemas["NewStudy"]["properties"]["jurisdictions"]["items"]["enum"] = allowed
    schemas["NewSession"]["properties"]["jurisdiction"]["enum"] = allowed
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(operations[method], path)
    return document


def _complete(operation: Schema, path: str) -> None:
    responses: Schema = operation["responses"]
    is_422_ours = "422" in responses and "content" not in responses["422"]
    if not is_422_ours:
        responses.pop("422", None)
    own = [int(status) for status in responses if status[0] in "45"]
    for status in sorted({*own, *_common(operation, path)}):
        response = responses.setdefault(str(status), {"description": HTTPStatus(status).phrase})
        response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        if status in _HEADERS:
            response["headers"] = _HEADERS[status]
    operation["responses"] = dict(sorted(responses.items()))


def _common(operation: Schema, path: str) -> set[int]:
    statuses = set(ALWAYS)
    if "requestBody" in operation:
        statuses |= set(WITH_BODY)
    if operation.get("parameters"):
        statuses.add(422)
    if "{" in path:
        statuses.add(404)
    schemes = {name for scheme in operation.get("security", []) for name in scheme}
    if schemes:
        statuses |= set(WITH_CREDENTIAL)
    if schemes & {"ApiKey", "ApiKeyBearer"}:
        statuses |= set(WITH_SCOPE)
    return statuses
