"""The vertebra masks that ``unet-cracknet`` draws itself, in place of those that come with the studies.

A mask drawn by hand, or that of a phantom, holds the gap of a fracture. One that a network draws follows the bone and
leaves the gap out. A classifier that has the mask as a channel must learn from masks like those it gets at run time:
with true ones it learns to look for what is dark inside the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.find_levels import LEAST_CONFIDENCE
from CSpineFractureLib.pipeline.unet_levels import segment_levels
from CSpineFractureLib.pipeline.unet_segment import SEGMENTATION
from CSpineFractureLib.pipeline.unet_volume import name_voxels
from CSpineFractureLib.training.run_context import run_context
from CSpineFractureLib.volume.canonical import CanonicalView

if TYPE_CHECKING:
    import numpy as np

    from CSpineFractureLib.pipeline.context import RunContext

PROFILE = "unet-cracknet"
STUDY, FOUND = "study", "found"
"""Values of ``data.masks``: the masks of the studies, or those that the installed networks draw."""


def masks_drawn_by(masks: str, device: str = "auto") -> RunContext | None:
    """The run that draws the masks, ``None`` for those of the studies.

    Raises ``UserError`` for another value of ``data.masks``, and where there are no weights.
    """
    if masks == STUDY:
        return None
    if masks != FOUND:
        message = f"data.masks of vertebra crops is {masks!r}: give 'study' or 'found'."
        raise UserError(message)
    context = run_context(PROFILE, device)
    context.entry(SEGMENTATION)
    return context


def with_found_masks(records: Sequence[StudyRecord], context: RunContext) -> list[StudyRecord]:
    """The studies with masks that ``context`` draws when they are asked for."""
    return [replace(record, load_levels=_drawing(record, context)) for record in records]


def _drawing(record: StudyRecord, context: RunContext):
    def draw() -> np.ndarray:
        view = CanonicalView.of(record.load_volume())
        labels, _ = segment_levels(name_voxels(view, context), view, LEAST_CONFIDENCE)
        return view.to_stored(labels)

    return draw
