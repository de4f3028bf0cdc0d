"""What the level regressor says of the places where a body may have its middle: evidence for their names."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.models.sagittal_net import BODIES
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.decode import FLOOR

REGRESSOR = "level-regressor"
BATCH = 4


def regressed_names(hu: np.ndarray, places: np.ndarray, context: RunContext) -> np.ndarray:
    """``[8, n]``: logarithms of the probabilities that places lie in C1-C7 and T1, against the likeliest of them.

    So a place is no more of a body because it is well known where in the neck it lies. ``hu`` ``[k, j, i]`` on the
    coarse grid, ``places`` ``[n, 3]`` its indices. Cancels between batches.
    """
    import torch

    from CSpineFractureLib.models.level_regressor import block_input, blocks_at, level_shares

    if not len(places):
        return np.zeros((BODIES, 0))
    model, _ = context.load(REGRESSOR)
    volume = torch.from_numpy(np.ascontiguousarray(hu))

    @torch.inference_mode()
    def look(batch: np.ndarray, device: str) -> list[np.ndarray]:
        if device != context.device:  # whose memory was short
            model.to(device)
        return list(level_shares(model(block_input(blocks_at(volume, batch)).to(device))).cpu().numpy())

    shares = (
        np.stack(context.run_batches("locate", look, places, BATCH, "Finding the column", side_by_side=True), axis=1)
        + FLOOR
    )
    return np.log(shares / shares.max(axis=0))
