"""How far apart the surfaces of two segments are, in mm."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


def surface_points(mask: np.ndarray, spacing_kji: tuple[float, float, float]) -> np.ndarray:
    """The voxels of ``mask`` ``[k, j, i]`` with a face to the outside, as points ``[n, 3]`` in mm.

    Beyond the array is outside.
    """
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found or found[0] is None:
        return np.empty((0, 3))
    inside = mask[found[0]]
    places = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    return (places + [part.start for part in found[0]]) * np.asarray(spacing_kji, float)


def surface_distances(
    truth: np.ndarray, found: np.ndarray, spacing_kji: tuple[float, float, float]
) -> tuple[float, float]:
    """Average symmetric surface distance and HD95 of two masks ``[k, j, i]`` in mm; NaN where either is empty.

    The former is the mean over the surface voxels of both of the distance to the nearest of the other; HD95 is the
    greater of the two directions' 95th percentiles.
    """
    ours, theirs = (surface_points(np.asarray(mask, bool), spacing_kji) for mask in (found, truth))
    if not len(ours) or not len(theirs):
        return float("nan"), float("nan")
    away, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    mean = (away.sum() + back.sum()) / (len(away) + len(back))
    return float(mean), float(max(np.percentile(away, 95), np.percentile(back, 95)))
