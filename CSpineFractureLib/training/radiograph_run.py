"""Training of the classifiers of radiographs (document 001): the functions of ``tasks``.

The images of a run are a table alone: the radiographs stay where they are. Of the split ``test``, where there is one,
a table of its own is made (``images-test``), and a run that is measured on ``val`` is measured on it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn

from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.radiographs import (
    CLASSES,
    SOURCES,
    TABLE,
    RadiographRecord,
    read_radiographs,
    read_table,
    split_radiographs,
    write_table,
)
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.batches import run_batches
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.manifest import as_metadata
from CSpineFractureLib.models.starting_weights import start_from
from CSpineFractureLib.models.weights_file import load_weights, save_weights
from CSpineFractureLib.training import plots
from CSpineFractureLib.training.data_options import check_keys
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_fit import fit_lightning, one_sentence, telling
from CSpineFractureLib.training.lightning_keep import BEST
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.measure_run import Measured, write_measured
from CSpineFractureLib.training.metrics_file import Figure, Metrics
from CSpineFractureLib.training.radiograph_baselines import measure_baselines
from CSpineFractureLib.training.radiograph_pictures import RadiographPictures, radiograph_data
from CSpineFractureLib.training.radiograph_report import (
    Answers,
    class_figures,
    radiograph_confusion,
    radiograph_figures,
    read_answers,
    strata_of,
    write_answers,
)
from CSpineFractureLib.training.radiograph_task import RadiographTask
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.run_images import already_made, made_from, note_made
from CSpineFractureLib.training.slice_export import check_network, exported_network, new_network
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.teachable import plain

PREDICT_BATCH = 16
TEST = "test"


def make_images(
    system: System,
    source: str,
    root: Path,
    out: Path,
    seed: int = 0,
    single_set: bool = False,
    on_progress: Progress = no_progress,
) -> None:
    """Write the table of the radiographs below ``root`` with their split into ``out``, unless it is there already.

    Split by person as ``data.split`` says, or into parts by ``data.folds`` and ``data.fold``; with ``single_set`` all
    are ``test``. Raises ``UserError`` for an unknown source, where ``out`` holds another table, and where a class is
    missing on a side that is learned from or chosen by.
    """
    if source not in SOURCES:
        message = f"--source {source} does not hold radiographs: use one of {', '.join(SOURCES)}."
        raise UserError(message)
    check_keys(system, ("split", "folds", "fold"))
    made = made_from(system.data, source, root, seed, single_set)
    if already_made(out, made, "a table"):
        return
    data = made["data"]
    records = read_radiographs(root)
    if single_set:
        records = [replace(record, split=TEST) for record in records]
    else:
        folds, fold = int(data.get("folds") or 0), int(data.get("fold") or 0)
        records = split_radiographs(records, str(data.get("split", "70:15:15")), seed, folds, fold)
        _check_classes(records, root)
        held = [record for record in records if record.split == TEST]
        if held:
            _write(held, out.with_name(f"{out.name}-{TEST}"), made)
    _write(records, out, made)
    on_progress(len(records), len(records))


def check(setup: Setup) -> None:
    """Raise ``UserError`` where the model cannot take radiographs of its size, or not start from the weights."""
    check_network(setup, _new_network)


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """Train the network of a run, or go on with it, and export the weights of its best epoch.

    A run that has its weights is left as it is. Raises ``UserError`` where the radiographs or starting weights do not
    serve, the checkpoints are of another network, or memory or disk space are short.
    """
    if run.weights.is_file():
        return
    with one_sentence(run):
        data = radiograph_data(run, options.workers)
        data.read_all(telling(on_event, "pictures", "Reading the radiographs"))
        lightning.seed_everything(run.setup.seed, workers=True, verbose=False)
        module = RadiographTask(_new_network(run.setup), run.setup.system, run.setup.seed)
        fit_lightning(run, module, data, options, on_event)
        _export(run, load_weights(plain(module.network), run.checkpoints / BEST, run.remedy))


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's exported network look at a set; returns ``predictions-<set>.csv`` (see ``write_answers``).

    With ``val`` it looks at ``test`` as well, where there is such a split. Raises ``UserError`` where weights or
    radiographs are missing or damaged.
    """
    network = exported_network(run)
    for name in _sets(run, set_name):
        pictures = _pictures(run, name)

        @torch.inference_mode()
        def ask(batch: Sequence[int], where: str, pictures: RadiographPictures = pictures) -> torch.Tensor:
            images = torch.stack([pictures[index][0] for index in batch])
            return torch.softmax(network.to(where)(images.to(where)).float(), 1).cpu()

        tell = telling(on_event, "predict", f"Looking at the radiographs of {name}")
        found = run_batches(ask, range(len(pictures)), PREDICT_BATCH, choose_device(str(device)), tell)
        write_answers(run.predictions(name), pictures.records, np.array([one.tolist() for one in found]))
    return run.predictions(set_name)


