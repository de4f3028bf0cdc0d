"""The rooms keep to their layers, and what runs inside Slicer never loads torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from places import TOP, run_python

LINT = (
    "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports']; lint_imports_command()"
)

LOAD_A_ROOM = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
names = [room.__name__, *(found.name for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."))]
for name in names:
    importlib.import_module(name)
print(len(names), *sorted(sys.modules.keys() & {"torch", "torchvision", "ultralytics", "pytorch_grad_cam"}))
"""


def test_every_room_imports_only_lower_layers() -> None:
    assert "0 broken" in run_python(LINT, cwd=TOP, path=TOP)


def test_the_import_check_notices_a_breach(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((TOP / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for source in (TOP / "CSpineFractureLib").rglob("*.py"):
        copy = tmp_path / source.relative_to(TOP)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "CSpineFractureLib/volume/breach.py").write_text("import CSpineFractureLib.scene\nimport torch\n")
    with pytest.raises(AssertionError):
        run_python(LINT, cwd=tmp_path, path=tmp_path)


@pytest.mark.parametrize("room", ["volume", "findings", "scene", "dicom"])
def test_a_room_used_inside_slicer_loads_no_torch(room: str, tmp_path: Path) -> None:
    if room == "scene":
        pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")
    loaded, *heavy = (
        run_python(LOAD_A_ROOM, f"CSpineFractureLib.{room}", cwd=tmp_path, path=TOP).splitlines()[-1].split()
    )
    assert int(loaded) >= 1
    assert heavy == []


def test_starting_the_worker_client_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys, CSpineFractureLib.pipeline.worker_client; print('torch' in sys.modules)"
    assert run_python(code, cwd=tmp_path, path=TOP).strip() == "False"


def test_only_the_panel_imports_qt() -> None:
    library = TOP / "CSpineFractureLib"
    words = ("import qt", "import ctk", "from qt", "from ctk")
    users = {
        path.relative_to(library).parts[0]
        for path in library.rglob("*.py")
        if any(line.strip().startswith(words) for line in path.read_text(encoding="utf-8").splitlines())
    }
    assert users <= {"panel"}


def test_the_python_of_the_tests_is_a_supported_one() -> None:
    assert (3, 10) <= sys.version_info[:2] < (3, 14)
