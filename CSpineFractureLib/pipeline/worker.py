"""The worker: one process that loads the models once and runs study after study, told by JSON lines.

One JSON object a line, UTF-8; commands on stdin, events on stdout, and nothing else on stdout (what libraries print
goes to stderr).

Commands::

    {"command": "run", "id": "7", "input": "/path/ct.nrrd", "arrays": "/private/folder", "profile": "default",
     "series": null, "thresholds": {}, "exact": false, "models": {}}
    {"command": "cancel"}   or   {"command": "cancel", "id": "7"}
    {"command": "quit"}

``input`` is a path, or a volume handed over as a file in ``arrays``: ``{"hu": "input.npy", "ijk_to_ras": 4x4,
"grid": "native", "series_uid": ..., "frame_of_reference_uid": ..., "sop_instance_uids": [...],
"notices": [{"code", "message"}]}``. ``models`` names networks by task, in place of the profile's own.

Events, all with the ``id`` of their run::

    {"event": "ready", "version": "0.1.0", "pid": 4711}                       once, at the start (no id)
    {"event": "progress", "stage": ..., "done": ..., "total": ..., "message": ...}
    {"event": "result", "result": "result.json", "labels": "labels.npy", "cam": "cam.npy" | null,
     "cam_ijk_to_ras": 4x4 | null, "hu": "hu.npy" | null}
    {"event": "cancelled"}
    {"event": "error", "kind": "user" | "internal" | "request", "message": ...}

File names are relative to ``arrays``, arrays are ``.npy`` without pickles. ``hu`` comes only where the input was a
path, for then the client does not have the voxels. Runs wait for each other in the order they came; ``cancel``
without an id ends the current run and drops the waiting ones. The worker ends on ``quit`` and when stdin closes.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from CSpineFractureLib import __version__
from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.pipeline.stdout_guard import stdout_for_us_alone
from CSpineFractureLib.pipeline.threads import prepare_process

#: Seconds a run may take to notice that stdin has closed, before the process ends without it.
GRACE_S = 2.0


class Worker:
    """Reads commands in one thread and runs studies in the calling one.

    ``engine`` takes the place of ``pipeline.engine.Engine(device=device)``; its ``run_study`` gets the same arguments.
    """

    def __init__(self, commands: TextIO, events: TextIO, device: str = "auto", engine: Any = None) -> None:
        self._commands = commands
        self._events = events
        self._events_lock = threading.Lock()
        self._device = device
        self._engine = engine
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._cancelled_ids: set[str] = set()
        self._known_ids: set[str] = set()

    def serve(self) -> None:
        """Work until ``quit`` or the end of the commands."""
        self._send(event="ready", version=__version__, pid=os.getpid())
        threading.Thread(target=self._read_commands, name="commands", daemon=True).start()
        while (request := self._waiting.get()) is not None:
            self._run(request)

    def _read_commands(self) -> None:
        for line in self._commands:
            if line.strip():
                try:
                    if not self._take(line):
                        break
                except Exception as error:
                    self._send(event="error", id=None, kind="request", message=f"The request failed: {error}.")
        with self._lock:
            self._cancelled_ids |= self._known_ids
        self._waiting.put(None)
        # A run that is deep inside one batch must not keep an orphan alive.
        timer = threading.Timer(GRACE_S, os._exit, args=(0,))
        timer.daemon = True
        timer.start()

    def _take(self, line: str) -> bool:
        """Act on one line; False when it says to quit."""
        try:
            request = json.loads(line)
        except ValueError as error:
            self._send(event="error", id=None, kind="request", message=f"The line is not JSON ({error}).")
            return True
        command = request.get("command") if isinstance(request, dict) else None
        if command == "quit":
            return False
        if command == "cancel":
            with self._lock:
                self._cancelled_ids |= {request["id"]} if "id" in request else self._known_ids
        elif command == "run":
            fault = _request_fault(request)
            if fault:
                self._send(event="error", id=request.get("id"), kind="request", message=fault)
            else:
                with self._lock:
                    self._known_ids.add(request["id"])
                self._waiting.put(request)
        else:
            message = "The command is not one of run, cancel and quit."
            self._send(event="error", id=None, kind="request", message=message)
        return True

    def _run(self, request: dict[str, Any]) -> None:
        run_id = request["id"]

        def is_cancelled() -> bool:
            with self._lock:
                return run_id in self._cancelled_ids

        try:
            reply = self._run_study(request, is_cancelled)
        except Cancelled:
            self._send(event="cancelled", id=run_id)
        except UserError as error:
            self._send(event="error", id=run_id, kind="user", message=str(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            message = f"The analysis failed ({type(error).__name__}: {error})."
            self._send(event="error", id=run_id, kind="internal", message=" ".join(message.split()))
        else:
            self._send(event="result", id=run_id, **reply)
        finally:
            with self._lock:
                self._known_ids.discard(run_id)
                self._cancelled_ids.discard(run_id)

    def _run_study(self, request: dict[str, Any], is_cancelled: Any) -> dict[str, Any]:
        from CSpineFractureLib.pipeline.worker_files import read_input, write_reply

        if is_cancelled():
            message = "The run was cancelled before it began."
            raise Cancelled(message)
        if self._engine is None:
            from CSpineFractureLib.pipeline.engine import Engine

            self._engine = Engine(device=self._device)
        arrays = Path(request["arrays"])
        volume_or_path = read_input(request["input"], arrays)
        volume, output = self._engine.run_study(
            volume_or_path,
            request.get("profile") or "default",
            series=request.get("series"),
            thresholds=request.get("thresholds"),
            exact=bool(request.get("exact", False)),
            models=request.get("models"),
            on_event=lambda event: self._send(event="progress", id=request["id"], **event),
            is_cancelled=is_cancelled,
        )
        return write_reply(output, None if volume is volume_or_path else volume, arrays)

    def _send(self, **event: Any) -> None:
        line = json.dumps(event, ensure_ascii=False)
        with self._events_lock:
            try:
                self._events.write(line + "\n")
                self._events.flush()
            except OSError:  # nobody listens any more
                os._exit(0)


def _request_fault(request: dict[str, Any]) -> str | None:
    """What is wrong with a run request, or ``None``."""
    if not isinstance(request.get("id"), str) or not request["id"]:
        return "A run needs an id, a string."
    if not isinstance(request.get("input"), (str, dict)):
        return "A run needs an input: a path, or a volume in the arrays folder."
    if not isinstance(request.get("arrays"), str) or not os.path.isdir(request["arrays"]):
        return "A run needs arrays: the path of a private folder that exists."
    thresholds = request.get("thresholds") or {}
    if not isinstance(thresholds, dict) or not all(isinstance(value, (int, float)) for value in thresholds.values()):
        return "thresholds must map names to numbers."
    models = request.get("models") or {}
    if not isinstance(models, dict) or not all(isinstance(name, str) for name in models.values()):
        return "models must map tasks to names."
    if not all(isinstance(request.get(name), (str, type(None))) for name in ("profile", "series")):
        return "profile and series must be strings."
    return None


def main(device: str = "auto", engine: Any = None) -> None:
    """Run a worker on this process's stdin and stdout; ``engine`` as for ``Worker``."""
    prepare_process()
    commands = os.fdopen(os.dup(sys.stdin.fileno()), "r", encoding="utf-8", errors="replace")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())  # no library may eat a command
    os.close(null)
    with stdout_for_us_alone() as events:
        Worker(commands, events, device, engine).serve()


if __name__ == "__main__":
    main(*sys.argv[1:2])
