"""The section "Setup": what is installed, and the buttons that install and remove it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.install_plan import Plan
from CSpineFractureLib.panel.install_text import state_line
from CSpineFractureLib.panel.installer import Installer


def _choose_folder(parent: Any) -> str:
    return qt.QFileDialog.getExistingDirectory(parent, _("Folder with the wheels (*.whl) to install"))


class SetupPanel:
    """Ties the widgets of the section "Setup" to an installer.

    Parameters
    ----------
    ui
        The widgets by name.
    on_change
        Called after something was installed or removed, so that child processes start anew.
    """

    def __init__(
        self,
        ui: Any,
        on_change: Callable[[], None],
        installer: Installer | None = None,
        choose_folder: Callable[[Any], str] = _choose_folder,
    ) -> None:
        self._ui, self._on_change, self._choose_folder = ui, on_change, choose_folder
        self.installer = installer or Installer()
        ui.setupCollapsibleButton.connect("contentsCollapsed(bool)", self._on_collapsed)
        ui.installButton.connect("clicked(bool)", self._on_install)
        ui.installFolderButton.connect("clicked(bool)", self._on_install_folder)
        ui.removeButton.connect("clicked(bool)", lambda: self._run(self.installer.remove))

    def open_where_needed(self) -> None:
        """Unfold the section when something is missing at first sight."""
        if self._ui.setupCollapsibleButton.collapsed and not self.installer.is_code_there():
            self._ui.setupCollapsibleButton.collapsed = False

    def refresh(self) -> Plan:
        """Look anew, and enable the buttons that have something to do; returns what was found."""
        plan = self.installer.plan()
        self._ui.setupLabel.setText("\n".join(state_line(state) for state in plan.states))
        self._ui.installButton.enabled = self._ui.installFolderButton.enabled = bool(plan.needed)
        self._ui.removeButton.enabled = bool(self.installer.recorded())
        self._ui.setupStatus.setVisible(bool(self._ui.setupStatus.text))
        return plan

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.refresh()

    def _on_install(self) -> None:
        self._run(self.installer.install)

    def _on_install_folder(self) -> None:
        folder = self._choose_folder(self._ui.setupCollapsibleButton)
        if folder:
            self._run(lambda: self.installer.install(Path(folder)))

    def _run(self, work: Callable[[], str]) -> None:
        before = self.installer.plan()
        self._ui.setupStatus.setVisible(True)
        self._ui.setupStatus.setText(_("This can take some minutes ..."))
        try:
            text = work()
        except (UserError, OSError) as error:
            text = str(error)
        self._ui.setupStatus.setText(text)
        if self.refresh() != before:
            self._on_change()
