"""Are these numbers Hounsfield units? Corrects values stored with an offset, refuses what cannot be CT."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice

SAMPLE = 2_000_000
OFFSET = 1024
"""The intercept nearly every scanner uses; values stored without it are HU + 1024."""
FAT_HU = 170
"""The most frequent value of soft tissue lies no farther from 0: in fat patients it is that of fat, -140 to -80."""


def check_hu(values: np.ndarray, name: str, copy: bool = True) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Give int16 Hounsfield units (same shape, at least -1024) or refuse.

    Parameters
    ----------
    values
        Any real array; only ordinary numbers (no NaN). It is not changed.
    name
        The input's name for errors. Notices stand in results and reports, and a file's name may be the patient's.
    copy
        The answer is a copy; without, int16 values of at least -1024 are given back themselves.

    Values are taken as HU where they hold air (below -500) and tissue (above -200), or fat, soft tissue and bone about
    their usual values. Values that start near 0 and hold air near 0 and soft tissue near 1064 are HU + 1024: they are
    shifted, with a ``values-shifted`` Notice. Padding (-1024 and below) is no air: it tells nothing of the scale of
    the rest, and stays padding. Raises ``UserError`` for constant, all-air, 8-bit or other
    non-CT values.
    """
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)].astype(np.float32)
    low, high = float(sample.min()), float(sample.max())
    remedy = "give a CT with its original Hounsfield values"
    if low == high:
        message = f"'{name}' holds the same value ({low:g}) everywhere; {remedy}."
        raise UserError(message)
    notices: tuple[Notice, ...] = ()
    tissue, air = float((sample > -200).mean()), float((sample < -500).mean())
    if low < -200 and tissue < 2e-4:
        message = f"'{name}' holds nothing but air (no voxel of tissue above -200 HU); give a scan of a neck."
        raise UserError(message)
    scanned = sample[sample > -OFFSET]
    shift = _offset(scanned) if (scanned < -500).mean() < 2e-4 else None
    if shift is not None or (air < 2e-4 and not _is_tissue_only(sample)):
        if shift is None:
            message = f"'{name}' does not hold Hounsfield units ({_cause(low, high)}); {remedy}."
            raise UserError(message)
        values = np.asarray(values, np.float32 if values.dtype.kind == "f" else np.int32) - shift
        message = (
            f"The values start at {scanned.min():.0f} and look like HU + {shift}; {shift} was taken off, "
            f"so HU are right only to a few dozen units."
        )
        notices = (Notice("values-shifted", message),)
    elif air < 2e-4:
        much = "hardly any" if low < -500 else "no"
        message = f"The volume holds {much} air (lowest value {low:.0f} HU): it is cropped or its values are clipped."
        notices = (Notice("no-air", message),)
    if values.dtype == np.int16:
        is_done = not copy and values.min() >= -OFFSET
        return values if is_done else np.maximum(values, -OFFSET), notices
    if values.dtype.kind == "f":
        values = np.rint(values)
    return np.clip(values, -OFFSET, np.iinfo(np.int16).max).astype(np.int16), notices


def _is_tissue_only(sample: np.ndarray) -> bool:
    """Negative values for fat, a soft-tissue peak between -50 and 120, and some bone: HU of a crop without air."""
    if sample.min() > -30:
        return False
    soft = ((sample > -150) & (sample < 150)).mean()
    return bool(soft > 0.4 and (sample > 200).mean() > 1e-3)


def _offset(sample: np.ndarray) -> int | None:
    """1024 where the sample is HU + 1024: a soft-tissue peak there, little between it and air, and some bone."""
    if sample.min() < -200 or sample.max() < OFFSET + 150:
        return None
    inside = sample[sample > 500]
    if inside.size < 2e-4 * sample.size:
        return None
    counts, edges = np.histogram(inside, bins=np.arange(500, 2520, 20))
    smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
    peak = edges[int(np.argmax(smooth))] + 10
    soft = ((inside > OFFSET - 150) & (inside < OFFSET + 150)).mean()
    between = ((sample > 300) & (sample < 700)).sum() / inside.size
    if abs(peak - OFFSET) > FAT_HU or soft < 0.3 or between > 0.5:
        return None
    return OFFSET


def _cause(low: float, high: float) -> str:
    if low >= 0 and high <= 1.01:
        return f"its values run from {low:g} to {high:g}, so they were normalised"
    if low >= 0 and high <= 255:
        return f"its values run from {low:.0f} to {high:.0f}, like an 8-bit picture"
    return f"its values run from {low:.0f} to {high:.0f}, without air near -1000"
