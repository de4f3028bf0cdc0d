"""A CT slice as the 8-bit picture that the source documents train on; data sets and pipeline both draw it here.

000: window 500/2000; 002: three bone windows as the channels R, G, B; 004: each slice stretched from its lowest to its
highest value.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.windows import THREE_BONE_WINDOWS, Window

_WINDOW = re.compile(r"(-?\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


def painter(window: str) -> Callable[[np.ndarray], np.ndarray]:
    """What turns HU ``[j, i]`` into uint8 ``[j, i]`` (grey) or ``[j, i, 3]`` (R, G, B).

    ``window`` is ``CENTRE/WIDTH`` in HU such as ``500/2000``, ``three`` or ``minmax``; raises ``UserError`` otherwise.
    """
    if window == "three":
        return lambda hu: np.stack([_eight_bits(one.apply(hu)) for one in THREE_BONE_WINDOWS], axis=-1)
    if window == "minmax":
        return _stretched
    found = _WINDOW.fullmatch(window)
    if not found or float(found[2]) <= 0:
        message = f"'{window}' is no window; give CENTRE/WIDTH in HU such as 500/2000, or three, or minmax."
        raise UserError(message)
    single = Window(float(found[1]), float(found[2]))
    return lambda hu: _eight_bits(single.apply(hu))


def _eight_bits(share: np.ndarray) -> np.ndarray:
    return np.rint(share * 255).astype(np.uint8)


def _stretched(hu: np.ndarray) -> np.ndarray:
    values = hu.astype(np.float32)
    low, high = values.min(), values.max()
    return _eight_bits((values - low) / max(high - low, 1))
