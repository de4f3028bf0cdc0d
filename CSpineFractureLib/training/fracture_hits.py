"""How well fractures are found on synthetic studies with exact truth: levels, studies and boxes, as one report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.phantom.files import CT_FILE, TRUTH_FILE

NEAR_MM = 10.0


@dataclass
class FractureReport:
    """One study: probabilities of judged levels with and without a fracture, and what became of each fracture.

    ``found`` and ``overlooked`` are true fractures as ``LEVEL:TYPE``; ``false_boxes`` are findings without one.
    """

    study: str
    broken: list[float] = field(default_factory=list)
    sound: list[float] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    overlooked: list[str] = field(default_factory=list)
    false_boxes: int = 0


def studies_below(root: Path) -> list[Path]:
    """Folders of synthetic studies below ``root``; raises UserError when there is none."""
    folders = sorted(p.parent for p in root.glob(f"*/{TRUTH_FILE}") if (p.parent / CT_FILE).is_file())
    if not folders:
        message = f"{root}: holds no synthetic studies; make some with 'cspine phantom -o {root} --n 20'."
        raise UserError(message)
    return folders


def compare_fractures(folder: Path, result: StudyResult) -> FractureReport:
    """Score one result. A fracture is found when a finding of its level has its centre within 10 mm of the true box."""
    truths = json.loads((folder / TRUTH_FILE).read_text(encoding="utf-8"))["fractures"]
    report = FractureReport(folder.name)
    levels = {truth["level"] for truth in truths}
    for vertebra in result.vertebrae:
        if vertebra.fracture_probability is not None:
            (report.broken if vertebra.level in levels else report.sound).append(vertebra.fracture_probability)
    used = set()
    for truth in truths:
        low, high = np.array(truth["box_ras"])
        near = {
            n
            for n, finding in enumerate(result.fractures)
            if finding.level == truth["level"] and _distance(finding.box.center_ras, low, high) <= NEAR_MM
        }
        (report.found if near else report.overlooked).append(f"{truth['level']}:{truth['type']}")
        used |= near
    report.false_boxes = len(result.fractures) - len(used)
    return report


def fracture_summary(reports: list[FractureReport], threshold: float) -> dict:
    """Rates over studies: level sensitivity and specificity at ``threshold``, areas under the ROC curve, boxes."""
    broken = np.array([p for r in reports for p in r.broken])
    sound = np.array([p for r in reports for p in r.sound])
    highest = {r.study: max([*r.broken, *r.sound], default=0.0) for r in reports}
    with_any = np.array([highest[r.study] for r in reports if r.found or r.overlooked])
    without = np.array([highest[r.study] for r in reports if not (r.found or r.overlooked)])
    fractures = sum(len(r.found) + len(r.overlooked) for r in reports)
    return {
        "studies": len(reports),
        "levels": [len(broken), len(sound)],
        "threshold": threshold,
        "level_sensitivity": _share(broken >= threshold),
        "level_specificity": _share(sound < threshold),
        "level_auc": _auc(broken, sound),
        "study_auc": _auc(with_any, without),
        "fractures": fractures,
        "box_sensitivity": sum(len(r.found) for r in reports) / fractures if fractures else None,
        "false_boxes_per_study": sum(r.false_boxes for r in reports) / max(len(reports), 1),
        "per_study": [asdict(r) for r in reports],
    }


def _distance(point: list[float], low: np.ndarray, high: np.ndarray) -> float:
    """From a point to a box, mm; 0 inside."""
    return float(np.linalg.norm(np.maximum(0, np.maximum(low - point, point - high))))


def _share(hits: np.ndarray) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    if not len(positive) or not len(negative):
        return None
    return float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))
