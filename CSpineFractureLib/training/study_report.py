"""How well studies as a whole are judged: levels, patients and boxes, overall and by stratum, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.training.bootstrap import Figures, with_intervals
from CSpineFractureLib.training.calibration import expected_calibration_error
from CSpineFractureLib.training.metrics_file import Figure
from CSpineFractureLib.training.rank_auc import rank_auc
from CSpineFractureLib.training.rsna_score import BASE_RATES, KINDS, rsna_losses

NEAR_MM = 10.0
STRATA = ("displaced", "hairline", "mimics", "sound")
NO_FINDING = "none"


@dataclass(frozen=True)
class TrueFracture:
    """A fracture that is there: level, type, hairline or displaced, low and high corner in RAS mm, where known."""

    level: str
    type: str = ""
    hairline: bool = False
    box_ras: Sequence[Sequence[float]] | None = None


@dataclass
class MatchedFracture:
    """What became of a true fracture.

    ``found``: a finding of its level has its centre within 10 mm of the true box. ``named``: the level that the nearest
    finding within 10 mm gives, ``None`` where there is none.
    """

    truth: TrueFracture
    found: bool
    named: str | None


@dataclass
class StudyCase:
    """One judged study.

    ``fractured``: which levels are. ``probabilities``: of the levels that were judged. ``probability``: of any
    fracture; the highest level's where the profile gives none. ``hairline``: of fractured levels, whether nothing is
    displaced. ``matched`` is ``None`` where the places of the true fractures are not known; ``marks`` holds for each
    finding the true fracture that it marks, or ``None``. ``loss``: its part of RSNA-2022's weighted log loss.
    """

    study: str
    fractured: dict[str, bool]
    probabilities: dict[str, float]
    probability: float
    strata: frozenset[str] = frozenset()
    hairline: dict[str, bool] = field(default_factory=dict)
    matched: list[MatchedFracture] | None = None
    marks: list[TrueFracture | None] = field(default_factory=list)
    loss: float = field(init=False)

    def __post_init__(self) -> None:
        truth, sent = [*(self.fractured[level] for level in LEVELS), self.any_fractured], self.submission()
        self.loss = float(rsna_losses(np.array([truth]), np.array([[sent[kind] for kind in KINDS]]))[0])

    @property
    def any_fractured(self) -> bool:
        return any(self.fractured.values())

    def submission(self) -> dict[str, float]:
        """Probabilities of the eight kinds of RSNA-2022; a level that was not judged gets the competition's base
        rate."""
        return {
            **{level: self.probabilities.get(level, BASE_RATES[level]) for level in LEVELS},
            "patient_overall": self.probability,
        }


def case_of(
    study: str, result: StudyResult, truths: Sequence[TrueFracture], strata: Sequence[str] = (), placed: bool = True
) -> StudyCase:
    """Judge one result; ``placed``: the boxes of ``truths`` are known, so findings can be matched with them."""
    levels: dict[str, list[bool]] = {}
    for truth in truths:
        levels.setdefault(truth.level, []).append(truth.hairline)
    judged = {v.level: v.fracture_probability for v in result.vertebrae if v.fracture_probability is not None}
    overall = result.study.fracture_probability
    case = StudyCase(
        study,
        {level: level in levels for level in LEVELS},
        judged,
        max(judged.values(), default=0.0) if overall is None else overall,
        frozenset(strata),
        {level: all(hairline) for level, hairline in levels.items()},
    )
    if placed:
        case.matched, case.marks = _match(result, truths)
    return case


def case_of_record(record: StudyRecord, result: StudyResult) -> StudyCase:
    """Judge a study of which only the fractured levels are known (RSNA-2022); ``record.fractured`` must be given."""
    hairline = "hairline" in record.strata and "displaced" not in record.strata
    truths = [TrueFracture(level, hairline=hairline) for level, broken in (record.fractured or {}).items() if broken]
    return case_of(record.id, result, truths, record.strata, placed=False)


def study_figures(cases: Sequence[StudyCase], threshold: float) -> Figures:
    """Rates over studies; ``None`` where not defined.

    level_ and study_ sensitivity, specificity (from ``threshold``) and auc; box_sensitivity (found fractures),
    box_ppv (findings that mark a fracture), level_agreement (fractures with a finding near by that names their level),
    false_boxes_per_study; ece of the levels; rsna_log_loss. Levels that were not judged do not count.
    """
    level = np.array(
        [(case.fractured[name], p) for case in cases for name, p in case.probabilities.items()], float
    ).reshape(-1, 2)
    study = np.array([(case.any_fractured, case.probability) for case in cases], float).reshape(-1, 2)
    placed = [case for case in cases if case.matched is not None]
    matched = [match for case in placed for match in case.matched]
    near = [match for match in matched if match.named is not None]
    hits = [mark is not None for case in placed for mark in case.marks]
    return {
        **{f"level_{name}": value for name, value in _rates(level, threshold).items()},
        **{f"study_{name}": value for name, value in _rates(study, threshold).items()},
        "box_sensitivity": _share([match.found for match in matched]),
        "box_ppv": _share(hits),
        "level_agreement": _share([match.named == match.truth.level for match in near]),
        "false_boxes_per_study": (len(hits) - sum(hits)) / len(placed) if placed else None,
        "ece": expected_calibration_error(level[:, 0], level[:, 1]),
        "rsna_log_loss": float(np.mean([case.loss for case in cases])) if len(cases) else None,
    }


def study_report(cases: Sequence[StudyCase], threshold: float, n: int = 1000, seed: int = 0) -> dict[str, Figure]:
    """``study_figures`` with 95 % intervals over studies."""
    row = np.empty(len(cases), object)
    row[:] = list(cases)
    return with_intervals(
        lambda sample: study_figures(sample, threshold), [case.study for case in cases], row, n=n, seed=seed
    )


def stratum_of(cases: Sequence[StudyCase], stratum: str) -> list[StudyCase]:
    """The cases of a stratum.

    ``displaced`` and ``hairline``: fractured studies with such a fracture, judged by those fractures alone, and every
    sound study, without which there is no specificity. ``mimics``: studies with what only looks like a fracture.
    ``sound``: studies without fractures.
    """
    if stratum == "mimics":
        return [case for case in cases if "mimics" in case.strata]
    sound = [case for case in cases if not case.any_fractured]
    if stratum == "sound":
        return sound
    thin = stratum == "hairline"
    broken = [_only(case, thin) for case in cases if case.any_fractured and thin in case.hairline.values()]
    return [*broken, *sound] if broken else []


def level_confusion(cases: Sequence[StudyCase]) -> dict[str, dict[str, int]]:
    """How often a fracture of a level (first key) was marked with which level (second), or with ``none``."""
    table: dict[str, dict[str, int]] = {}
    for case in cases:
        for match in case.matched or ():
            row = table.setdefault(match.truth.level, {})
            row[match.named or NO_FINDING] = row.get(match.named or NO_FINDING, 0) + 1
    return {level: dict(sorted(table[level].items())) for level in sorted(table)}


def _only(case: StudyCase, hairline: bool) -> StudyCase:
    """A study without its fractures of the other kind: neither their levels nor their findings count. Whole-patient
    figures stay as they are."""
    part = copy(case)
    part.hairline = {level: thin for level, thin in case.hairline.items() if thin == hairline}
    part.probabilities = {
        level: p for level, p in case.probabilities.items() if not case.fractured[level] or level in part.hairline
    }
    if case.matched is not None:
        part.matched = [match for match in case.matched if match.truth.hairline == hairline]
        part.marks = [mark for mark in case.marks if mark is None or mark.hairline == hairline]
    return part


def _match(
    result: StudyResult, truths: Sequence[TrueFracture]
) -> tuple[list[MatchedFracture], list[TrueFracture | None]]:
    marks: list[TrueFracture | None] = [None] * len(result.fractures)
    matched = []
    for truth in truths:
        low, high = np.array(truth.box_ras, float)
        distances = [_distance(finding.box.center_ras, low, high) for finding in result.fractures]
        near = [n for n, distance in enumerate(distances) if distance <= NEAR_MM]
        same = [n for n in near if result.fractures[n].level == truth.level]
        nearest = min(near, key=lambda n: (distances[n], n not in same), default=None)
        named = None if nearest is None else result.fractures[nearest].level
        matched.append(MatchedFracture(truth, bool(same), named))
        for n in same:
            marks[n] = truth
    return matched, marks


def _distance(point: Sequence[float], low: np.ndarray, high: np.ndarray) -> float:
    """From a point to a box, mm; 0 inside."""
    return float(np.linalg.norm(np.maximum(0, np.maximum(low - point, point - high))))


def _rates(rows: np.ndarray, threshold: float) -> Figures:
    """Of rows (truth, probability)."""
    positive, negative = rows[rows[:, 0] == 1, 1], rows[rows[:, 0] == 0, 1]
    return {
        "sensitivity": _share(positive >= threshold),
        "specificity": _share(negative < threshold),
        "auc": rank_auc(rows[:, 0], rows[:, 1]),
    }


def _share(hits: Sequence[bool] | np.ndarray) -> float | None:
    return float(np.mean(hits)) if len(hits) else None
