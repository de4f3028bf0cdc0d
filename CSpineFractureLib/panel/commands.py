"""How child processes of the panel are started: always with a Python that is not 3D Slicer itself."""

from __future__ import annotations

import shutil
import sys


def python_program() -> str:
    """Inside 3D Slicer ``sys.executable`` is the program itself, which is no Python; PythonSlicer is."""
    return shutil.which("PythonSlicer") or sys.executable


def worker_command(device: str = "auto") -> list[str]:
    """Starts the worker that runs the networks on ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    return [python_program(), "-m", "CSpineFractureLib.pipeline.worker", device]


def device_command(device: str = "auto") -> list[str]:
    """Prints one line of JSON about a device (see ``device_probe``)."""
    return [python_program(), "-m", "CSpineFractureLib.panel.device_probe", device]
