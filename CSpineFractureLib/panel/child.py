"""Starting a small child process that finds this library."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def start_child(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process with this library on its path, without a window; its output comes through pipes as text.

    Raises ``OSError`` when the program cannot be started.
    """
    top = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (top, os.environ.get("PYTHONPATH"))))
    flags = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": path},
        **flags,
    )
