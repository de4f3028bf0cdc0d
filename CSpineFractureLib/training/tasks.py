"""What a run does for each task: the module that makes its images, fits, looks at a set and measures.

Each module has five functions::

    check(setup) -> None    raises UserError for a size the model cannot take, and starting weights of another network
    make_images(system, source, root, out, seed=0, single_set=False, on_progress=...) -> None
    fit(run, options, on_event) -> None             trains or goes on; exports run.weights; nothing when they are there
    look(run, set_name, device, on_event) -> Path   writes what the network says of a set
    measure(run, set_name) -> Metrics               writes metrics-<set>.json and plots; see measure_run.write_measured
"""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = {
    "slice-classifier": "slice_run",
    "level-presence": "slice_run",
    "vertebra-detector": "yolo_run",
    "fracture-detector": "yolo_run",
    "segmentation": "segmentation_run",
    "volume-segmentation": "volume_run",
    "vertebra-fracture": "vertebra_run",
    "radiograph": "radiograph_run",
    "column-locator": "column_run",
    "level-regressor": "regressor_run",
}
TASKS = tuple(_MODULES)
_USED_AS = {"volume-segmentation": "segmentation"}


def use_of(task: str) -> str:
    """The task of the engine that networks of a training task do."""
    return _USED_AS.get(task, task)


def steps_of(task: str) -> ModuleType:
    """The module of a task, imported now: it needs torch."""
    return importlib.import_module(f"CSpineFractureLib.training.{_MODULES[task]}")
