"""Corrections as files: exporting them as training data, reading them again, and training networks further on them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.panel.child_run import ChildRun
from CSpineFractureLib.panel.commands import python_program
from CSpineFractureLib.scene.corrections import Corrections

EFFORT = "0.4"
"""Share of the steps of --fine-tune, so that it takes minutes."""

Do = Callable[[Callable[[Corrections], str]], None]


def ask_folder(title: str) -> str:
    """Have the user choose a folder; ``""`` where they decline."""
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)


def train_arguments(reviewed: Path, networks: Path) -> list[str]:
    """What ``cspine`` is given to train the shipped networks further on a folder of reviewed studies."""
    return [
        *("train", "two-stage", "--source", "corrections", "--data", str(reviewed)),
        *("--fine-tune", "--effort", EFFORT, "-o", str(networks)),
    ]


def networks_folder(reviewed: Path) -> Path:
    """A folder that is not there yet, beside the reviewed studies, for the networks trained on them."""
    names = (f"{reviewed.name}-networks{'' if n == 1 else f'-{n}'}" for n in count(1))
    return next(place for place in map(reviewed.with_name, names) if not place.exists())


def command_line(arguments: list[str]) -> str:
    """Arguments as a person types them on this system."""
    return subprocess.list2cmdline(arguments) if sys.platform == "win32" else shlex.join(arguments)


def _with_packages(work: Callable[[Corrections, Path], str], corrections: Corrections, folder: Path) -> str:
    """Do it, or say which Python package it lacks: not all of them come with 3D Slicer."""
    try:
        return work(corrections, folder)
    except ModuleNotFoundError as error:
        lack = _("The Python package {name} is not installed: install what is missing in the section Setup.")
        return lack.format(name=error.name)


class CorrectionFiles:
    """Ties the buttons Export, Import and Fine-tune to the study that ``do`` corrects.

    Parameters
    ----------
    ui
        The widgets by name.
    do
        Runs a function on the corrections of the study that is shown, and says what it returns.
    choose_folder
        Asks for a folder, given a title.
    program
        How to start ``cspine``.
    """

    def __init__(self, ui: Any, do: Do, choose_folder: Callable[[str], str], program: list[str] | None = None) -> None:
        self._ui, self._do, self.choose_folder = ui, do, choose_folder
        self.program = program or [python_program(), "-m", "CSpineFractureLib.cli"]
        self._reviewed: Path | None = None
        self._networks = Path()
        self._to_install: list[Path] | None = None
        self._is_open = False
        self.child = ChildRun(self._on_line, self._on_end)
        self._open(False)
        ui.exportCorrectionsButton.connect("clicked(bool)", self._on_export)
        ui.importCorrectionsButton.connect("clicked(bool)", self._on_import)
        ui.fineTuneButton.connect("clicked(bool)", self._on_fine_tune)
        ui.copyCommandButton.connect("clicked(bool)", self._on_copy)
        ui.trainButton.connect("clicked(bool)", self._on_train)

    def close(self) -> None:
        """End a training that runs."""
        self.child.cancel()
        self._show_running(False)

    def _on_export(self) -> None:
        folder = self.choose_folder(_("Folder for the reviewed studies"))
        if folder:
            self._do(lambda corrections: _with_packages(self._export, corrections, Path(folder)))

    def _export(self, corrections: Corrections, root: Path) -> str:
        from CSpineFractureLib.panel.corrections_export import export_corrections  # imported late: SimpleITK, PyYAML

        exported = export_corrections(corrections, root)
        self._reviewed = root
        said = _("Exported to {folder}.").format(folder=exported.folder)
        if exported.unjudged:
            more = _("Accept or reject {count} more suspected fractures, or the study will teach levels alone.")
            said += " " + more.format(count=exported.unjudged)
        return said

    def _on_import(self) -> None:
        folder = self.choose_folder(_("Folder of a reviewed study, or of several"))
        if folder:
            self._do(lambda corrections: _with_packages(self._import, corrections, Path(folder)))

    def _import(self, corrections: Corrections, folder: Path) -> str:
        from CSpineFractureLib.panel.corrections_export import import_corrections  # imported late, as above

        own = folder / corrections.study
        changed = import_corrections(corrections, own if own.is_dir() else folder)
        return _("Read what was exported.") if changed else _("The study is already as it was exported.")

    def _on_fine_tune(self) -> None:
        """Show the command for the folder that was exported to, or that the user names; hide it when pressed again."""
        if self._is_open:
            self._open(False)
            return
        if self._reviewed is None:
            folder = self.choose_folder(_("Folder of the reviewed studies"))
            self._reviewed = Path(folder) if folder else None
        self._open(self._reviewed is not None)

    def _open(self, is_open: bool) -> None:
        self._is_open = is_open
        if is_open:
            self._networks = networks_folder(self._reviewed)
            arguments = train_arguments(self._reviewed, self._networks)
            self._ui.trainCommand.setPlainText(command_line(["cspine", *arguments]))
            self._show_running(False)
        self._ui.trainFrame.setVisible(is_open)

    def _on_copy(self) -> None:
        slicer.app.clipboard().setText(self._ui.trainCommand.plainText)

    def _on_train(self) -> None:
        if self.child.is_running:
            self.child.cancel()
            self._show_running(False)
            self._ui.trainLabel.setText(_("Cancelled."))
            return
        self._to_install = None
        self._ui.trainLabel.setText(_("Starting ..."))
        self._start(train_arguments(self._reviewed, self._networks))

    def _start(self, arguments: list[str]) -> None:
        try:
            self.child.start([*self.program, *arguments])
        except OSError as error:
            reason = error.strerror or str(error)
            self._ui.trainLabel.setText(_("The training could not be started: {reason}.").format(reason=reason))
        self._show_running(self.child.is_running)

    def _on_line(self, line: str) -> None:
        if line:
            self._ui.trainLabel.setText(line)
            self._ui.logText.appendPlainText(line)

    def _on_end(self, well: bool) -> None:
        """Install the networks one by one, once all of them are trained; the child's last line says why one failed."""
        if well and self._to_install is None:
            self._to_install = sorted(self._networks.glob("*.safetensors"))
        if well and self._to_install:
            self._start(["models", "install", str(self._to_install.pop(0))])
            return
        self._show_running(False)
        if well:
            self._ui.trainLabel.setText(_("The networks are trained and installed: the next analysis uses them."))

    def _show_running(self, running: bool) -> None:
        self._ui.trainBar.setVisible(running)
        self._ui.trainButton.setText(_("Cancel") if running else _("Train and install"))
        self._ui.fineTuneButton.enabled = not running
