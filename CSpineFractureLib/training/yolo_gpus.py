"""One YOLO run on several GPUs of this computer: a process for each, started by ``torchrun``; the first one reports.

Run as a module, this file is such a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import CSpineFractureLib
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import RunFolder, read_run

OnEvent = Callable[[dict[str, Any]], None]


def train_on_gpus(run: RunFolder, options: FitOptions, on_event: OnEvent, images: Path) -> None:
    """Train a run with ``options.devices`` GPUs; as ``yolo_fit.train_here``. The run must stand in its folder.

    Raises ``UserError`` where the processes end with an error; theirs if they told one.
    """
    library = str(Path(CSpineFractureLib.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
    plain = {name: getattr(options, name) for name in ("device", "devices", "precision", "workers")}
    order = json.dumps({"run": str(run.path.resolve()), "images": str(images.resolve()), "options": plain})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={options.devices}"]
    process = subprocess.Popen(
        [*command, "-m", __name__, order], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    told = ""
    try:
        for line in process.stdout or ():
            event = _event(line)
            told = event.get("error", told)
            if "stage" in event:
                on_event(event)
        process.wait()
    finally:
        process.terminate()  # torchrun ends its processes with itself
        process.wait()
    if process.returncode:
        message = told or f"Training on {options.devices} GPUs ended early: read its messages above, or use --gpus 1."
        raise UserError(message)


def _event(line: str) -> dict[str, Any]:
    """What a line of the first process says; nothing where it is no event."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _take_part(order: dict[str, Any]) -> None:
    """Train as one of the processes."""
    from CSpineFractureLib.training.yolo_checkpoint import read_last
    from CSpineFractureLib.training.yolo_fit import identity, train_here, training_data
    from CSpineFractureLib.training.yolo_settings import trainer_settings

    run, options = read_run(Path(order["run"])), FitOptions(**order["options"])
    data, state = training_data(run, Path(order["images"])), read_last(run.checkpoints, identity(run))
    train_here(run, trainer_settings(run, options), data, state, _tell)


def _tell(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    try:
        _take_part(json.loads(sys.argv[1]))
    except (UserError, OSError) as error:
        _tell({"error": str(error)})
        sys.exit(2)
