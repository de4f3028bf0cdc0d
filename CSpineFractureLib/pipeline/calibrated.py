"""From the score of a level to the probability of its fracture: the map that a profile's calibration file holds.

The networks' scores rank levels well but are no frequencies: of levels with a score of 0.4 far fewer than 40 % are
fractured. The map is a logistic one with two parameters (after Platt 1999, "Probabilistic outputs for support vector
machines"), a slope for either side of the decision threshold. With ``way = logit(score) - logit(threshold)``:

    logit(probability) = -below * (sqrt(SOFT - way) - sqrt(SOFT)) below the threshold, above * way from it on.

The root lets probabilities fall quickly below the threshold, where nearly all levels are sound; ``SOFT`` keeps it from
falling at once, so that a score that differs by 0.0035 changes a level's probability by 0.022 at most. The map rises
everywhere, so no area under a ROC curve changes, and the threshold becomes 0.5, so the findings stay the same: one
threshold serves levels, slices and study, whatever the fit. The price is that a probability just above 0.5 is too high.
All decisions are taken on scores; what a result shows, and the threshold ``fracture`` in it, are probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.findings.study_result import WITHOUT_BOXES, StudyResult
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.suspicion import SliceSuspicion

SCHEMA = "cspine-calibration/2"
SWITCH = "calibration"
"""Threshold of a run that switches the map off: 0 gives scores."""
SLOPES = (0.1, 30.0)
"""Least and greatest slope."""
SOFT = 0.2
"""Of the root; of 0 to 0.4 the one with the least calibration error on 120 phantoms, cross-fitted."""
_EDGE = 1e-6


@dataclass(frozen=True)
class ScoreMap:
    """Slopes of the logit below and above ``threshold``, a score 0..1."""

    threshold: float
    below: float
    above: float

    def ways(self, score: np.ndarray | float) -> np.ndarray:
        """What the slopes are multiplied with: negative below the threshold, 0 at it."""
        way = logit(np.clip(score, _EDGE, 1 - _EDGE)) - logit(self.threshold)
        return np.where(way < 0, np.sqrt(SOFT) - np.sqrt(np.abs(way) + SOFT), way)

    def probability(self, score: np.ndarray | float) -> np.ndarray | float:
        """Scores 0..1 to probabilities 0..1; the threshold becomes 0.5."""
        ways = self.ways(score)
        return expit(ways * np.where(ways < 0, self.below, self.above))

    def score(self, probability: float) -> float:
        """The score that becomes ``probability``; 0 and 1 stay what they are."""
        if probability in (0, 1):
            return float(probability)
        way = float(logit(probability))
        way = way / self.above if way >= 0 else SOFT - (np.sqrt(SOFT) - way / self.below) ** 2
        return float(expit(logit(self.threshold) + way))


@dataclass(frozen=True)
class Calibration:
    """The content of ``calibration-PROFILE.json``.

    ``models``: SHA-256 of the networks by task whose scores were fitted; with others the map means nothing.
    ``fitted_on`` (command, date, studies, counts) and ``figures`` (calibration errors) tell how it was made.
    """

    profile: str
    threshold: float
    models: dict[str, str]
    level: dict[str, float]
    study: dict[str, float]
    fitted_on: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def level_map(self) -> ScoreMap:
        return ScoreMap(self.threshold, **self.level)

    @property
    def study_map(self) -> ScoreMap:
        """From the score of the most suspicious level."""
        return ScoreMap(self.threshold, **self.study)

    def study_probability(self, worst: float) -> float:
        """Probability of any fracture, given the score of the most suspicious level; never below that level's own."""
        return float(max(self.study_map.probability(worst), self.level_map.probability(worst)))

    def show(self, result: StudyResult) -> None:
        """Put probabilities in place of the scores of levels, study and findings that are as sure as their level."""
        for one in result.vertebrae:
            if one.fracture_probability is not None:
                one.fracture_probability = float(self.level_map.probability(one.fracture_probability))
        for finding in result.fractures:
            if finding.comment in WITHOUT_BOXES:
                finding.confidence = float(self.level_map.probability(finding.confidence))
        if result.study.fracture_probability is not None:
            result.study.fracture_probability = self.study_probability(result.study.fracture_probability)

    def slices(self, suspicions: list[SliceSuspicion]) -> list[SliceSuspicion]:
        """The slices on the scale of the levels, so that one threshold fits both; a Grad-CAM stays scaled by it."""
        return [self._slice(one) for one in suspicions]

    def _slice(self, one: SliceSuspicion) -> SliceSuspicion:
        probability = float(self.level_map.probability(one.probability))
        cam = None if one.cam is None else one.cam * np.float32(probability / max(one.probability, _EDGE))
        return replace(one, probability=probability, cam=cam)

    def describe(self) -> str:
        """For ``StudyResult.study.level_rule``."""
        return f"calibrated on {len(self.fitted_on.get('studies', []))} synthetic studies"


def calibration_file(profile: str) -> str:
    """Its name, beside the manifest of the networks."""
    return f"calibration-{profile}.json"


def calibration_of(context: RunContext, tasks: Sequence[str]) -> Calibration | None:
    """The calibration of a run, ``None`` where it is switched off or was not made for the networks of ``tasks``.

    It lies beside the manifest that names the network of the first task. Raises UserError where the file is damaged.
    """
    entries = [context.entry(task) for task in tasks if context.has(task)]
    if not context.threshold(SWITCH, 1.0) or not entries:
        return None
    path = entries[0].folder / calibration_file(context.profile)
    if not path.is_file():
        return None
    found = read_calibration(path)
    fits = found.profile == context.profile and found.models == {one.task: one.sha256 for one in entries}
    return found if fits else None


def read_calibration(path: str | Path) -> Calibration:
    """Read and check a calibration. Raises UserError when it cannot be read or is not one."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema = document.pop("schema")
        found = Calibration(**document)
        fault = _fault(found) if schema == SCHEMA else f"its schema is {schema!r}, not {SCHEMA!r}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found, fault = None, f"{type(error).__name__}: {error}"
    if found is None or fault:
        message = (
            f"{path} is no calibration of this version ({fault}): make it again with 'cspine evaluate calibration',"
            " delete it or reinstall CSpineFracture."
        )
        raise UserError(message)
    return found


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write ``calibration``; the file is whole or as before.

    Raises ValueError for what no fit can have made, UserError when the file cannot be written.
    """
    fault = _fault(calibration)
    if fault:
        message = f"The calibration is not valid: {fault}."
        raise ValueError(message)
    text = json.dumps({"schema": SCHEMA, **asdict(calibration)}, indent=1, ensure_ascii=False, allow_nan=False)
    write_text_atomically(text + "\n", path)


def _fault(found: Calibration) -> str | None:
    """What no fit can have made, in words. Raises TypeError, KeyError or AttributeError for values of another kind."""
    if not 0 < found.threshold < 1:
        return f"threshold {found.threshold!r} is not between 0 and 1"
    for name, slopes in (("level", found.level), ("study", found.study)):
        if set(slopes) != {"below", "above"}:
            return f"{name} needs the slopes 'below' and 'above' alone"
        for side in ("below", "above"):
            if not SLOPES[0] <= slopes[side] <= SLOPES[1]:
                return f"the slope {slopes[side]!r} {side} the threshold is out of range"
    if not all(isinstance(sha, str) and len(sha) == 64 for sha in found.models.values()):
        return "models needs the SHA-256 of each network by its task"
    return None
