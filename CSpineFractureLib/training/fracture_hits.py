"""How well fractures are found on synthetic studies with exact truth: levels, studies and boxes, as one report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.phantom.files import CT_FILE, TRUTH_FILE
from CSpineFractureLib.training.metrics_file import Figure, plain
from CSpineFractureLib.training.study_report import (
    STRATA,
    StudyCase,
    TrueFracture,
    case_of,
    level_confusion,
    stratum_of,
    study_report,
)


@dataclass
class FractureReport:
    """One study: what became of its levels, fractures and findings."""

    case: StudyCase

    @property
    def study(self) -> str:
        return self.case.study

    @property
    def broken(self) -> list[float]:
        """Probabilities of judged levels with a fracture."""
        return [p for level, p in self.case.probabilities.items() if self.case.fractured[level]]

    @property
    def sound(self) -> list[float]:
        """Probabilities of judged levels without one."""
        return [p for level, p in self.case.probabilities.items() if not self.case.fractured[level]]

    @property
    def found(self) -> list[str]:
        """True fractures with a finding of their level near by, as ``LEVEL:TYPE``."""
        return self._fractures(found=True)

    @property
    def overlooked(self) -> list[str]:
        """The other true fractures."""
        return self._fractures(found=False)

    @property
    def false_boxes(self) -> int:
        """Findings that mark no true fracture."""
        return self.case.marks.count(None)

    def document(self) -> dict:
        """Plain data of the study, for the report file."""
        names = ("study", "broken", "sound", "found", "overlooked", "false_boxes")
        return {
            **{name: getattr(self, name) for name in names},
            "strata": sorted(self.case.strata),
            "probabilities": self.case.submission(),
            "judged": list(self.case.probabilities),
        }

    def _fractures(self, found: bool) -> list[str]:
        return [f"{m.truth.level}:{m.truth.type}" for m in self.case.matched or () if m.found == found]


def studies_below(root: Path) -> list[Path]:
    """Folders of synthetic studies below ``root``; raises UserError when there is none."""
    folders = sorted(p.parent for p in root.glob(f"*/{TRUTH_FILE}") if (p.parent / CT_FILE).is_file())
    if not folders:
        message = f"{root}: holds no synthetic studies; make some with 'cspine phantom -o {root} --n 20'."
        raise UserError(message)
    return folders


def compare_fractures(folder: Path, result: StudyResult) -> FractureReport:
    """Score one result. A fracture is found when a finding of its level has its centre within 10 mm of the true box.

    Raises ``UserError`` where the truth of the study is broken.
    """
    path = folder / TRUTH_FILE
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        fractures = [
            TrueFracture(entry["level"], entry["type"], bool(entry.get("hairline")), entry["box_ras"])
            for entry in truth["fractures"]
        ]
        strata = ["mimics"] if truth.get("mimics") else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"'{path}' is no truth of a synthetic study: it is damaged or from another program; make it again."
        raise UserError(message) from error
    strata += sorted({"hairline" if fracture.hairline else "displaced" for fracture in fractures})
    return FractureReport(case_of(folder.name, result, fractures, strata))


def fracture_summary(reports: Sequence[FractureReport], threshold: float, n: int = 1000, seed: int = 0) -> dict:
    """Figures over studies at ``threshold``, overall and by stratum, with 95 % intervals over studies.

    The figures are those of ``study_report.study_figures``; ``intervals`` holds ``[low, high]`` of those that have one,
    ``strata`` the same for parts of the studies, ``level_confusion`` with which level each fracture was marked.
    """
    cases = [report.case for report in reports]
    figures = study_report(cases, threshold, n, seed)
    strata = {name: part for name in STRATA if (part := stratum_of(cases, name))}
    return plain(
        {
            "synthetic": True,
            "studies": len(reports),
            "levels": [sum(len(r.broken) for r in reports), sum(len(r.sound) for r in reports)],
            "threshold": threshold,
            "fractures": sum(len(case.matched or ()) for case in cases),
            **_values(figures),
            "intervals": _intervals(figures),
            "strata": {name: _part(part, threshold, n, seed) for name, part in strata.items()},
            "level_confusion": level_confusion(cases),
            "per_study": [report.document() for report in reports],
        }
    )


def _part(cases: list[StudyCase], threshold: float, n: int, seed: int) -> dict:
    figures = study_report(cases, threshold, n, seed)
    return {"studies": len(cases), **_values(figures), "intervals": _intervals(figures)}


def _values(figures: dict[str, Figure]) -> dict[str, float | None]:
    return {name: figure.value for name, figure in figures.items()}


def _intervals(figures: dict[str, Figure]) -> dict[str, list[float]]:
    return {name: [figure.low, figure.high] for name, figure in figures.items() if figure.low is not None}
