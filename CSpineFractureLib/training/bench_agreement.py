"""How far two runs over the same CT agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from CSpineFractureLib.findings.study_result import StudyResult


def agreement(one: StudyResult, other: StudyResult) -> dict[str, Any]:
    """``levels_identical``, ``least_box_iou``, ``largest_probability_difference``, ``probabilities_compared``.

    The IoU is the least over the levels that both show (of their 3D boxes). Fracture probabilities are those of slices,
    levels and study; one that only one of the two has counts as a difference of 1. ``None`` where there is nothing to
    compare.
    """
    levels, others = ({found.level: found for found in result.vertebrae} for result in (one, other))
    ious = [box_iou(levels[name].box_ras, others[name].box_ras) for name in levels if name in others]
    first, second = _probabilities(one), _probabilities(other)
    differences = [_difference(first.get(key), second.get(key)) for key in {*first, *second}]
    return {
        "levels_identical": list(levels) == list(others),
        "least_box_iou": min(ious, default=None),
        "largest_probability_difference": max(differences, default=None),
        "probabilities_compared": len(differences),
    }


def box_iou(first: list[list[float]], second: list[list[float]]) -> float:
    """Shared volume over joined volume of two boxes, each ``[low, high]`` in RAS mm; 0 where both are empty."""
    (low, high), (other_low, other_high) = np.asarray(first, float), np.asarray(second, float)
    shared = np.prod(np.clip(np.minimum(high, other_high) - np.maximum(low, other_low), 0, None))
    joined = np.prod(high - low) + np.prod(other_high - other_low) - shared
    return float(shared / joined) if joined > 0 else 0.0


def _probabilities(result: StudyResult) -> dict[tuple[str, Any], float]:
    found: dict[tuple[str, Any], float | None] = {("study", ""): result.study.fracture_probability}
    found.update({("level", one.level): one.fracture_probability for one in result.vertebrae})
    found.update({("slice", one.k): one.fracture_probability for one in result.slices})
    return {key: value for key, value in found.items() if value is not None}


def _difference(first: float | None, second: float | None) -> float:
    return 1.0 if first is None or second is None else abs(first - second)
