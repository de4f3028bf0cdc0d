"""Measure a trained run on a set: figures with intervals, by stratum, as ``metrics-<set>.json`` and plots."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import plots
from CSpineFractureLib.training.bootstrap import Figures, with_intervals
from CSpineFractureLib.training.calibration import apply_temperature, expected_calibration_error, fit_temperature
from CSpineFractureLib.training.metrics_file import DataFacts, Figure, Metrics, metrics_path, write_metrics
from CSpineFractureLib.training.read_predictions import (
    read_detections,
    read_predictions,
    strata_in,
    stratum_rows,
)
from CSpineFractureLib.training.run_clock import trained_seconds
from CSpineFractureLib.training.run_command import command_of
from CSpineFractureLib.training.run_folder import RunFolder, is_synthetic, read_run
from CSpineFractureLib.training.run_images import MADE_FILE

VALIDATION = "val"
SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SAMPLES, BOX_SAMPLES, STRATUM_SAMPLES = 1000, 200, 200
"""Bootstrap samples: of classifiers, of detectors (each sample takes some hundredths of a second), of any stratum."""
SOURCE_NAMES = {"rsna": "RSNA-2022", "corrections": "reviewed studies", "radiographs": "radiographs"}
Plot = Callable[[Path, str, str], None]


@dataclass
class Measured:
    """What one kind of task gives: rows of the bootstrap and a function of them, class tables, and plots by name."""

    function: Callable[..., Figures]
    studies: np.ndarray
    arrays: tuple[np.ndarray, ...]
    strata: dict[str, np.ndarray]
    samples: int = SAMPLES
    quick: Callable[..., Figures] | None = None
    further: dict[str, Figure] = field(default_factory=dict)
    per_class: dict[str, dict] | None = None
    confusion: dict[str, list] | None = None
    plots: dict[str, Plot] = field(default_factory=dict)


def measure_run(
    run: Path,
    set_name: str = VALIDATION,
    *,
    command: str = "",
    samples: int | None = None,
    seed: int = 0,
) -> Metrics:
    """Measure the run folder ``run`` on a set that it has predicted; writes ``metrics-<set>.json`` and the plots.

    Parameters
    ----------
    set_name
        ``val`` or another set: ``predictions-<set>.csv`` or ``detections-<set>.json`` must lie in the folder.
    command
        How the run was made, for the document; else it is made up from the run's setup.
    samples
        Bootstrap samples instead of ``SAMPLES`` and its like; 0 for no intervals.
    seed
        Of the bootstrap.

    Raises ``UserError`` where the folder holds no run or no predictions of that set, or they are broken.
    """
    folder = read_run(run)
    tables, boxes = folder.predictions(set_name), folder.detections(set_name)
    if not SET_NAME.fullmatch(set_name) or not (tables.is_file() or boxes.is_file()):
        message = f"'{run}' holds no predictions of a set '{set_name}'; it holds: {', '.join(_sets(run)) or 'none'}."
        raise UserError(message)
    measured = _of_boxes(folder, boxes) if boxes.is_file() else _of_classes(folder, set_name)
    return write_measured(folder, set_name, measured, command=command, samples=samples, seed=seed)


def check_set_name(name: str) -> None:
    """Raise ``UserError`` for a name that cannot be part of a file's name."""
    if not SET_NAME.fullmatch(name):
        message = f"--set {name!r} cannot name a set: use letters, digits, '.', '_' and '-', such as benchmark-v1."
        raise UserError(message)


def measure(run: RunFolder, set_name: str) -> Metrics:
    """``measure_run`` as ``tasks`` asks for it."""
    return measure_run(run.path, set_name)


def write_measured(
    folder: RunFolder,
    set_name: str,
    measured: Measured,
    *,
    command: str = "",
    samples: int | None = None,
    seed: int = 0,
) -> Metrics:
    """Figures with intervals, in all and by stratum, as ``metrics-<set>.json``, and the plots; see ``measure_run``."""
    figures = with_intervals(
        measured.function,
        measured.studies,
        *measured.arrays,
        n=measured.samples if samples is None else samples,
        seed=seed,
        quick=measured.quick,
    )
    setup, system = folder.setup, folder.setup.system
    metrics = Metrics(
        system=system.name,
        document=system.document,
        model=setup.model,
        set=set_name,
        data=_data(folder, set_name, measured.studies),
        figures=figures | measured.further,
        strata=_strata(measured, STRATUM_SAMPLES if samples is None else min(samples, STRATUM_SAMPLES), seed),
        parameters=_parameters(folder),
        per_class=measured.per_class,
        confusion=measured.confusion,
        quick=system.quick,
        epochs=int(system.training["epochs"]),
        seed=setup.seed,
        seconds=trained_seconds(folder),
        command=command or command_of(setup),
    )
    _plot(folder, metrics, measured.plots)
    write_metrics(metrics_path(folder.path, set_name), metrics)
    return metrics


