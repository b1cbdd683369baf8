"""Errors as `application/problem+json` (RFC 9457), each with a stable code.

Nothing that a client sent is quoted back, so that no token or name ends up in somebody's log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHttpException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cloud.errors import (
    CloudError,
    ConflictError,
    CustodyError,
    DeviceBoundError,
    NotFoundError,
    StoreError,
    StreamError,
)
from cloud.web.problem_json import MEDIA_TYPE, problem_document
from privacy.errors import ConsentError, PrivacyError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")

log = structlog.get_logger(__name__)


class ProblemError(HTTPException):
    """A refusal that a client can act on.

    An `HTTPException`, because what is raised while FastAPI reads a body would otherwise become its own 400.

    Attributes:
        status: HTTP status.
        code: stable, for machines; ends the problem's `type`.
        detail: one sentence for a person: what is wrong and what to do.
        headers: further response headers.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, headers=dict(headers or {}))
        self.status = status
        self.code = code


def problem_response(problem: ProblemError, *, extra: Mapping[str, Any] | None = None) -> Response:
    """Write a problem."""
    return JSONResponse(
        {**problem_document(problem.status, problem.code, problem.detail), **(extra or {})},
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def unauthorised(detail: str) -> ProblemError:
    """A missing, malformed, unknown, expired or revoked credential; which one is not said."""
    return ProblemError(401, "unauthorised", detail, headers={"WWW-Authenticate": "Bearer"})


def too_many_failures(wait_s: int) -> ProblemError:
    """Too many wrong credentials from one source or for one key; whether this one is right is not looked at."""
    return ProblemError(
        429,
        "too-many-failures",
        f"Too many wrong credentials: wait {wait_s} s.",
        headers={"Retry-After": str(wait_s)},
    )


def add_problem_handlers(app: FastAPI, *, allowed_methods: Callable[[str], Iterable[str]]) -> None:
    """Turn every error into a problem.

    Args:
        app: whose errors.
        allowed_methods: gives the methods that a path takes.
    """

    async def on_problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem_response(error)

    async def on_validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [{"where": _where(item["loc"]), "message": item["msg"]} for item in error.errors()]
        problem = ProblemError(422, "invalid-request", "The request does not have the documented form.")
        return problem_response(problem, extra={"errors": errors})

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, AnyHttpException)
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "-")
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Of a path with several routes the framework names the methods of the first alone.
            headers["Allow"] = ", ".join(sorted(allowed_methods(request.scope["path"])))
        return problem_response(ProblemError(error.status_code, code, f"{phrase}.", headers=headers))

    async def on_cloud(_request: Request, error: Exception) -> Response:
        return problem_response(_as_problem(error))

    async def on_any(_request: Request, error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        return problem_response(ProblemError(500, "internal", "Something went wrong on our side."))

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(AnyHttpException, on_http)
    app.add_exception_handler(CloudError, on_cloud)
    app.add_exception_handler(PrivacyError, on_cloud)
    app.add_exception_handler(Exception, on_any)


def _where(place: Sequence[str | int]) -> str:
    """Name the part of a request that is wrong; a name that looks like none of ours is the client's, and left out."""
    return ".".join(str(part) for part in place if _NAME.fullmatch(str(part)))


def _as_problem(error: Exception) -> ProblemError:
    match error:
        case NotFoundError():
            return ProblemError(404, "not-found", "There is no such thing here.")
        case DeviceBoundError():
            return ProblemError(
                409,
                "device-bound",
                "Consent to this session was given on another device: go on there, or ask for a new invitation. "
                "Withdrawing works from everywhere.",
            )
        case ConflictError():
            return ProblemError(409, "conflict", f"{error}.".capitalize())
        case StoreError() | StreamError():
            log.warning("a store is away", error=type(error).__name__)
            return ProblemError(
                503, "unavailable", "A store cannot be reached; try again.", headers={"Retry-After": "1"}
            )
        case CustodyError():
            return ProblemError(410, "unreadable", "The timeline cannot be opened: its key is gone.")
        case ConsentError():
            return ProblemError(422, "consent-refused", f"{error}.".capitalize())
        case _:
            log.error("request failed", exc_info=error)
            return ProblemError(500, "internal", "Something went wrong on our side.")
