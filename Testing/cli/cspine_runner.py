"""Calling ``cspine`` from a test: in this process (quick) or in one of its own (the real thing)."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

TESTING = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTING / "pipeline"))

import fake_profile  # noqa: E402, F401  (registers the profile "fake")

#: Starts ``cspine`` with the profile "fake" known.
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(TESTING / 'pipeline')!r}); import fake_profile; "
    "from CSpineFractureLib.cli import main; main()"
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code and what it printed."""

    code: int
    out: str
    err: str


def cspine_here(capfd, *words: object) -> Ended:
    """Run a command in this process."""
    from CSpineFractureLib.cli.failures import exit_code_of

    capfd.readouterr()
    code = exit_code_of([str(word) for word in words])
    return Ended(code, *capfd.readouterr())


def cspine_arguments(*words: object) -> dict:
    """Arguments for ``subprocess.run`` or ``Popen`` that start a command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(TESTING.parent)}
    return {"args": [sys.executable, "-c", PROGRAM, *map(str, words)], "env": environment, "text": True}


def cspine_outside(*words: object) -> Ended:
    """Run a command in a process of its own."""
    done = subprocess.run(**cspine_arguments(*words), capture_output=True, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def make_ct(path: Path) -> Path:
    """A small file that can pass for a CT of a neck: a cylinder of soft tissue with a column of bone, in air."""
    k, j, i = np.indices((48, 64, 64))
    hu = np.full(k.shape, -1000, np.int16)
    hu[(j - 32) ** 2 + (i - 32) ** 2 < 28**2] = 40
    hu[(j - 38) ** 2 + (i - 32) ** 2 < 8**2] = 500
    rng = np.random.default_rng(1)
    image = sitk.GetImageFromArray((hu + rng.normal(0, 8, hu.shape)).astype(np.int16))
    image.SetSpacing((2.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path))
    return path
