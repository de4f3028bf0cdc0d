"""The section that runs an analysis: Apply, which becomes Cancel, progress, status and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.commands import worker_command
from CSpineFractureLib.panel.session import AnalysisSession
from CSpineFractureLib.panel.stage_clock import Progress


class RunPanel:
    """Ties the widgets of the section "Analysis" to a session.

    Parameters
    ----------
    ui
        The widgets by name, as ``slicer.util.childWidgetVariables`` gives them.
    request
        Gives the arguments of ``AnalysisSession.start`` as they are chosen now.
    on_result
        Gets the study's ID when its nodes are in the scene.
    """

    def __init__(
        self,
        ui: Any,
        request: Callable[[], dict[str, Any]],
        on_result: Callable[[str], None],
        command: Callable[[str], Sequence[str]] = worker_command,
    ) -> None:
        self._ui, self._request, self._on_result = ui, request, on_result
        self.session = AnalysisSession(self, command)
        self._apply_text = ui.applyButton.text
        ui.applyButton.connect("clicked(bool)", self._on_button)
        ui.progressBar.setVisible(False)

    def refresh(self) -> None:
        """Enable what can be pressed now."""
        ready = self.session.is_busy or self._request()["node"] is not None
        self._ui.applyButton.enabled = ready
        if not ready:
            self._ui.statusLabel.setText(_("Load a CT and choose it above."))
        elif not self.session.is_busy and self._ui.statusLabel.text == _("Load a CT and choose it above."):
            self._ui.statusLabel.setText("")

    def _on_button(self) -> None:
        if self.session.is_busy:
            self._ui.applyButton.enabled = False
            self._ui.statusLabel.setText(_("Cancelling ..."))
            self.session.cancel()
            return
        try:
            with slicer.util.WaitCursor():
                self.session.start(**self._request())
        except UserError as error:
            self.on_failure(str(error))
            return
        self._set_running(True)
        self._ui.statusLabel.setText(_("Starting ..."))

    def on_progress(self, progress: Progress) -> None:
        if self._ui.applyButton.enabled:
            self._ui.progressBar.setRange(0, progress.total if progress.total > 1 else 0)
            self._ui.progressBar.setValue(progress.done)
            self._ui.statusLabel.setText(progress.text)

    def on_log(self, line: str) -> None:
        self._ui.logText.appendPlainText(line)

    def on_result(self, study: str) -> None:
        self._set_running(False)
        self._ui.statusLabel.setText(_("Done. The findings are below."))
        self._on_result(study)

    def on_cancelled(self, reason: str) -> None:
        self._set_running(False)
        self._ui.statusLabel.setText(reason or _("Cancelled. The scene is as it was."))

    def on_failure(self, message: str) -> None:
        self._set_running(False)
        self._ui.statusLabel.setText(message)
        self._ui.logText.appendPlainText(message)

    def _set_running(self, running: bool) -> None:
        self._ui.applyButton.setText(_("Cancel") if running else self._apply_text)
        self._ui.progressBar.setVisible(running)
        self._ui.progressBar.setRange(0, 0)
        for widget in (self._ui.inputSelector, self._ui.profileBox, self._ui.deviceBox, self._ui.fractureThreshold):
            widget.enabled = not running
        self._ui.applyButton.enabled = True
        if not running:
            self._ui.applyButton.enabled = self._request()["node"] is not None
