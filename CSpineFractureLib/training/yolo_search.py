"""Random search over the training values of a detector, as document 000 did for its table 1 (section III-C-2).

The document gives neither ranges nor the number of tries; the ranges stand in the system's YAML file under ``search``.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training.clean_failure import nothing_unless_begun
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import Setup, open_run
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.yolo_fit import fit_boxes

SEARCH, TABLE = "search", "search.csv"
FIGURES = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "map50": "metrics/mAP50(B)",
    "map50_95": "metrics/mAP50-95(B)",
}
OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Trial:
    """A try: the training values it changed, and what its best epoch reached on the validation pictures."""

    values: dict[str, Any]
    figures: dict[str, float]


def search_boxes(
    folder: Path, setup: Setup, trials: int, epochs: int, options: FitOptions, on_event: OnEvent
) -> System:
    """Train ``trials`` short runs of ``epochs`` epochs with drawn values; returns the system with the best ones.

    ``folder`` is the system's: it holds ``images``, and gets ``search/<model>/<number>`` for each try and
    ``search/<model>/search.csv``. The values are drawn from ``setup.seed``, so the first tries stay the same when more
    are asked for, and tries that are finished are not run again. The best has the highest mAP50-95 on the validation
    pictures. Events have the stage ``search`` and count the tries in thousandths.

    Raises ``UserError`` for a system without ranges or with wrong ones, and as ``fit_boxes`` does.
    """
    if trials < 1 or epochs < 1:
        message = f"A search of {trials} tries of {epochs} epochs finds nothing: give at least one of each."
        raise UserError(message)
    place, done = folder / SEARCH / setup.model, []
    for number, values in enumerate(drawn_values(setup.system, trials, setup.seed)):
        tell = _counting(on_event, number, trials)
        done.append(_try(place / f"{number:03d}", folder / "images", setup, values, epochs, options, tell))
        _write_table(place / TABLE, done)
    best = max(done, key=lambda trial: trial.figures["map50_95"])
    return _with(setup.system, best.values)


def drawn_values(system: System, trials: int, seed: int) -> list[dict[str, Any]]:
    """The training values of each try. Raises ``UserError`` for a system without ranges or with wrong ones."""
    from scipy.stats import loguniform, uniform
    from sklearn.model_selection import ParameterSampler

    ranges = {}
    for name, rule in system.search.items():
        try:
            ((kind, values),) = rule.items()
            if kind == "choice":
                ranges[name] = [*values]
            else:
                low, high = (float(value) for value in values)
                if not low < high or (kind == "log" and low <= 0):
                    raise ValueError
                ranges[name] = {"log": loguniform(low, high), "uniform": uniform(low, high - low)}[kind]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = (
                f"The range of {name} under search of system {system.name} is wrong ({rule}): write it as log: [low,"
                " high], uniform: [low, high] or choice: [a, b, ...]."
            )
            raise UserError(message) from error
    if not ranges:
        message = f"System {system.name} has no ranges to search: leave --search out, or add search to its YAML file."
        raise UserError(message)
    sampler = ParameterSampler(ranges, trials, random_state=seed)
    return [{name: _plain(value) for name, value in one.items()} for one in sampler]


def _try(
    path: Path, images: Path, setup: Setup, values: dict[str, Any], epochs: int, options: FitOptions, on_event: OnEvent
) -> Trial:
    """Run or finish one try, and read what it reached. Its checkpoints are deleted when it is finished."""
    own = replace(setup, system=_with(setup.system, {**values, "epochs": epochs}))
    with nothing_unless_begun(path, own):
        run = open_run(path, own)
        fit_boxes(run, options, on_event, images)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    with open(run.logs / "results.csv", encoding="utf-8", newline="") as stream:
        rows = [{name: float(row[column]) for name, column in FIGURES.items()} for row in csv.DictReader(stream)]
    return Trial(values, max(rows, key=lambda row: row["map50_95"]))


def _write_table(path: Path, trials: list[Trial]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", *trials[0].values, *FIGURES])
    for number, trial in enumerate(trials):
        table.writerow([f"{number:03d}", *trial.values.values(), *trial.figures.values()])
    write_text_atomically(text.getvalue(), path)


def _with(system: System, values: dict[str, Any]) -> System:
    return replace(system, training={**system.training, **values})


def _plain(value: Any) -> Any:
    """A drawn value as YAML can hold it: four digits are enough."""
    value = value.item() if hasattr(value, "item") else value
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _counting(on_event: OnEvent, number: int, trials: int) -> OnEvent:
    def tell(event: dict[str, Any]) -> None:
        share = event["done"] / max(event["total"], 1)
        message = f"Try {number + 1} of {trials}: {event['message']}"
        on_event(
            {"stage": "search", "done": round(1000 * (number + share)), "total": 1000 * trials, "message": message}
        )

    return tell
