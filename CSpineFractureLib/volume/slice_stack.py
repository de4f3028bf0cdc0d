"""An axial slice as the colour picture that document 002's segmentation takes: three windows, or three neighbours.

Section III-B stacks three bone windows as R, G, B. Section IV-C compares with its "2.5D" pictures: the slice before,
the slice itself, and the slice after.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.slice_window import painter

NEIGHBOURS = "neighbours:"
StackPainter = Callable[[np.ndarray, int, int], np.ndarray]


def stack_painter(window: str) -> StackPainter:
    """What turns slice ``k`` of HU ``[k, j, i]`` into uint8 ``[j, i, 3]``: ``paint(hu, k, up)``.

    ``window`` is ``three`` (three bone windows) or ``neighbours:CENTRE/WIDTH``: the slice above, the slice, the slice
    below, each in that window. ``up`` is the step from a slice to the next one towards the head, 1 or -1; beyond the
    ends the last slice stands for its neighbour. Raises ``UserError`` for another window.
    """
    if window.startswith(NEIGHBOURS):
        grey = painter(window.removeprefix(NEIGHBOURS))

        def paint(hu: np.ndarray, k: int, up: int) -> np.ndarray:
            rows = (min(max(at, 0), len(hu) - 1) for at in (k + up, k, k - up))
            return np.stack([grey(hu[at]) for at in rows], axis=-1)

        if grey(np.zeros((1, 1), np.int16)).ndim == 2:
            return paint
    elif window == "three":
        colours = painter(window)
        return lambda hu, k, up: colours(hu[k])
    message = f"'{window}' is no window of a segmentation; give three, or neighbours:500/2000."
    raise UserError(message)
