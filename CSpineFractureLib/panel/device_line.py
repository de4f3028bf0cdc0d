"""The line that says what the networks will run on; asked of a child process, for torch must stay out of Slicer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from CSpineFractureLib.panel.child import start_child
from CSpineFractureLib.panel.commands import device_command
from CSpineFractureLib.panel.messages import plain_failure
from CSpineFractureLib.pipeline.worker_client import kill_tree

_POLL_MS = 200


class DeviceLine:
    """Writes the answer into a label when it comes; Slicer does not wait."""

    def __init__(self, label: Any, command: Callable[[str], Sequence[str]] = device_command) -> None:
        self._label, self._command = label, command
        self._process: subprocess.Popen[str] | None = None
        self._timer = qt.QTimer()
        self._timer.interval = _POLL_MS
        self._timer.connect("timeout()", self._on_timer)

    def ask(self, device: str) -> None:
        """Ask anew about ``auto``, ``cpu``, ``cuda`` or ``mps``."""
        self.close()
        self._label.setText(_("Looking at the device ..."))
        try:
            self._process = start_child(self._command(device))
        except OSError as error:
            self._label.setText(_("The device could not be asked: {reason}.").format(reason=error.strerror or error))
            return
        self._timer.start()

    def close(self) -> None:
        """Stop asking."""
        self._timer.stop()
        process, self._process = self._process, None
        if process is not None:
            kill_tree(process)  # PythonSlicer is a launcher: its child would hold the pipes until torch is loaded
            process.wait()
            for stream in (process.stdout, process.stderr):
                stream.close()

    def _on_timer(self) -> None:
        if self._process.poll() is None:
            return
        self._timer.stop()
        output, errors = self._process.communicate()
        self._process = None
        try:
            text = plain_failure(json.loads(output.strip().splitlines()[-1])["text"])
        except (ValueError, LookupError, TypeError):
            lines = errors.strip().splitlines()
            text = plain_failure(lines[-1]) if lines else _("The device is not known.")
        self._label.setText(text)
