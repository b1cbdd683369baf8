"""What the routes work with, put together once per process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends
from starlette.requests import Request

from cloud.api.ending import Ender
from cloud.api.revoking import Revoker
from cloud.config import Settings
from cloud.consents.registry import Registry
from cloud.observability import Readiness
from cloud.results.timelines import Timelines
from cloud.web.attempts import LAST_RESORT_WIDTH, FailureLimiter
from privacy.governance.policy import Policy
from privacy.redaction import Secret


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """Everything that a route may reach.

    Attributes:
        settings: of the process.
        policy: which jurisdictions, which times to live.
        registry: tenants, studies, sessions, consent.
        timelines: stored frames and what belongs to them.
        revoker: tells the street that a session is over, and which receipt is in force.
        ender: ends sessions.
        signing_key: signs receipts and tickets.
        admin_token: registers studios.
        key_bundle: reads the signed bundle of pool keys; it changes with each renewal.
        readiness: checks for /readyz.
        now: the clock; an argument so that tests can turn it.
        attempts: wrong credentials of late.
        last_resort: taken while a credential beyond the limits is looked at (rule F3).
    """

    settings: Settings
    policy: Policy
    registry: Registry
    timelines: Timelines
    revoker: Revoker
    ender: Ender
    signing_key: Ed25519PrivateKey = field(repr=False)
    admin_token: Secret[str]
    key_bundle: Callable[[], str]
    readiness: Readiness
    now: Callable[[], datetime] = utc_now
    attempts: FailureLimiter = field(default_factory=FailureLimiter)
    last_resort: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LAST_RESORT_WIDTH))


def context_of(request: Request) -> ApiContext:
    """Get the context of the application that serves a request."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(context_of)]


def utc_us(moment: datetime) -> int:
    """Give microseconds since the Unix epoch."""
    return round(moment.timestamp() * 1_000_000)
