"""What an analysis needs, what of it is there, and what is broken. Reads the disk; imports and installs nothing."""

from __future__ import annotations

import enum
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

TORCH = ("torch>=2.2", "torchvision>=0.17")
"""Installed by the PyTorch extension, not from ``Resources/requirements.txt``."""

_NATIVE = (".so", ".pyd", ".dll", ".dylib")


@dataclass(frozen=True)
class _Facts:
    module: str
    megabytes: tuple[int, int]
    licence: str


#: Imported name, MB on disk with what the package brings along (least and most), and licence as its metadata gives it.
_FACTS = {
    "torch": _Facts("torch", (700, 5300), "BSD-3-Clause"),
    "torchvision": _Facts("torchvision", (15, 20), "BSD-3-Clause"),
    "ultralytics-opencv-headless": _Facts("ultralytics", (400, 400), "AGPL-3.0"),
    "grad-cam": _Facts("pytorch_grad_cam", (60, 60), "MIT"),
    "highdicom": _Facts("highdicom", (30, 30), "MIT"),
    "jsonschema": _Facts("jsonschema", (5, 5), "MIT"),
    "psutil": _Facts("psutil", (1, 1), "BSD-3-Clause"),
    "pyyaml": _Facts("yaml", (4, 4), "MIT"),
    "safetensors": _Facts("safetensors", (2, 2), "Apache-2.0"),
    "segmentation-models-pytorch": _Facts("segmentation_models_pytorch", (2, 2), "MIT"),
    "timm": _Facts("timm", (30, 30), "Apache-2.0"),
}


class Condition(enum.Enum):
    """How a component was found."""

    READY = "ready"
    MISSING = "missing"
    OTHER_VERSION = "other version"
    BROKEN = "broken"


class Fault(enum.Enum):
    """What is wrong with a broken component: what an interrupted installation leaves behind."""

    NO_CODE = "pip lists it, but its code is gone"
    EMPTY_FOLDER = "a folder of its name stands there without its code"
    NOT_LISTED = "its code is there, but pip does not know it"
    NO_RECORD = "the list of its files is missing"
    FILES_LOST = "some of its files are missing"
    OTHER_TORCH = "it was made for another torch"


@dataclass(frozen=True)
class Component:
    """A package that is needed: what pip calls it with its bounds, and the facts for the user's consent."""

    requirement: Requirement
    module: str
    megabytes: tuple[int, int]
    licence: str

    @property
    def name(self) -> str:
        return self.requirement.name

    @property
    def is_torch(self) -> bool:
        return self.name in ("torch", "torchvision")


@dataclass(frozen=True)
class State:
    """A component as it was found; ``entry`` is the folder by which pip lists it, where it does."""

    component: Component
    condition: Condition
    version: str | None = None
    fault: Fault | None = None
    entry: Path | None = None


@dataclass(frozen=True)
class Plan:
    """The states of all components, torch first."""

    states: tuple[State, ...]

    @property
    def needed(self) -> tuple[State, ...]:
        return tuple(state for state in self.states if state.condition is not Condition.READY)

    @property
    def torch_needed(self) -> tuple[State, ...]:
        return tuple(state for state in self.needed if state.component.is_torch)

    @property
    def packages_needed(self) -> tuple[State, ...]:
        return tuple(state for state in self.needed if not state.component.is_torch)

    @property
    def megabytes(self) -> tuple[int, int]:
        """MB on disk of all that is needed, at least and at most."""
        sizes = [state.component.megabytes for state in self.needed]
        return sum(low for low, _high in sizes), sum(high for _low, high in sizes)


def component(text: str) -> Component:
    """The component of one requirement such as ``timm>=1.0.15,<2``."""
    requirement = Requirement(text)
    facts = _FACTS[canonicalize_name(requirement.name)]
    return Component(requirement, facts.module, facts.megabytes, facts.licence)


