"""Settings of the process that must stand before numpy, ITK and torch are imported."""

from __future__ import annotations

import os
from pathlib import Path

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def prepare_process() -> None:
    """Give the numerical libraries as many threads as the process may use cores; variables already set are kept.

    Left alone they count every core of the machine, which in a container with a share of it is many times too many.
    NumPy's products of matrices (OpenBLAS) are small, and its threads would wait for each other, spinning: one.
    """
    count = str(usable_cores())
    for name in _THREAD_VARIABLES:
        os.environ.setdefault(name, count)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def usable_cores() -> int:
    """Cores this process may use: its affinity, cut to the CPU share of its container (cgroup v2)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        share = int(quota) / int(period)
    except (OSError, ValueError):
        return max(cores, 1)
    return max(1, min(cores, round(share)))
