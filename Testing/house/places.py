"""The top of the tree, and a way to ask a fresh Python where it finds things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

RESOURCES = ("Schemas/cspine-result-1.schema.json", "UI/CSpineFracture.ui", "Icons/CSpineFracture.png")

#: Prints where the package lies, then where each resource is found.
WHERE = f"""
import CSpineFractureLib
from CSpineFractureLib.resources import resource_path
print(CSpineFractureLib.__path__[0])
for name in {RESOURCES!r}:
    print(resource_path(name))
"""


def run_python(code: str, *args: str, cwd: Path, path: Path | None = None) -> str:
    """What a new Python prints for ``code``, run in ``cwd`` with only ``path`` added to its search path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    run = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def tracked_files() -> list[Path]:
    """The files of the project under version control, or all of them where there is no repository (an sdist)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True)
    return [TOP / name for name in listed.stdout.split("\0") if name and (TOP / name).is_file()]