def components(requirements: Path) -> tuple[Component, ...]:
    """torch and torchvision, then the packages of a requirements file."""
    lines = (line.strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    listed = [line for line in lines if line and not line.startswith(("#", "-"))]
    return tuple(component(text) for text in (*TORCH, *listed))


def make_plan(requirements: Path, paths: Sequence[str] | None = None) -> Plan:
    """Look for every component in ``paths``, by default ``sys.path``."""
    importlib.invalidate_caches()
    paths = list(sys.path if paths is None else paths)
    return Plan(tuple(examine(one, paths) for one in components(requirements)))


def is_code_there(requirements: Path, paths: Sequence[str] | None = None) -> bool:
    """At first sight, without reading versions: whether the code of every component is in ``paths``."""
    importlib.invalidate_caches()
    paths = list(sys.path if paths is None else paths)
    return all(_has_code(PathFinder.find_spec(one.module, paths)) for one in components(requirements))


def examine(one: Component, paths: Sequence[str]) -> State:
    """How a component is found in ``paths``."""
    found = next(iter(distributions(name=one.name, path=list(paths))), None)
    spec = PathFinder.find_spec(one.module, list(paths))
    has_code = _has_code(spec)
    if found is None:
        if spec is None:
            return State(one, Condition.MISSING)
        fault = Fault.NOT_LISTED if has_code else Fault.EMPTY_FOLDER
        return State(one, Condition.BROKEN, None, fault)
    version, entry = version_of(found), _entry_of(found)
    if not has_code:
        fault = Fault.NO_CODE if spec is None else Fault.EMPTY_FOLDER
        return State(one, Condition.BROKEN, version, fault, entry)
    if version is None or found.files is None:
        return State(one, Condition.BROKEN, version, Fault.NO_RECORD, entry)
    if _lacks_files(found):
        return State(one, Condition.BROKEN, version, Fault.FILES_LOST, entry)
    if not one.requirement.specifier.contains(version, prereleases=True):
        return State(one, Condition.OTHER_VERSION, version)
    if one.name == "torchvision" and not _fits_torch(found, paths):
        return State(one, Condition.BROKEN, version, Fault.OTHER_TORCH, entry)
    return State(one, Condition.READY, version)


def installed_versions(paths: Sequence[str] | None = None) -> dict[str, str]:
    """Version by canonical name of all that pip knows in ``paths``, by default ``sys.path``."""
    importlib.invalidate_caches()
    found: dict[str, str] = {}
    for one in distributions(path=list(sys.path if paths is None else paths)):
        version = version_of(one)
        if version is not None:
            found.setdefault(canonicalize_name(one.metadata["Name"]), version)
    return found


def loaded_packages(paths: Sequence[str] | None = None) -> set[str]:
    """Canonical names of the packages in ``paths`` of which this process has imported something."""
    found = set()
    for one in distributions(path=list(sys.path if paths is None else paths)):
        if version_of(one) is not None:
            tops = (one.read_text("top_level.txt") or "").split() or {file.parts[0] for file in one.files or ()}
            if any(top.removesuffix(".py") in sys.modules for top in tops):
                found.add(canonicalize_name(one.metadata["Name"]))
    return found


def needed_by(names: Sequence[str], paths: Sequence[str] | None = None) -> dict[str, str]:
    """Those of ``names`` that a package outside ``names`` needs, each with the name of one such package.

    What they need in turn is among them too, so that what is left can be removed without harm.
    """
    needs: dict[str, set[str]] = {}
    for one in distributions(path=list(sys.path if paths is None else paths)):
        if version_of(one) is None:
            continue
        requirements = [Requirement(text) for text in one.requires or ()]
        wanted = {r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}
        needs.setdefault(canonicalize_name(one.metadata["Name"]), {canonicalize_name(name) for name in wanted})
    kept: dict[str, str] = {}
    todo = [name for name in needs if name not in names]
    while todo:
        user = todo.pop()
        for name in needs.get(user, set()) & set(names) - set(kept):
            kept[name] = user
            todo.append(name)
    return kept


def _has_code(spec: ModuleSpec | None) -> bool:
    """A folder without ``__init__.py`` is found too, but has no origin."""
    return spec is not None and spec.origin is not None


def version_of(found: Distribution) -> str | None:
    """A distribution's version; ``None`` where its metadata is damaged."""
    text = found.read_text("METADATA") or found.read_text("PKG-INFO")
    if not text or not found.metadata["Name"]:
        return None
    try:
        return str(Version(found.metadata["Version"]))
    except (InvalidVersion, TypeError):
        return None


def _entry_of(found: Distribution) -> Path | None:
    place = getattr(found, "_path", None)
    return None if place is None else Path(place)


def _lacks_files(found: Distribution) -> bool:
    """Whether a native library or the beginning of a package that pip wrote is gone."""
    listed = (file for file in found.files or () if file.suffix in _NATIVE or file.name == "__init__.py")
    return any(not Path(file.locate()).exists() for file in listed)


def _fits_torch(found: Distribution, paths: Sequence[str]) -> bool:
    """Whether a package's own demand on torch is met; also where torch is missing, which is another component's."""
    torch = next(iter(distributions(name="torch", path=list(paths))), None)
    version = None if torch is None else version_of(torch)
    demands = [Requirement(text) for text in found.requires or ()]
    return version is None or all(
        demand.specifier.contains(Version(version).public, prereleases=True)
        for demand in demands
        if demand.name == "torch" and (demand.marker is None or demand.marker.evaluate({"extra": ""}))
    )
