"""The library finds its resources wherever it is put: source tree, Slicer package, wheel, sdist."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from places import RESOURCES, TOP, WHERE, run_python

NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", "*.egg-info", ".*_cache", "out", "runs", "build", "dist"
)


@pytest.fixture(scope="module")
def a_copy_of_the_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("sources") / "copy"
    return Path(shutil.copytree(TOP, copy, ignore=NOT_SOURCE))


@pytest.fixture(scope="module")
def a_build_backend_call(a_copy_of_the_sources: Path, tmp_path_factory: pytest.TempPathFactory):
    """Calls the build backend as pip does, without isolation or network; gives the file it made."""

    def build(hook: str) -> Path:
        target = tmp_path_factory.mktemp(hook)
        code = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
        command = [sys.executable, "-c", code, str(target)]
        made = subprocess.run(command, cwd=a_copy_of_the_sources, capture_output=True, text=True, timeout=120)
        assert made.returncode == 0, made.stderr
        return next(target.iterdir())

    return build


def found(output: str) -> tuple[Path, list[Path]]:
    lines = [Path(line) for line in output.splitlines()]
    return lines[0], lines[1:]


def test_a_source_tree_has_its_resources_beside_the_library(tmp_path: Path) -> None:
    package, resources = found(run_python(WHERE, cwd=tmp_path, path=TOP))
    assert package == TOP / "CSpineFractureLib"
    assert resources == [TOP / "Resources" / name for name in RESOURCES]


def test_a_wheel_carries_its_resources_in_the_package(a_build_backend_call, tmp_path: Path) -> None:
    with zipfile.ZipFile(a_build_backend_call("build_wheel")) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    package, resources = found(run_python(WHERE, cwd=tmp_path, path=tmp_path / "site"))
    assert package == tmp_path / "site/CSpineFractureLib"
    assert resources == [package / "Resources" / name for name in RESOURCES]
    assert {name for name in names if "Screenshots" in name or name.startswith("Testing")} == set()
    assert any(name.endswith("licenses/LICENSE.txt") for name in names)


def test_a_wheel_carries_every_module_and_every_model_file(a_build_backend_call) -> None:
    with zipfile.ZipFile(a_build_backend_call("build_wheel")) as wheel:
        names = set(wheel.namelist())
    modules = {path.relative_to(TOP).as_posix() for path in (TOP / "CSpineFractureLib").rglob("*.py")}
    models = {
        f"CSpineFractureLib/{path.relative_to(TOP).as_posix()}"
        for path in (TOP / "Resources/Models").rglob("*")
        if path.is_file()
    }
    assert modules | models <= names


def test_a_source_distribution_can_be_unpacked_and_used(a_build_backend_call, tmp_path: Path) -> None:
    with tarfile.open(a_build_backend_call("build_sdist")) as archive:
        archive.extractall(tmp_path, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(tmp_path)
    (top,) = tmp_path.iterdir()
    package, resources = found(run_python(WHERE, cwd=tmp_path, path=top))
    assert package == top / "CSpineFractureLib"
    assert resources == [top / "Resources" / name for name in RESOURCES]
    assert (top / "LICENSE.txt").is_file()
