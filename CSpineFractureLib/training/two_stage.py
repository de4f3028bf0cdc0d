"""Training of the four networks of the ``two-stage`` profile, one after the other, into one run folder.

The same order again goes on where an earlier one was broken off: ``training.json`` tells which networks are finished,
``<task>.checkpoint`` where the one in work stands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.models.manifest import ModelEntry, as_metadata, from_metadata
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.weights_file import fill_from_bytes, read_bytes, read_metadata, save_weights
from CSpineFractureLib.training.bank import TrainingStudy, split_studies
from CSpineFractureLib.training.classifier import (
    ClassifierPlan,
    SliceIndex,
    slice_scores,
    train_fracture_detector,
    train_slice_classifier,
)
from CSpineFractureLib.training.detector import DetectorPlan, train_vertebra_detector
from CSpineFractureLib.training.entries import ENTRIES
from CSpineFractureLib.training.fcn_training import FCNPlan, fcn_measures, train_fracture_fcn
from CSpineFractureLib.training.step_checkpoint import StepCheckpoint
from CSpineFractureLib.training.torn_cells import TornCells

TASKS = tuple(ENTRIES)
REPORT_FILE = "training.json"


@dataclass(frozen=True)
class TwoStagePlan:
    """Which networks to train and how; ``effort`` scales all step counts (1.0 is the whole recipe)."""

    tasks: tuple[str, ...] = TASKS
    effort: float = 1.0
    seed: int = 0
    detector: DetectorPlan = field(default_factory=lambda: DetectorPlan(steps=2400))
    classifier: ClassifierPlan = field(default_factory=lambda: ClassifierPlan(steps=1800, patch_steps=3500))
    fractures: DetectorPlan = field(default_factory=lambda: DetectorPlan(steps=600))
    volume: FCNPlan = field(default_factory=FCNPlan)

    @classmethod
    def further(cls, **values: Any) -> TwoStagePlan:
        """For networks that are trained already: fewer steps, and far fewer patches, for local detail is known."""
        classifier = ClassifierPlan(steps=800, patch_steps=700)
        return cls(
            detector=DetectorPlan(steps=800),
            classifier=classifier,
            fractures=DetectorPlan(steps=400),
            volume=FCNPlan(steps=1000, learning_rate=1e-3),
            **values,
        )


def train_two_stage(
    studies: list[TrainingStudy],
    folder: Path,
    plan: TwoStagePlan,
    device: torch.device,
    on_step: Callable[[str, int, int, float], None] = lambda task, done, total, loss: None,
    fracture_studies: list[TrainingStudy] | None = None,
    start: dict[str, torch.nn.Module] | None = None,
    entries: dict[str, ModelEntry] | None = None,
) -> dict[str, Path]:
    """Fit the networks of ``plan.tasks``; returns the safetensors file of each, with ``training.json`` beside them.

    ``fracture_studies``: studies for the slice classifier and the fracture detector, by default ``studies``.
    ``entries``: what the files say of their networks, by task; by default that they learnt from phantoms.
    ``start``: trained networks by task to go on from. A fracture detector without one starts from the features of the
    vertebra detector.
    Raises UserError for an unknown task, studies without fractured or without sound slices, and a folder that holds
    another run.
    """
    unknown = [task for task in plan.tasks if task not in TASKS]
    if unknown:
        message = f"Task '{unknown[0]}' is not part of two-stage; use {', '.join(TASKS)}."
        raise UserError(message)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: cannot be used as run folder ({error.strerror}); choose a folder you can write to."
        raise UserError(message) from error
    fit, held = split_studies(studies)
    fit_fractures, held_fractures = split_studies([s for s in fracture_studies or studies if s.labelled])
    index = SliceIndex(fit_fractures)
    if not index.positive or not index.negative:
        kind = "fractured" if not index.positive else "fracture-free"
        message = f"The training studies hold no {kind} slice; make more with 'cspine phantom'."
        raise UserError(message)
    start = start or {}
    detector = start.get("vertebra-detector")
    order = {"studies": len(fit), "fracture_studies": len(fit_fractures), "plan": asdict(plan)}
    order["validation"] = sorted({s.name for s in [*held, *held_fractures]})
    report = _begun(folder, json.loads(json.dumps(order)))
    files = {task: folder / f"{task}.safetensors" for task in plan.tasks}
    for task in plan.tasks:
        if task in report["tasks"] and files[task].is_file():
            if task == "vertebra-detector":
                detector = _finished(files[task])
            continue
        began = time.perf_counter()
        step = lambda done, total, loss, task=task: on_step(task, done, total, loss)  # noqa: E731
        measures: dict = {}
        keep = StepCheckpoint(folder / f"{task}.checkpoint")
        if task == "vertebra-detector":
            scaled = _scaled(plan, plan.detector)
            model = detector = train_vertebra_detector(fit, scaled, device, step, keep, start=detector)
        elif task == "slice-classifier":
            scaled = _scaled(plan, plan.classifier)
            model = train_slice_classifier(index, scaled, device, step, keep, start=start.get(task))
            measures = classifier_measures(model, SliceIndex(held_fractures), device)
        elif task == "fracture-volume":
            scaled = _scaled(plan, plan.volume)
            model = train_fracture_fcn(TornCells.of(fit_fractures), scaled, device, step, keep, start=start.get(task))
            measures = fcn_measures(model, TornCells.of(held_fractures), device)
        else:
            known = start.get(task) or detector
            model = train_fracture_detector(index, _scaled(plan, plan.fractures), device, step, keep, start=known)
        save_weights(
            model.cpu(), files[task], metadata=as_metadata(replace((entries or ENTRIES)[task], metrics=measures))
        )
        report["tasks"][task] = {"seconds": round(time.perf_counter() - began, 1), **measures}
        write_text_atomically(json.dumps(report, indent=1), folder / REPORT_FILE)
        keep.remove()
    return files


def _begun(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """The report of an earlier try of the same order, or a new one."""
    path = folder / REPORT_FILE
    if not path.is_file():
        write_text_atomically(json.dumps({**order, "tasks": {}}, indent=1), path)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        same = all(report[key] == value for key, value in order.items()) and isinstance(report["tasks"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        message = f"'{folder}' holds another training run ({REPORT_FILE}): choose another folder with --output."
        raise UserError(message)
    return report


def _finished(path: Path) -> torch.nn.Module:
    """The network of a file that this run wrote before."""
    entry = from_metadata(read_metadata(path), path)
    return fill_from_bytes(create(entry.architecture, **entry.arguments), read_bytes(path), path)


def _scaled(plan: TwoStagePlan, part: Any) -> Any:
    """The plan of one network with its step counts times the effort, and the common seed."""
    names = [name for name in ("steps", "patch_steps") if hasattr(part, name)]
    return replace(part, seed=plan.seed, **{name: max(1, round(getattr(part, name) * plan.effort)) for name in names})


def classifier_measures(model: torch.nn.Module, index: SliceIndex, device: torch.device, limit: int = 600) -> dict:
    """Sensitivity and specificity at 0.5 and the area under the ROC curve on slices of the studies of ``index``."""
    scores = slice_scores(model, index, limit, device)
    positive, negative = scores["positive"], scores["negative"]
    if not len(positive) or not len(negative):
        return {}
    return {
        "slices": [len(positive), len(negative)],
        "sensitivity": float((positive >= 0.5).mean()),
        "specificity": float((negative < 0.5).mean()),
        "auc": float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))),
        "median_negative": float(np.median(negative)),
    }
