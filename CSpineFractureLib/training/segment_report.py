"""How well a profile's segments follow the true vertebrae: Dice by level and surface distance, in 3D, over studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.bootstrap import Figures, with_intervals
from CSpineFractureLib.training.metrics_file import plain
from CSpineFractureLib.training.segmentation_report import (
    StudyScores,
    confusion_of,
    level_distances,
    segmentation_figures,
)

if TYPE_CHECKING:
    from CSpineFractureLib.pipeline.engine import Engine

THORACIC = 8


def dice_by_level(result_labels: np.ndarray, truth_labels: np.ndarray) -> dict[str, float | None]:
    """Dice of C1-C7 of two label maps ``[k, j, i]`` (1-7 = C1-C7; higher numbers are left out).

    ``None`` where neither has the level, 0 where only one of them has it.
    """
    confusion = confusion_of(_levels_only(truth_labels), _levels_only(result_labels))
    both = np.diagonal(confusion).astype(float)
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    return {level: float(2 * both[n] / sizes[n]) if sizes[n] else None for n, level in enumerate(LEVELS, start=1)}


def evaluate_segments(
    studies: Sequence[StudyRecord],
    engine: Engine,
    profile: str,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    n: int = 1000,
    seed: int = 0,
    models: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run a profile on studies with vertebra masks, and compare its segments with them.

    The report holds ``figures`` (those of ``segmentation_figures``: dice, dice_C1 .. dice_C7, iou, dice_set, missed,
    surface_mm, hd95_mm and accuracy; a level counts in the studies whose mask shows it), ``intervals`` (95 %, ``n``
    bootstrap samples over studies), ``strata`` (the figures of displaced, hairline and mimics) and ``per_study`` (Dice
    by level, ``invented`` levels, seconds). Studies without a mask are left out. Raises ``UserError`` where none is
    left, where a mask does not fit its CT, and what the profile raises.
    """
    with_mask = [record for record in studies if record.load_levels is not None]
    if not with_mask:
        message = "None of these studies has a vertebra mask to compare with; give studies with masks of C1-C7."
        raise UserError(message)
    rows, confusions, surfaces, hd95s = [], [], [], []
    for number, record in enumerate(with_mask):
        on_event({"stage": "segments", "done": number, "total": len(with_mask), "message": "Comparing segments"})
        truth = _levels_only(record.load_levels())
        volume, output = engine.run_study(record.load_volume(), profile, models=models)
        if truth.shape != output.labels.shape:
            sizes = [" x ".join(map(str, array.shape[::-1])) for array in (truth, output.labels)]
            message = (
                f"Study '{record.id}' has a mask of {sizes[0]} voxels for a CT of {sizes[1]}; give it the mask of this"
                " CT."
            )
            raise UserError(message)
        distances, hd95 = level_distances(truth, output.labels, volume.spacing_mm[::-1])
        confusions.append(confusion_of(truth, output.labels))
        surfaces.append(distances)
        hd95s.append(hd95)
        dice = dice_by_level(output.labels, truth)
        invented = [level for m, level in enumerate(LEVELS, start=1) if dice[level] == 0 and not (truth == m).any()]
        seconds = float(sum(output.result.timings_s.values()))
        rows.append({"study": record.id, "dice": dice, "invented": invented, "seconds": round(seconds, 1)})
    scores = StudyScores(np.array(confusions), np.array(surfaces), np.array(hd95s))
    figures = _figures(scores, [record.id for record in with_mask], n, seed)
    return plain(
        {
            "profile": profile,
            "studies": len(with_mask),
            **figures,
            "strata": {
                name: {"studies": len(part), **_figures(scores.of(part), [rows[m]["study"] for m in part], n, seed)}
                for name in sorted({name for record in with_mask for name in record.strata})
                if len(part := np.array([m for m, record in enumerate(with_mask) if name in record.strata]))
            },
            "per_study": rows,
        }
    )


def _figures(scores: StudyScores, studies: list[str], n: int, seed: int) -> dict[str, dict]:
    figures = with_intervals(_of, studies, scores.confusion, scores.surface, scores.hd95, n=n, seed=seed)
    return {
        "figures": {name: figure.value for name, figure in figures.items()},
        "intervals": {name: [figure.low, figure.high] for name, figure in figures.items() if figure.low is not None},
    }


def _of(confusion: np.ndarray, surface: np.ndarray, hd95: np.ndarray) -> Figures:
    return segmentation_figures(StudyScores(confusion, surface, hd95))


def _levels_only(labels: np.ndarray) -> np.ndarray:
    """C1-C7 alone; no profile segments the thorax."""
    return np.where((labels >= 1) & (labels < THORACIC), labels, 0).astype(np.uint8)
