"""Installs what an analysis needs into Slicer's Python, asked for by the user, and removes it again.

torch comes through the PyTorch extension, the rest through ``slicer.packaging`` (Slicer 5.12) or ``slicer.util``.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.install_plan import (
    TORCH,
    Condition,
    Plan,
    State,
    installed_versions,
    is_code_there,
    loaded_packages,
    make_plan,
    needed_by,
)
from CSpineFractureLib.panel.install_record import InstallRecord, record_path
from CSpineFractureLib.panel.install_text import consent_text
from CSpineFractureLib.resources import resource_path

REQUESTER = "Cervical Spine Fracture"
_UNTOUCHED = ("numpy", "scipy", "simpleitk", "pydicom", "pillow", "requests", "packaging", "torch", "torchvision")
"""pip must keep these at the version that is there: Slicer's own, and the torch that fits the computer."""


class Installer:
    """Asks once, installs what is missing, and remembers what was new.

    Parameters
    ----------
    record
        The file that remembers; by default beside Slicer's settings.
    paths
        Where packages are looked for, by default ``sys.path``.
    """

    def __init__(self, record: Path | None = None, paths: Sequence[str] | None = None) -> None:
        self._record = InstallRecord(record or record_path())
        self._paths = paths

    def plan(self) -> Plan:
        """What is needed and what is there now."""
        return make_plan(resource_path("requirements.txt"), self._paths)

    def is_code_there(self) -> bool:
        """A quick first look, as ``install_plan.is_code_there``."""
        return is_code_there(resource_path("requirements.txt"), self._paths)

    def recorded(self) -> dict[str, str]:
        """Version by name of what was installed from here and is still there."""
        present = installed_versions(self._paths)
        return {name: version for name, version in self._record.read().items() if name in present}

    def install(self, folder: Path | None = None) -> str:
        """Ask, then install all that is needed; returns what to tell the user. Waits.

        ``folder`` holds wheels, and nothing is fetched from the Internet then. Raises ``UserError`` when something
        could not be installed; what was installed until then is remembered.
        """
        _stay_on_main_thread()
        plan = self.plan()
        if not plan.needed:
            return _("Everything is there; nothing was installed.")
        if folder is not None and not any(folder.glob("*.whl")):
            message = (
                f"The folder {folder.as_posix()} holds no wheels (*.whl): choose the folder that they were copied to."
            )
            raise UserError(message)
        free = shutil.disk_usage(sysconfig.get_paths()["purelib"]).free / 1e6
        if not slicer.util.confirmOkCancelDisplay(
            consent_text(plan, free, None if folder is None else str(folder)), windowTitle=REQUESTER
        ):
            return _("Nothing was installed.")
        before, loaded = installed_versions(self._paths), loaded_packages(self._paths)
        try:
            if plan.torch_needed:
                self._install_torch(plan.torch_needed, folder)
            if plan.packages_needed:
                self._install_packages(plan.packages_needed, folder)
        finally:
            self._remember(before)
        left = self.plan().needed
        if left:
            names = ", ".join(state.component.name for state in left)
            message = f"Not installed: {names}. The Python console says why."
            raise UserError(message)
        after = installed_versions(self._paths)
        replaced = sorted(name for name in loaded if name in before and after.get(name) != before[name])
        if replaced:
            text = _("Installed. Restart Slicer now: it still uses the earlier {names}.")
            return text.format(names=", ".join(replaced))
        return _("Installed. Everything is there.")

    def remove(self) -> str:
        """Ask, then remove what was installed from here; returns what to tell the user. Waits.

        A package that another one needs by now stays. Raises ``UserError`` when pip fails.
        """
        _stay_on_main_thread()
        recorded = self.recorded()
        kept = needed_by(list(recorded), self._paths)
        names = sorted(set(recorded) - set(kept))
        if not names:
            return _("Nothing that was installed from here can be removed.")
        question = _("These packages were installed from here and are removed from Slicer's Python:\n\n{names}\n\n")
        question = question.format(names=", ".join(names))
        if kept:
            question += _("These stay, for others need them: {names}\n\n").format(names=", ".join(sorted(kept)))
        question += _("Other extensions may use them too. Remove?")
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=REQUESTER):
            return _("Nothing was removed.")
        with _plain_faults(names):
            slicer.util.pip_uninstall(" ".join(names))
        present = installed_versions(self._paths)
        self._record.write({name: version for name, version in recorded.items() if name in present})
        if any(name in present for name in names):
            return _("Some packages are in use: restart Slicer and remove them again.")
        return _("Removed.")

    def _remember(self, before: dict[str, str]) -> None:
        after = installed_versions(self._paths)
        new = {name: version for name, version in after.items() if name not in before}
        if new:
            self._record.write({**self.recorded(), **new})

    def _install_torch(self, states: tuple[State, ...], folder: Path | None) -> None:
        if any(state.condition is Condition.BROKEN for state in states):
            self._remove_broken_torch()
        with _plain_faults(["torch", "torchvision"]):
            if folder is None:
                _install_through_extension()
            else:
                slicer.util.pip_install([*_offline(folder), *TORCH])
        left = self.plan().torch_needed
        if left:  # pip would now bring a torch of its own choice along with the other packages
            message = "torch was not installed, so the rest was left out: install it with the PyTorch extension first."
            raise UserError(message)

    def _remove_broken_torch(self) -> None:
        if "torch" in sys.modules:
            message = "The torch that is installed only in part is in use: restart Slicer and press Install again."
            raise UserError(message)
        _uninstall_what_can_be(("torch", "torchvision"))
        broken = [state for state in self.plan().torch_needed if state.condition is Condition.BROKEN]
        entries = [state.entry.as_posix() for state in broken if state.entry is not None]
        if entries:
            message = (
                f"torch is installed only in part and pip cannot remove it: close Slicer, delete "
                f"{' and '.join(entries)}, start Slicer and press Install again."
            )
            raise UserError(message)

    def _install_packages(self, states: tuple[State, ...], folder: Path | None) -> None:
        broken = [str(state.component.requirement) for state in states if state.condition is Condition.BROKEN]
        wanted = [str(state.component.requirement) for state in states]
        names = [state.component.name for state in states]
        packaging = _slicer_packaging()
        with _plain_faults(names, packaging is not None), self._constraints() as constraints:
            if broken:  # for pip they are satisfied, so they alone are put there again
                _uninstall_what_can_be([Requirement(text).name for text in broken])
                slicer.util.pip_install([*_offline(folder), "--ignore-installed", "--no-deps", *broken])
            if folder is None and packaging is not None:
                packaging.pip_ensure(
                    wanted,
                    constraints=constraints,
                    prompt_install=False,
                    prompt_restart=False,
                    requester=REQUESTER,
                )
            else:
                slicer.util.pip_install([*_offline(folder), "-c", constraints, *wanted])

    @contextmanager
    def _constraints(self) -> Iterator[str]:
        """A file that holds Slicer's own packages at their versions."""
        present = installed_versions(self._paths)
        lines = [f"{name}=={present[name]}\n" for name in _UNTOUCHED if name in present]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "constraints.txt"
            path.write_text("".join(lines), encoding="utf-8")
            yield str(path)


