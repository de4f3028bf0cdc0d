"""One run from images to figures: fit, look at the validation images, measure; and the same on another set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.clean_failure import no_empty_folders, nothing_unless_begun
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.metrics_file import Metrics
from CSpineFractureLib.training.run_clock import timed
from CSpineFractureLib.training.run_folder import RunFolder, Setup, open_run
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.tasks import steps_of

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Order:
    """What is to be trained: models of a system, on studies of a source, below the folder ``runs``."""

    system: System
    runs: Path
    source: str
    data: Path
    seed: int = 0
    start: str = ""

    @property
    def folder(self) -> Path:
        """The system's folder: images and one run per model."""
        return self.runs / self.system.folder

    def setup(self, model: str) -> Setup:
        """What the run of one model is."""
        return Setup(self.system, model, self.seed, self.source, str(self.data), self.start)


def check_models(order: Order, models: list[str]) -> None:
    """Raise ``UserError`` where one of the models is not the system's, cannot take images of its size, or cannot start
    from the weights; nothing is written."""
    check = steps_of(order.system.task).check
    for model in models:
        check(order.setup(model))


def prepare(order: Order, on_event: OnEvent) -> None:
    """Make the images of an order, unless they are there."""
    images = order.folder / "images"
    make_images = steps_of(order.system.task).make_images
    with no_empty_folders(images):
        make_images(order.system, order.source, order.data, images, order.seed, on_progress=_telling(on_event))


def train_model(order: Order, model: str, options: FitOptions, on_event: OnEvent) -> tuple[RunFolder, Metrics]:
    """Train one model, or go on with it, then measure it on the validation images; ``prepare`` comes first.

    Raises ``UserError`` for a model the system does not have, and for what the user can put right. Where that comes
    before anything was learnt, the run leaves nothing behind.
    """
    order.system.model(model)
    path, setup = order.folder / model, order.setup(model)
    with nothing_unless_begun(path, setup):
        run = open_run(path, setup)
        with timed(run, on_event) as tell:
            steps_of(order.system.task).fit(run, options, tell)
    return run, measure(run, "val", options.device, on_event)


def search_first(order: Order, trials: int, epochs: int, options: FitOptions, on_event: OnEvent) -> Order:
    """The order with the training values that a random search over short runs found best (document 000, III-C-2)."""
    if order.system.trainer != "ultralytics":
        message = f"--search goes with detectors, not with {order.system.name}: leave it out."
        raise UserError(message)
    from CSpineFractureLib.training.yolo_search import search_boxes

    found = search_boxes(order.folder, order.setup(order.system.default_model), trials, epochs, options, on_event)
    return replace(order, system=found)


def measure(run: RunFolder, set_name: str, device: str, on_event: OnEvent) -> Metrics:
    """Let the run's network look at a set whose images are there, and measure it; writes both into the run folder."""
    steps = steps_of(run.setup.system.task)
    steps.look(run, set_name, device, on_event)
    return steps.measure(run, set_name)


def measure_on(run: RunFolder, set_name: str, source: str, data: Path, device: str, on_event: OnEvent) -> Metrics:
    """Measure a run on studies of its own that nothing was trained on, under the name ``set_name``."""
    images = run.images_of(set_name)
    make_images = steps_of(run.setup.system.task).make_images
    make_images(run.setup.system, source, data, images, single_set=True, on_progress=_telling(on_event))
    return measure(run, set_name, device, on_event)


def _telling(on_event: OnEvent) -> Callable[[int, int], None]:
    return lambda done, total: on_event(
        {"stage": "images", "done": done, "total": total, "message": "Making the images"}
    )
