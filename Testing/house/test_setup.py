"""Set-up: the constraints fit the requirements on every platform, and a second `make setup` does nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import TOP

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def constraints() -> list[Requirement]:
    lines = (TOP / "requirements/constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def direct_requirements() -> list[Requirement]:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for text in [*project["dependencies"], *(text for extra in extras for text in extra)]]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_direct_requirement_has_one_exact_version_that_fits(python: str) -> None:
    place = {"python_version": python}
    pins = [pin for pin in constraints() if pin.marker is None or pin.marker.evaluate(place)]
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(names) == len(set(names))
    versions = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    for requirement in direct_requirements():
        pinned = versions[canonicalize_name(requirement.name)]
        assert re.fullmatch(r"==[\w.]+", pinned), pinned
        assert requirement.specifier.contains(pinned.removeprefix("==")), requirement


def test_the_constraints_name_no_package_of_one_platform() -> None:
    assert [p.name for p in constraints() if re.match(r"nvidia|cuda|triton|pywin32", p.name)] == []
    assert [str(p) for p in constraints() if p.url or "+" in str(p.specifier)] == []


def test_only_the_headless_opencv_is_pinned() -> None:
    assert [pin.name for pin in constraints() if "opencv" in pin.name] == [
        "opencv-python-headless",
        "ultralytics-opencv-headless",
    ]


def test_the_system_check_refuses_a_python_that_is_too_old(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    old = tmp_path / "python3.6"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run([bash, "requirements/system.sh", old], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "3.10 to 3.13" in done.stderr


def test_setting_up_again_does_nothing(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make here")
    for name in ("Makefile", "pyproject.toml", "setup.py", "requirements/system.sh", "requirements/constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(TOP / name, tmp_path / name)
    stamp = tmp_path / ".venv/.installed"
    stamp.parent.mkdir()
    stamp.touch()
    now = stamp.stat().st_mtime
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for age, answer in ((-10, 0), (10, 1)):  # pyproject.toml older than the installation, then newer
        os.utime(tmp_path / "pyproject.toml", (now + age, now + age))
        asked = subprocess.run([make, "-q", "setup"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert asked.returncode == answer, asked.stderr
