"""Real CT without fractures as reviewed studies: the column is where the locator finds it, and no level is fractured.

Bone of real patients has osteophytes, vessel channels and noise that no phantom has. The fracture networks learn from
such studies what is no fracture (``cspine train two-stage --sound``); the names of the levels do not matter there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.column_volumes import UNKNOWN
from CSpineFractureLib.datasets.corrections import write_corrections
from CSpineFractureLib.datasets.part_folder import new_folder
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.column_search import map_column
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.training.located_columns import LEAST_CONFIDENCE, located_column, study_names
from CSpineFractureLib.volume import read_volume
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import fine_labels


def write_sound_studies(
    scans: Sequence[Path],
    out: Path,
    context: RunContext,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """One folder of ``out`` (it must not exist yet) for each scan in which the locator finds levels surely enough.

    The format is that of reviewed studies (``datasets.corrections``), without a fracture; returns the studies' names.
    Raises ``UserError`` where a scan cannot be read, ``out`` exists or cannot be written, or none is left; nothing
    stays then.
    """
    own_names, names = study_names(scans), []
    with new_folder(out) as part:
        for done, (scan, name) in enumerate(zip(scans, own_names, strict=True), start=1):
            volume = read_volume(scan)
            labels = _levels(CanonicalView.of(volume), context)
            if labels is not None:
                names.append(name)
                result = context.new_result(volume, "not judged: known to be free of fractures")
                write_corrections(part / names[-1], volume, labels, result)
            on_progress(done, len(scans))
        if not names:
            message = f"No level was found surely enough in any of {len(scans)} scans: give other scans."
            raise UserError(message)
    return names


def _levels(view: CanonicalView, context: RunContext) -> np.ndarray | None:
    """C1-C7 and thoracic vertebrae on the stored grid; ``None`` where the locator is not sure of them."""
    column = map_column(view, context)
    found = None if column is None else located_column(view, column)
    if found is None or found[1] < LEAST_CONFIDENCE:
        return None
    labels = found[0].labels
    return view.to_stored(fine_labels(np.where(labels == UNKNOWN, 0, labels), view.hu.shape, view.spacing_mm))