def _stay_on_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        message = "Packages are installed on the main thread alone."
        raise RuntimeError(message)


def _uninstall_what_can_be(names: Sequence[str]) -> None:
    with suppress(subprocess.CalledProcessError):  # pip removes nothing whose list of files is lost
        slicer.util.pip_uninstall(" ".join(names))


def _slicer_packaging() -> Any | None:
    """The module ``slicer.packaging`` where this version has it."""
    try:
        module = importlib.import_module("slicer.packaging")
    except ImportError:
        return None
    return module if hasattr(module, "pip_ensure") else None


def _install_through_extension() -> None:
    """Have the PyTorch extension choose and install torch; its function takes other keywords in each version."""
    try:
        utilities = importlib.import_module("PyTorchUtils")
    except ImportError as error:
        message = (
            "The extension PyTorch is not installed: install it in the Extensions Manager, restart Slicer and press "
            "Install again."
        )
        raise UserError(message) from error
    install = utilities.PyTorchUtilsLogic().installTorch
    install(**known_keywords(install, _torch_keywords()))


def _torch_keywords() -> dict[str, Any]:
    torch, torchvision = (str(Requirement(text).specifier) for text in TORCH)
    return {
        "askConfirmation": False,
        "torchVersionRequirement": torch,
        "torchvisionVersionRequirement": torchvision,
    }


def known_keywords(function: Callable, wanted: dict[str, Any]) -> dict[str, Any]:
    """Those of ``wanted`` that a function takes, under the function's own spelling of upper and lower case."""
    spelling = {name.lower(): name for name in inspect.signature(function).parameters}
    return {spelling[name.lower()]: value for name, value in wanted.items() if name.lower() in spelling}


def _offline(folder: Path | None) -> list[str]:
    return [] if folder is None else ["--no-index", "--find-links", str(folder)]


@contextmanager
def _plain_faults(names: Sequence[str], shows_progress: bool = False) -> Iterator[None]:
    """One sentence for whatever pip or the PyTorch extension raises; a wait cursor where nothing else is shown."""
    try:
        with nullcontext() if shows_progress else slicer.util.WaitCursor():
            yield
    except UserError:
        raise
    except Exception as error:
        message = (
            f"pip could not install or remove {', '.join(names)} ({error}): see the Python console, check network and "
            "free disk space, and try again."
        )
        raise UserError(message) from error
