"""Which of C1-C7 each slice shows: the first stage of document 004, a network for the slice and where it lies."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.slice_images import whole_slices
from CSpineFractureLib.volume.canonical import CanonicalView

LEVELS_IN_SLICE = "level-presence"
STEP_MM = 1.0


def slice_places(view: CanonicalView) -> np.ndarray:
    """float32 ``[k, 2]``: how far each slice lies below the highest one (mm), and the same as a share, 0 to 1.

    The metadata of document 004, as the training images carry them.
    """
    below = abs(view.ijk_to_ras[2, 2]) * np.arange(len(view.hu))[::-1]
    return np.stack([below, below / max(below.max(), 1e-6)], axis=1).astype(np.float32)


def looked_at(view: CanonicalView, exact: bool) -> list[int]:
    """Canonical slices from superior to inferior: at most 1 mm apart where there are that many; all when ``exact``."""
    step = 1 if exact else max(1, int((STEP_MM + 1e-3) / view.spacing_mm[2]))
    return list(range(len(view.hu) - 1, -1, -step))


def level_presence(view: CanonicalView, slices: list[int], context: RunContext) -> np.ndarray:
    """``[n, 7]``: the probability that each of these slices shows C1 ... C7."""
    seen = whole_slices(context.entry(LEVELS_IN_SLICE))
    model, _ = context.load(LEVELS_IN_SLICE)
    places = slice_places(view)

    def batch_presence(batch: list[int], device: str) -> list[np.ndarray]:
        import torch

        model.to(device)
        images = torch.from_numpy(np.stack([seen.picture(view, k)[0] for k in batch])).to(device)
        with torch.inference_mode():
            logits = model(images, torch.from_numpy(places[batch]).to(device))
        return list(torch.sigmoid(logits.float()).cpu().numpy())

    with context.stage("levels", len(slices), "Finding the levels in each slice"):
        return np.array(context.run_batches("levels", batch_presence, slices, 16, "Finding the levels in each slice"))


def on_every_slice(view: CanonicalView, slices: list[int], presence: np.ndarray) -> np.ndarray:
    """``[k, 7]`` for all slices of the view: straight lines between those looked at."""
    order = np.argsort(slices)
    at = np.asarray(slices)[order]
    return np.stack([np.interp(np.arange(len(view.hu)), at, column[order]) for column in presence.T], axis=1)
