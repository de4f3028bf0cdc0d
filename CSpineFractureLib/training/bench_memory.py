"""The most memory that this process has held so far."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil


def peak_rss_gb() -> float:
    """Peak resident memory of this process in GB (1e9 bytes), since it began.

    Linux: ``VmHWM``, for ``getrusage`` would also count the process that started this one.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e9
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e9
    import resource  # not there on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # macOS counts in bytes
