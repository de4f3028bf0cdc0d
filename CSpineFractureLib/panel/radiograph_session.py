"""One radiograph after another: a worker of their own as a child process, read by a timer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import qt
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.commands import python_program
from CSpineFractureLib.panel.messages import plain_failure
from CSpineFractureLib.panel.radiograph_worker import WHITE
from CSpineFractureLib.panel.session import POLL_MS
from CSpineFractureLib.panel.stage_clock import Progress, StageClock
from CSpineFractureLib.pipeline.worker_client import WorkerClient
from CSpineFractureLib.scene.radiograph_nodes import RadiographNodes, add_radiograph


def radiograph_command(device: str = "auto") -> list[str]:
    """Starts the worker for radiographs on ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    return [python_program(), "-m", "CSpineFractureLib.panel.radiograph_worker", device]


class RadiographListener(Protocol):
    """Who is told how a radiograph goes. Exactly one of the last two is called for each start."""

    def on_progress(self, progress: Progress) -> None: ...

    def on_nodes(self, nodes: RadiographNodes) -> None: ...

    def on_end(self, message: str) -> None: ...


class RadiographSession:
    """Runs one radiograph at a time and adds it to the scene when its result is there; before, nothing is added.

    A run ends where the scene is closed meanwhile.
    """

    def __init__(
        self,
        listener: RadiographListener,
        scene: slicer.vtkMRMLScene,
        command: Callable[[str], Sequence[str]] = radiograph_command,
    ) -> None:
        self._listener, self._scene, self.command = listener, scene, command
        """Starts the worker for a device."""
        self._client: WorkerClient | None = None
        self._device, self._name = "", ""
        self._tag: int | None = None
        self._lost = False
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._on_timer)

    @property
    def is_busy(self) -> bool:
        return self._client is not None and self._client.is_busy

    def start(self, path: Path, name: str, device: str = "auto") -> None:
        """Give a file to the worker and return. ``name`` is for the nodes. Raises ``UserError`` or ``OSError``."""
        if self._client is None or device != self._device:
            self.close()
            self._client, self._device = WorkerClient(self.command(device)), device
        self._clock, self._name, self._lost = StageClock(), name, False
        self._client.submit(path, "radiograph")
        self._tag = self._scene.AddObserver(self._scene.StartCloseEvent, self._on_closing)
        self._timer.start()

    def cancel(self) -> None:
        """Ask for the end of the run; ``on_end`` follows within about a second."""
        if self.is_busy:
            self._client.cancel()

    def close(self) -> None:
        """End the worker; a run is dropped without a word."""
        self._stop()
        if self._client is not None:
            self._client.close(timeout=0.5)
        self._client = None

    def _stop(self) -> None:
        self._timer.stop()
        if self._tag is not None:
            self._scene.RemoveObserver(self._tag)
        self._tag = None

    def _on_closing(self, *_event: object) -> None:
        self._lost = True
        self.cancel()

    def _on_timer(self) -> None:
        for event in self._client.poll():
            self._take(event)
        if not self.is_busy:
            self._stop()

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "progress":
            self._listener.on_progress(self._clock.take(event))
        elif kind == "cancelled" or self._lost:
            self._listener.on_end("")
        elif kind == "error":
            self._listener.on_end(plain_failure(event["message"]))
        elif kind == "result":
            try:
                picture, output = self._client.collect(event)
                nodes = add_radiograph(self._scene, picture, output, self._name, WHITE)
            except (UserError, OSError, ValueError) as error:
                self._listener.on_end(plain_failure(str(error)))
            except Exception as error:  # the panel must not wait for ever
                logging.exception("The radiograph could not be added to the scene.")
                self._listener.on_end(plain_failure(f"The radiograph could not be added to the scene: {error}"))
            else:
                self._listener.on_nodes(nodes)