def measure(run: RunFolder, set_name: str) -> Metrics:
    """Measure what ``look`` found: ``metrics-<set>.json`` with intervals over persons, strata, per class, and plots.

    The baselines are measured beside it, see ``radiograph_baselines``; with ``val`` the split ``test`` as well.
    """
    metrics = {name: _measure_one(run, name) for name in _sets(run, set_name)}
    learned = RadiographPictures(run.images, "train", run.setup.size)
    training = None
    for name, one in metrics.items():
        asked = _pictures(run, name)
        groups = np.array([record.group for record in asked.records])
        if training is None:
            training = learned.read_all(), learned.targets.numpy()
        measure_baselines(run, name, one.data, training, (asked.read_all(), asked.targets.numpy()), groups)
    return metrics[set_name]


def _measure_one(run: RunFolder, set_name: str) -> Metrics:
    answers = read_answers(run.predictions(set_name))
    truth, probability = answers.truth, answers.probability
    matrix = radiograph_confusion(truth, probability)
    measured = Measured(radiograph_figures, answers.groups, (truth, probability), strata_of(answers))
    measured.per_class = class_figures(truth, probability)
    right = int(np.trace(matrix))
    measured.further = {"right": Figure(right), "wrong": Figure(len(truth) - right)}
    measured.confusion = {"labels": list(CLASSES), "matrix": matrix.tolist()}
    measured.plots["confusion"] = lambda path, title, note: plots.confusion_plot(path, matrix, CLASSES, title, note)
    if curves := roc_curves(answers):
        measured.plots["roc"] = lambda path, title, note: plots.roc_plot(path, curves, title, note)
    return write_measured(run, set_name, measured)


def roc_curves(answers: Answers) -> list[plots.Curve]:
    """A ROC curve per class against the others, of the classes that are there."""
    from CSpineFractureLib.training.binary_report import roc_points

    areas = class_figures(answers.truth, answers.probability)
    return [
        (f"{name}, AUC {areas[name]['auc']:.3f}", *roc_points(answers.truth == n, answers.probability[:, n]))
        for n, name in enumerate(CLASSES)
        if areas[name]["auc"] is not None
    ]


def _check_classes(records: Sequence[RadiographRecord], root: Path) -> None:
    for split in ("train", "val"):
        for name in CLASSES:
            if not any(record.split == split and record.kind == name for record in records):
                message = f"No radiograph of the split '{split}' shows class {name} ('{root}'): give more radiographs."
                raise UserError(message)


def _write(records: Sequence[RadiographRecord], folder: Path, made: dict[str, Any]) -> None:
    write_table(records, folder)
    note_made(folder, made)


def _sets(run: RunFolder, set_name: str) -> list[str]:
    held = set_name == "val" and (run.images_of(TEST) / TABLE).is_file() and bool(read_table(run.images, TEST))
    return [set_name, TEST] if held else [set_name]


def _pictures(run: RunFolder, set_name: str) -> RadiographPictures:
    return RadiographPictures(run.images_of(set_name), "val" if set_name == "val" else TEST, run.setup.size)


def _new_network(setup: Setup) -> nn.Module:
    """The run's network with the weights it starts from. Of the stacked one, a file may fill either part or both."""
    network = new_network(replace(setup, start="") if Path(setup.start).is_file() else setup)
    if not Path(setup.start).is_file():
        return network
    parts = getattr(network, "parts", ())
    filled = 0
    for part in (network, *parts):
        try:
            start_from(part, setup.start)
            filled += 1
        except UserError:
            if part is (parts[-1] if parts else network) and not filled:
                raise
    return network


def _export(run: RunFolder, network: nn.Module) -> None:
    """Write the run's weights with all that is needed to install them."""
    synthetic = "synthetic radiographs of the cervical spine (cspine phantom)"
    entry = run.entry()
    entry = replace(entry, trained_on=synthetic) if run.setup.synthetic else entry
    save_weights(network, run.weights, metadata=as_metadata(entry))
