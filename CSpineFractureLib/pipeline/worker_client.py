"""The client's side of the worker: start it, give it studies, hear its events, cancel or kill it. No torch here."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from CSpineFractureLib.errors import Cancelled, UserError

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.volume.ct_volume import CTVolume

#: Seconds a run has to answer a cancel before the worker is killed.
CANCEL_S = 1.0
_LAST_EVENTS = ("result", "cancelled", "error")


class WorkerClient:
    """A worker process and the studies given to it, one at a time.

    Two ways to use it: ``run`` waits for the result; a graphical program calls ``submit``, then ``poll`` from a timer,
    and ``collect`` when the ``result`` event has come. Use it as a context manager, or call ``close``.

    Parameters
    ----------
    command
        How to start a worker; by default this Python and ``-m CSpineFractureLib.pipeline.worker``.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``; only with the default command.
    on_log
        Gets each line the worker prints on stderr; by default they are dropped.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        device: str = "auto",
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self._command = list(command or (sys.executable, "-m", "CSpineFractureLib.pipeline.worker", device))
        self._on_log = on_log
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._folder: Path | None = None
        self._run_id: str | None = None
        self._volume: CTVolume | None = None
        self._kill_at: float | None = None

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether the process is alive (with or without a study)."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_busy(self) -> bool:
        """Whether a study was submitted whose last event has not come yet."""
        return self._run_id is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process if it is not alive. ``submit`` does so too; starting early hides the import time."""
        if self.is_running:
            return
        self._events = queue.Queue()
        package_root = str(Path(__file__).resolve().parents[2])
        search_path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        alone: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            alone = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, "PYTHONPATH": search_path},
                **alone,
            )
        except OSError as error:
            message = (
                f"The worker could not be started ({error.strerror or error}): check the Python {self._command[0]}."
            )
            raise UserError(message) from error
        for target in (self._read_events, self._read_log):
            threading.Thread(target=target, args=(self._process, self._events), daemon=True).start()

    def submit(
        self,
        volume_or_path: CTVolume | str | Path,
        profile: str = "default",
        *,
        series: str | None = None,
        thresholds: dict[str, float] | None = None,
        exact: bool = False,
        models: dict[str, str] | None = None,
    ) -> str:
        """Give the worker a study and return at once; the id of the run. One at a time: ``RuntimeError`` when busy.

        Raises ``OSError`` where the volume cannot be written for the worker; nothing of it stays.
        """
        if self.is_busy:
            message = "The worker is busy with a study."
            raise RuntimeError(message)
        self.start()
        self._forget_files()
        self._folder = Path(tempfile.mkdtemp(prefix="cspine-"))  # readable by this user alone (0700)
        self._volume = None
        source: Any = str(volume_or_path)
        if not isinstance(volume_or_path, (str, Path)):
            from CSpineFractureLib.pipeline.worker_files import write_input

            self._volume = volume_or_path
            try:
                source = write_input(volume_or_path, self._folder)
            except OSError:
                self._forget_files()  # they may have filled the disk
                raise
        self._run_id = str(uuid4())
        self._kill_at = None
        request = {"profile": profile, "series": series, "thresholds": thresholds or {}, "exact": exact}
        request["models"] = models or {}
        self._send(command="run", id=self._run_id, input=source, arrays=str(self._folder), **request)
        return self._run_id

    def poll(self, timeout: float = 0.0) -> list[dict[str, Any]]:
        """The events of the current run since the last call; waits up to ``timeout`` seconds for the first.

        The last event is ``result``, ``cancelled`` or ``error`` (kind ``died`` when the process ended by itself). A
        cancel that the worker has not answered within a second is carried out here, by killing it.
        """
        if self._kill_at is not None:
            timeout = max(0.0, min(timeout, self._kill_at - time.monotonic()))
        events = []
        while self.is_busy:
            try:
                event = self._events.get(timeout=timeout) if timeout > 0 and not events else self._events.get_nowait()
            except queue.Empty:
                break
            if event["event"] != "died" and event.get("id") != self._run_id:
                continue
            if event["event"] == "died":
                event = self._death(event["returncode"])
            if event["event"] in _LAST_EVENTS:
                self._run_id = self._kill_at = None
            events.append(event)
        if self.is_busy and self._kill_at is not None and time.monotonic() >= self._kill_at:
            run_id = self._run_id
            self.kill()
            events.append({"event": "cancelled", "id": run_id})
        return events

    def cancel(self) -> None:
        """Ask the current run to end; ``poll`` tells when it has, within about a second."""
        if self.is_busy and self._kill_at is None:
            self._kill_at = time.monotonic() + CANCEL_S
            self._send(command="cancel", id=self._run_id)

    def collect(self, event: dict[str, Any]) -> tuple[CTVolume, StudyOutput]:
        """The volume and output of a ``result`` event; their files are deleted."""
        from CSpineFractureLib.pipeline.worker_files import read_reply

        if self._folder is None:
            message = "The files of this run are gone."
            raise RuntimeError(message)
        try:
            return read_reply(event, self._folder, self._volume)
        finally:
            self._forget_files()

    def run(
        self,
        volume_or_path: CTVolume | str | Path,
        profile: str = "default",
        *,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> tuple[CTVolume, StudyOutput]:
        """Run one study and wait. ``options`` as for ``submit``; ``on_event`` gets the progress events.

        Raises ``UserError`` (also when the worker died), ``Cancelled``, or ``RuntimeError`` for a fault of the program.
        """
        self.submit(volume_or_path, profile, **options)
        try:
            while True:
                if is_cancelled is not None and is_cancelled():
                    self.cancel()
                for event in self.poll(0.1):
                    if event["event"] == "progress" and on_event is not None:
                        on_event(event)
                    elif event["event"] in _LAST_EVENTS:
                        return self._finish(event)
        finally:
            if self.is_busy:
                self.kill()
            self._forget_files()

    def _finish(self, event: dict[str, Any]) -> tuple[CTVolume, StudyOutput]:
        if event["event"] == "result":
            return self.collect(event)
        if event["event"] == "cancelled":
            message = "The run was cancelled."
            raise Cancelled(message)
        raise (UserError if event["kind"] in ("user", "died") else RuntimeError)(event["message"])

    def kill(self) -> None:
        """End the process and all its children at once; the next study starts a new worker."""
        process, self._process = self._process, None
        self._run_id = self._kill_at = None
        if process is None:
            return
        kill_tree(process)
        process.wait()
        _close_quietly(process.stdin)
        self._forget_files()

    def close(self, timeout: float = 3.0) -> None:
        """Let the worker end (it does when its stdin closes), or kill it after ``timeout`` seconds."""
        if self.is_running and not self.is_busy:
            _close_quietly(self._process.stdin)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()
        self._forget_files()

    def _send(self, **command: Any) -> None:
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # the process is gone; its death comes as an event

    def _death(self, code: int) -> dict[str, Any]:
        cancelled = self._kill_at is not None
        run_id = self._run_id
        self.kill()
        if cancelled:
            return {"event": "cancelled", "id": run_id}
        message = (
            f"The analysis process ended unexpectedly (code {code}), perhaps for want of memory: close other programs"
            " and run the study again."
        )
        return {"event": "error", "id": run_id, "kind": "died", "message": message}

    def _forget_files(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _read_events(self, process: subprocess.Popen[str], events: queue.Queue[dict[str, Any]]) -> None:
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # not from the worker itself
            if isinstance(event, dict) and "event" in event:
                events.put(event)
        events.put({"event": "died", "returncode": process.wait()})
        process.stdout.close()

    def _read_log(self, process: subprocess.Popen[str], _events: queue.Queue[dict[str, Any]]) -> None:
        for line in process.stderr:
            if self._on_log is not None:
                self._on_log(line.rstrip("\n"))
        process.stderr.close()


def kill_tree(process: subprocess.Popen) -> None:
    """Kill a process and its children; without psutil, which Slicer's Python may lack, the process alone."""
    try:
        import psutil  # imported late: only needed here
    except ImportError:
        process.kill()
        return
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        family = [*parent.children(recursive=True), parent]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def _close_quietly(stream: Any) -> None:
    with contextlib.suppress(OSError):
        stream.close()
