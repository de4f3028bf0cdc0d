"""Pairs of the same real CT with and without a synthetic fracture: what is found, and what is a false alarm.

The scanner, its noise and the anatomy are real; only the fracture is made (``phantom.insert``), in the vertebra mask
that the profile itself finds in the untouched CT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.phantom.fracture_types import types_of
from CSpineFractureLib.phantom.insert import insert_fractures
from CSpineFractureLib.phantom.mask_frame import vertebra_from_mask
from CSpineFractureLib.phantom.truth import FractureTruth
from CSpineFractureLib.pipeline.classify import FRACTURE
from CSpineFractureLib.training.metrics_file import plain
from CSpineFractureLib.training.rank_auc import rank_auc
from CSpineFractureLib.training.study_report import StudyCase, TrueFracture, case_of, study_report

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.volume.ct_volume import CTVolume

    Run = Callable[[CTVolume], StudyOutput]

SCANS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
TRIES = 10
"""Draws of a level, a type and a seed for one pair; a break may miss the bone of the mask."""


@dataclass
class ScanPairs:
    """One CT: ``untouched`` has no fracture, each of ``broken`` the one of ``truths``; ``threshold`` is the runs' own.

    ``already``: of the fractures, how many a finding in the untouched CT marks too, by chance.
    """

    file: str
    threshold: float
    untouched: StudyCase
    alarms: int
    broken: list[StudyCase]
    truths: list[FractureTruth]
    already: int = 0

    def of(self, found: bool) -> list[str]:
        """The inserted fractures that were found, or those that were not, as ``LEVEL:TYPE``."""
        matches = [match for case in self.broken for match in case.matched if match.found == found]
        return [f"{match.truth.level}:{match.truth.type}" for match in matches]

    @property
    def level_auc(self) -> float | None:
        """Area under the ROC curve: the broken levels' probabilities against those of the untouched CT's levels."""
        sound = list(self.untouched.probabilities.values())
        pairs = zip(self.truths, self.broken, strict=True)
        broken = [case.probabilities.get(truth.level, 0.0) for truth, case in pairs]
        return rank_auc(np.repeat([0, 1], [len(sound), len(broken)]), np.array([*sound, *broken]))


def check_types(types: Sequence[str]) -> None:
    """Raise ``UserError`` for a fracture type that no level has."""
    known = list(dict.fromkeys(kind for level in LEVELS for kind in types_of(level)))
    for kind in types:
        if kind not in known:
            message = f"--types {kind} is not known; use one of {', '.join(known)}."
            raise UserError(message)


def scans_below(data: Path, only: Sequence[str] | None = None) -> list[Path]:
    """CT files, zip files and folders of DICOM files in ``data`` and below, whose path holds one of the words ``only``.

    Raises ``UserError`` where there are none.
    """
    files = {path for path in data.rglob("*") if path.is_file() and path.name.lower().endswith(SCANS)}
    series = {path.parent for path in data.rglob("*.dcm")}
    scans = sorted(files | series)
    scans = [scan for scan in scans if not only or any(word in str(scan.relative_to(data)) for word in only)]
    if not scans:
        message = f"'{data}' holds no CT that fits: name a folder of NIfTI, NRRD, MHA or zip files, or DICOM folders."
        raise UserError(message)
    return scans


def whole_levels(volume: CTVolume, study: StudyOutput) -> list[str]:
    """Levels that the run found whole and whose mask is large enough to be broken."""
    whole = []
    for vertebra in study.result.vertebrae:
        if not vertebra.assessed or vertebra.visible != "full":
            continue
        try:
            vertebra_from_mask(study.labels, volume.ijk_to_ras, vertebra.level)
        except UserError:
            continue
        whole.append(vertebra.level)
    return whole


def broken_copies(
    volume: CTVolume, study: StudyOutput, types: Sequence[str], count: int, seed: int
) -> Iterator[tuple[CTVolume, FractureTruth]]:
    """Up to ``count`` copies of a CT with one displaced fracture each, in levels that the run found whole.

    ``types``: names of fracture types to draw from; all where empty. Levels are drawn evenly among those that can have
    one of the types, so there are none where no level fits.
    """
    kinds = {
        level: [kind for kind in types_of(level) if not types or kind in types] for level in whole_levels(volume, study)
    }
    kinds = {level: known for level, known in kinds.items() if known}
    rng, made = np.random.default_rng([seed, *volume.hu.shape]), 0
    for _ in range(TRIES * count if kinds else 0):
        if made == count:
            return
        level = str(rng.choice(list(kinds)))
        kind = str(rng.choice(kinds[level]))
        one = int(rng.integers(2**31))
        try:
            done = insert_fractures(
                volume.hu, study.labels, volume.ijk_to_ras, ((level, kind),), one, hairline_rate=0.0
            )
        except UserError:
            continue
        made += 1
        yield replace(volume, hu=done.hu), done.fractures[0]


def pair_scan(
    file: str, volume: CTVolume, run: Run, types: Sequence[str] = (), count: int = 3, seed: int = 0
) -> ScanPairs | None:
    """Run a CT and up to ``count`` copies of it with a displaced fracture; ``None`` where none can be made."""
    study = run(volume)
    threshold = study.result.thresholds.get("fracture", FRACTURE)
    pairs = ScanPairs(file, threshold, case_of(file, study.result, []), len(study.result.fractures), [], [])
    for copied, truth in broken_copies(volume, study, types, count, seed):
        wanted = [TrueFracture(truth.level, truth.type, truth.hairline, truth.box_ras)]
        pairs.broken.append(case_of(file, run(copied).result, wanted, ["displaced"]))
        pairs.truths.append(truth)
        (by_chance,) = case_of(file, study.result, wanted).matched
        pairs.already += by_chance.found
    return pairs if pairs.broken else None


def pair_summary(scans: Sequence[ScanPairs], n: int = 1000, seed: int = 0) -> dict:
    """Figures over all pairs at the threshold of the runs, with 95 % intervals over CTs; there must be a pair.

    ``box_sensitivity``: inserted fractures with a finding of their level within 10 mm; ``level_`` and
    ``study_sensitivity`` and ``_specificity`` from the probabilities (untouched CTs and levels are the negatives);
    ``alarms_untouched``: findings per untouched CT; ``already_marked``: inserted fractures that a finding marks without
    them, too.
    """
    broken = [case for scan in scans for case in scan.broken]
    threshold = scans[0].threshold
    figures = study_report([*broken, *(scan.untouched for scan in scans)], threshold, n, seed)
    shown = ("box_sensitivity", "level_sensitivity", "level_specificity", "study_sensitivity", "study_specificity")
    figures = {name: figures[name] for name in shown}
    return plain(
        {
            "synthetic_fractures": True,
            "threshold": threshold,
            "scans": len(scans),
            "pairs": len(broken),
            **{name: figure.value for name, figure in figures.items()},
            "intervals": {k: [f.low, f.high] for k, f in figures.items() if f.low is not None},
            "alarms_untouched": sum(scan.alarms for scan in scans) / max(len(scans), 1),
            "already_marked": sum(scan.already for scan in scans),
            "per_scan": [_row(scan) for scan in scans],
        }
    )


def _row(scan: ScanPairs) -> dict:
    return {
        "file": scan.file,
        "alarms_untouched": scan.alarms,
        "level_auc": scan.level_auc,
        "probabilities_untouched": scan.untouched.probabilities,
        "inserted": [
            {
                "level": truth.level,
                "type": truth.type,
                "gap_mm": truth.gap_mm,
                "found": case.matched[0].found,
                "probability": case.probabilities.get(truth.level),
                "false_boxes": case.marks.count(None),
            }
            for truth, case in zip(scan.truths, scan.broken, strict=True)
        ],
    }
