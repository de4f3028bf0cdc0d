"""Neighbourhoods and blocks of masks and labels: as scipy's general operations, several times as fast."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Place = tuple[slice, ...]


def eroded(mask: np.ndarray, times: int = 1) -> np.ndarray:
    """As ``scipy.ndimage.binary_erosion`` of a bool array by nearest neighbours; all is background outside."""
    for _ in range(times):
        result = mask.copy()
        for axis in range(mask.ndim):
            old, new = np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0)
            new[1:] &= old[:-1]
            new[:-1] &= old[1:]
            new[0] = new[-1] = False
        mask = result
    return mask


def dilated(mask: np.ndarray, times: int = 1) -> np.ndarray:
    """As ``scipy.ndimage.binary_dilation`` of a bool array by nearest neighbours."""
    for _ in range(times):
        result = mask.copy()
        for axis in range(mask.ndim):
            old, new = np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0)
            new[1:] |= old[:-1]
            new[:-1] |= old[1:]
        mask = result
    return mask


def highest_around(values: np.ndarray, reach: tuple[int, ...]) -> np.ndarray:
    """The highest value so many voxels to either side along each axis, as ``scipy.ndimage.maximum_filter`` of a box."""
    for axis, most in enumerate(reach):
        if not most:
            continue
        result = values.copy()
        old, new = np.moveaxis(values, axis, 0), np.moveaxis(result, axis, 0)
        for by in range(1, most + 1):
            np.maximum(new[by:], old[:-by], out=new[by:])
            np.maximum(new[:-by], old[by:], out=new[:-by])
        values = result
    return values


def peel(labels: np.ndarray, loose: np.ndarray, steps: int) -> None:
    """Take ``loose`` voxels out of ``labels``, in place, that 0 reaches through loose ones in so many steps.

    ``loose`` ``[n, 3]`` are indices of labelled voxels. A step goes to one of the six nearest; beyond the array lies
    nothing. Where two labels meet, 0 begins at their border, too: what is loose there lies in a joint.
    """
    last = np.array(labels.shape) - 1
    for _ in range(steps):
        own, is_open = labels[tuple(loose.T)], np.zeros(len(loose), bool)
        for axis in range(labels.ndim):
            for by in (-1, 1):
                beside = list(loose.T)
                beside[axis] = np.clip(beside[axis] + by, 0, last[axis])
                is_open |= labels[tuple(beside)] != own
        if not is_open.any():
            return
        labels[tuple(loose[is_open].T)] = 0
        loose = loose[~is_open]


def filled_block(labels: np.ndarray) -> Place | None:
    """The smallest block ``[k, j, i]`` that holds all voxels that are not 0; ``None`` without any."""
    filled = np.flatnonzero([plane.any() for plane in labels])
    if not len(filled):
        return None
    k = slice(int(filled[0]), int(filled[-1]) + 1)
    shadow = labels[k].any(axis=0)
    ends = (np.flatnonzero(shadow.any(axis=axis)) for axis in (1, 0))
    return (k, *(slice(int(end[0]), int(end[-1]) + 1) for end in ends))


def label_places(labels: np.ndarray) -> dict[int, Place]:
    """The block ``[k, j, i]`` of each label (1 and more) that is there; most of the array should be 0."""
    block = filled_block(labels)
    found = ndimage.find_objects(labels[block]) if block else []
    return {n: inside(block, place) for n, place in enumerate(found, start=1) if place is not None}


def inside(block: Place, place: Place) -> Place:
    """A place within a block, in the indices of the array that the block was cut from."""
    return tuple(slice(b.start + p.start, b.start + p.stop) for b, p in zip(block, place, strict=True))


def grown(place: Place, by: tuple[int, ...], shape: tuple[int, ...]) -> Place:
    """A place with so many voxels more on both sides along each axis, as far as the array reaches."""
    return tuple(slice(max(0, p.start - m), min(n, p.stop + m)) for p, m, n in zip(place, by, shape, strict=True))