def _of_classes(folder: RunFolder, set_name: str) -> Measured:
    from CSpineFractureLib.training.binary_report import binary_figures, confusion, quick_binary_figures

    said = read_predictions(folder.predictions(set_name))
    truth, probability = said.truth, said.probability
    if truth.ndim == 2:
        return _of_levels(said.studies, said.strata, truth, probability)
    strata = stratum_rows(said.studies, said.strata, truth)
    matrix = confusion(truth, probability)
    labels = ["no fracture", "fracture"]
    measured = Measured(binary_figures, said.studies, (truth, probability), strata, quick=quick_binary_figures)
    measured.further = scaled_figures(folder, set_name, truth, probability)
    measured.confusion = {"labels": labels, "matrix": matrix.tolist()}
    measured.plots["confusion"] = lambda path, title, note: plots.confusion_plot(path, matrix, labels, title, note)
    if curves := roc_curves({folder.setup.model: (truth, probability)}):
        measured.plots["roc"] = lambda path, title, note: plots.roc_plot(path, curves, title, note)
    return measured


def _of_levels(studies: np.ndarray, strata: list, truth: np.ndarray, probability: np.ndarray) -> Measured:
    from CSpineFractureLib.training.binary_report import confusion
    from CSpineFractureLib.training.level_report import level_classes, level_figures, quick_level_figures

    matrices = [confusion(truth[:, n], probability[:, n]) for n in range(len(LEVELS))]
    rows = stratum_rows(studies, strata)
    measured = Measured(level_figures, studies, (truth, probability), rows, quick=quick_level_figures)
    measured.per_class = level_classes(truth, probability)
    measured.plots["confusion"] = lambda path, title, note: plots.label_confusions_plot(
        path, matrices, LEVELS, title, note
    )
    if curves := roc_curves({level: (truth[:, n], probability[:, n]) for n, level in enumerate(LEVELS)}):
        measured.plots["roc"] = lambda path, title, note: plots.roc_plot(path, curves, title, note)
    return measured


