"""Commands run one after the other as child processes; their lines come by a timer, so that Slicer never waits."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence

import qt

from CSpineFractureLib.panel.child import start_child
from CSpineFractureLib.pipeline.worker_client import kill_tree

POLL_MS = 200


class ChildRun:
    """Runs commands in order until one fails.

    Parameters
    ----------
    on_line
        Gets every line that a child prints.
    on_end
        Gets ``True`` when the latest command ended well and there is no further one, ``False`` when one failed. Not
        called after ``cancel``.
    """

    def __init__(self, on_line: Callable[[str], None], on_end: Callable[[bool], None]) -> None:
        self._on_line, self._on_end = on_line, on_end
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._lines: deque[str] = deque()  # filled by threads, emptied by the timer
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._on_timer)

    @property
    def is_running(self) -> bool:
        """Whether a command is running, or its last lines are still to come."""
        return self._process is not None

    def start(self, command: Sequence[str]) -> None:
        """Start a command. Raises ``OSError`` when that cannot be done."""
        self._process = start_child(command)
        streams = (self._process.stdout, self._process.stderr)
        self._readers = [threading.Thread(target=self._lines.extend, args=(one,), daemon=True) for one in streams]
        for reader in self._readers:
            reader.start()
        self._timer.start()

    def cancel(self) -> None:
        """End the command at once."""
        self._timer.stop()
        process, self._process = self._process, None
        if process is not None:
            kill_tree(process)  # PythonSlicer is a launcher, and the work is done by its child
            self._close(process)

    def _on_timer(self) -> None:
        self._tell()
        if self._process.poll() is None or any(reader.is_alive() for reader in self._readers):
            return
        self._timer.stop()
        process, self._process = self._process, None
        self._close(process)
        self._tell()
        self._on_end(process.returncode == 0)

    def _tell(self) -> None:
        while self._lines:
            self._on_line(self._lines.popleft().rstrip())

    def _close(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)
        for stream in (process.stdout, process.stderr):
            stream.close()
