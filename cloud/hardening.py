"""Keeps what a process has in memory out of core files and other processes' reach."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> bool:
    """Forbid core dumps, and on Linux tracing by other processes of the same user.

    Returns:
        Whether the system took both; False on platforms that know only one of them.
    """
    limited = False
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limited = True
    if sys.platform != "linux":
        return False
    try:
        undumpable = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    except (OSError, AttributeError):
        undumpable = False
    return limited and undumpable