def roc_curves(answers: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[plots.Curve]:
    """ROC curves of the answers (truth, probability) by name, of those with both classes."""
    from CSpineFractureLib.training.binary_report import quick_binary_figures, roc_points

    areas = {name: quick_binary_figures(*answer)["auc"] for name, answer in answers.items()}
    return [
        (f"{name}, AUC {areas[name]:.3f}", *roc_points(*answer))
        for name, answer in answers.items()
        if areas[name] is not None
    ]


def _of_boxes(folder: RunFolder, path: Path) -> Measured:
    from CSpineFractureLib.training.box_report import box_classes, box_confusion, matched_boxes, report_of

    detections = read_detections(path)
    images = detections["images"]
    matched = np.empty(len(images), object)
    matched[:] = matched_boxes(detections)
    report = report_of(matched)
    studies = np.array([str(image["study"]) for image in images])
    shows = np.array([len(image["truth"]) > 0 for image in images])
    strata = stratum_rows(
        studies,
        [strata_in(image["strata"]) for image in images],
        shows if folder.setup.system.task == "fracture-detector" else None,
    )
    names, matrix = box_confusion(detections)
    measured = Measured(lambda sample: report_of(sample).figures(), studies, (matched,), strata, BOX_SAMPLES)
    measured.per_class = box_classes(report, matched, detections["classes"])
    measured.confusion = {"labels": names, "matrix": matrix.tolist()}
    measured.plots["confusion"] = lambda path, title, note: plots.confusion_plot(
        path, matrix, names, title, note, rows="Predicted"
    )
    if len(report.classes):
        recall = np.linspace(0, 1, report.curve.shape[1])
        curves = [
            (f"{names[index]}, AP50 {report.ap[row, 0]:.3f}", recall, report.curve[row])
            for row, index in enumerate(report.classes)
        ]
        measured.plots["pr"] = lambda path, title, note: plots.precision_recall_plot(path, curves, title, note)
    return measured


def _strata(measured: Measured, samples: int, seed: int) -> dict[str, dict[str, Figure]]:
    """The figures of each stratum that are defined there, and its numbers of studies and images."""
    parts = {}
    for name, rows in measured.strata.items():
        studies = measured.studies[rows]
        arrays = (array[rows] for array in measured.arrays)
        found = with_intervals(measured.function, studies, *arrays, n=samples, seed=seed, quick=measured.quick)
        defined = {key: figure for key, figure in found.items() if figure.value is not None}
        if defined:
            counts = {"studies": Figure(len(set(studies))), "images": Figure(int(rows.sum()))}
            parts[name] = counts | defined
    return parts


def scaled_figures(folder: RunFolder, set_name: str, truth: np.ndarray, probability: np.ndarray) -> dict[str, Figure]:
    """On another set than ``val``: the temperature that suits ``val`` best, and what it makes of the ECE here."""
    if set_name == VALIDATION or not folder.predictions(VALIDATION).is_file():
        return {}
    known = read_predictions(folder.predictions(VALIDATION))
    temperature = fit_temperature(known.probability, known.truth)
    scaled = expected_calibration_error(truth, apply_temperature(probability, temperature))
    return {"temperature": Figure(temperature), "ece_scaled": Figure(scaled)}


def _data(folder: RunFolder, set_name: str, studies: np.ndarray) -> DataFacts:
    """Where the images of the set come from: for ``val`` the run's own data, else what their folder notes."""
    source, root = folder.setup.source, folder.setup.data
    if set_name != VALIDATION:
        made = folder.images_of(set_name) / MADE_FILE
        try:
            noted = yaml.safe_load(made.read_text(encoding="utf-8"))
            source, root = noted["source"], noted["root"]
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            message = f"'{made}' is missing or damaged, so nobody can tell what '{set_name}' is; make that set again."
            raise UserError(message) from error
    synthetic = is_synthetic(source, Path(root))
    kind = "synthetic studies (cspine phantom)" if synthetic else SOURCE_NAMES.get(source, source or "unknown source")
    place = f", '{Path(root).name}'" if root else ""
    return DataFacts(set_name, synthetic, kind + place, len(set(studies)), len(studies))


def _parameters(folder: RunFolder) -> dict[str, int] | None:
    """Numbers of trainable and frozen parameters of the network, of level presence as document 004 counts them.

    ``None`` where what is measured is no network of the system.
    """
    from CSpineFractureLib.models.level_presence import parameter_counts
    from CSpineFractureLib.models.registry import create
    from CSpineFractureLib.training.slice_export import network_arguments

    setup = folder.setup
    if setup.model not in setup.system.models:
        return None
    network = create(setup.system.model(setup.model)["architecture"], **network_arguments(setup))
    if setup.system.task == "level-presence":
        if setup.start:
            network.freeze()
        trainable, frozen = parameter_counts(network)
        return {"trainable": trainable, "frozen": frozen}
    counts = {True: 0, False: 0}
    for parameter in network.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return {"trainable": counts[True], "frozen": counts[False]}


def _plot(folder: RunFolder, metrics: Metrics, made: dict[str, Plot]) -> None:
    title = f"{folder.setup.system.title} ({metrics.model}, document {metrics.document})"
    scans = "RADIOGRAPHS" if folder.setup.system.task == "radiograph" else "CT"
    kind = f"SYNTHETIC {scans}" if metrics.data.synthetic else scans
    recipe = ", quick recipe" if metrics.quick else ""
    note = f"{kind}, set '{metrics.set}': {metrics.data.studies} studies, {metrics.data.images:,} images{recipe}"
    for name, plot in made.items():
        plot(folder.plots / f"{name}-{metrics.set}.png", title, note)
    trained = f"SYNTHETIC {scans}" if folder.setup.synthetic else f"{folder.setup.source or 'unknown'} data"
    plots.curves_plot(folder.plots / "curves.png", folder.logs, title, f"Training on {trained}{recipe}")


def _sets(run: Path) -> list[str]:
    """The sets that a run has predicted."""
    found = [path.stem for path in (*run.glob("predictions-*.csv"), *run.glob("detections-*.json"))]
    return sorted(name.partition("-")[2] for name in found)
