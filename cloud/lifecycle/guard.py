"""How the lifecycle leader survives a step that fails."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import structlog

from cloud.errors import CloudError
from cloud.lifecycle import metrics as metrics
from privacy.errors import PrivacyError

_log = structlog.get_logger(__name__)


async def guarded(stage: str, step: Awaitable[Any]) -> bool:
    """Do a step and say whether it went well; a failure is counted, and the next turn tries again."""
    try:
        await step
    except (CloudError, PrivacyError) as error:
        metrics.FAILURES.labels(stage=stage, error=type(error).__name__).inc()
        _log.warning("lifecycle step failed", stage=stage, error=str(error))
        return False
    return True
