"""What this process uses of the machine."""

from __future__ import annotations

import sys
from pathlib import Path


def resident_mb() -> float:
    """Return resident memory in MB, as near as the system tells without further packages."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return resident_max_mb()
    import resource

    return round(pages * resource.getpagesize() / 1e6, 1)


def resident_max_mb() -> float:
    """Return the highest resident memory so far in MB, 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
