"""One analysis after another: the worker as a child process, read by a timer, so that Slicer never waits for it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import qt
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.commands import worker_command
from CSpineFractureLib.panel.input_check import checked_volume
from CSpineFractureLib.panel.messages import plain_failure
from CSpineFractureLib.panel.slice_probabilities import add_slice_table
from CSpineFractureLib.panel.stage_clock import Progress, StageClock
from CSpineFractureLib.pipeline.worker_client import WorkerClient
from CSpineFractureLib.scene.build import build_scene

POLL_MS = 100


class SessionListener(Protocol):
    """Who is told how an analysis goes. Exactly one of the last three is called for each start."""

    def on_progress(self, progress: Progress) -> None: ...

    def on_log(self, line: str) -> None: ...

    def on_result(self, study: str) -> None: ...

    def on_cancelled(self, reason: str) -> None: ...

    def on_failure(self, message: str) -> None: ...


class AnalysisSession:
    """Runs one CT at a time and adds its findings to the scene; the worker stays for the next one.

    Nothing is added to the scene before the result is there, so a cancelled or failed run leaves it as it was.
    """

    def __init__(
        self,
        listener: SessionListener,
        command: Callable[[str], Sequence[str]] = worker_command,
        poll_ms: int = POLL_MS,
    ) -> None:
        self._listener = listener
        self._command = command
        self._client: WorkerClient | None = None
        self._device: str | None = None
        self._node: slicer.vtkMRMLScalarVolumeNode | None = None
        self._scene: slicer.vtkMRMLScene | None = None
        self._lost = ""
        self._log: deque[str] = deque(maxlen=500)  # filled by a thread, emptied by the timer
        self._timer = qt.QTimer()
        self._timer.interval = poll_ms
        self._timer.connect("timeout()", self._on_timer)

    @property
    def is_busy(self) -> bool:
        return self._client is not None and self._client.is_busy

    @property
    def worker_pid(self) -> int | None:
        return None if self._client is None else self._client.pid

    def start(
        self,
        node: slicer.vtkMRMLScalarVolumeNode | None,
        profile: str = "default",
        device: str = "auto",
        thresholds: dict[str, float] | None = None,
    ) -> None:
        """Give a CT to the worker and return. Raises ``UserError`` when it cannot be analysed; nothing runs then."""
        if self.is_busy:
            message = "An analysis is running: cancel it or wait for its end."
            raise UserError(message)
        volume = checked_volume(node)
        if self._client is None or device != self._device:
            self.close()
            self._client, self._device = WorkerClient(self._command(device), on_log=self._log.append), device
        self._clock, self._lost = StageClock(), ""
        try:
            self._client.submit(volume, profile, thresholds=thresholds)
        except OSError as error:
            message = plain_failure(str(error))
            if message == str(error):
                reason = error.strerror or error
                message = f"The CT could not be handed to the analysis ({reason}): check the temporary folder."
            raise UserError(message) from error
        self._node, self._scene = node, node.GetScene()
        self._timer.start()

    def cancel(self) -> None:
        """Ask for the end of the run; ``on_cancelled`` follows within about a second."""
        if self.is_busy:
            self._client.cancel()

    def close(self) -> None:
        """End the worker. A running analysis is dropped without a word: its panel is going away."""
        self._timer.stop()
        self._node = self._scene = None
        if self._client is not None:
            self._client.close(timeout=0.5)
        self._client = None

    def _on_timer(self) -> None:
        while self._log:
            self._listener.on_log(self._log.popleft())
        if self._node is not None and not self._lost and self._node.GetScene() is not self._scene:
            self._lost = "The CT was removed from the scene during its analysis: nothing was added."
            self.cancel()
        for event in self._client.poll():
            self._take(event)
        if not self.is_busy:
            self._timer.stop()

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "progress":
            if not self._lost:
                self._listener.on_progress(self._clock.take(event))
        elif kind == "cancelled" or self._lost:
            self._node = self._scene = None
            self._listener.on_cancelled(self._lost)
        elif kind == "error":
            self._node = self._scene = None
            self._listener.on_failure(plain_failure(event["message"]))
        elif kind == "result":
            self._finish(event)

    def _finish(self, event: dict[str, Any]) -> None:
        node, scene, self._node, self._scene = self._node, self._scene, None, None
        before = set(_node_ids(scene))
        try:
            with slicer.util.WaitCursor():
                volume, output = self._client.collect(event)
                nodes = build_scene(scene, volume, output, node)
                add_slice_table(scene, nodes, output.result)
        except Exception as error:  # the panel must not wait for ever
            for added in [one for one in _node_ids(scene) if one not in before]:
                left = scene.GetNodeByID(added)
                if left is not None:
                    scene.RemoveNode(left)
            message = str(error)
            if not isinstance(error, (UserError, OSError, ValueError)):
                logging.exception("The findings could not be added to the scene.")
                message = f"The findings could not be added to the scene: {error}"
            self._listener.on_failure(plain_failure(message))
        else:
            self._listener.on_result(output.result.id)


def _node_ids(scene: slicer.vtkMRMLScene) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]
