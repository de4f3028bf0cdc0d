"""The patient-oriented view of a volume, in which every stage works.

A file may store its axes in any order and direction. The stages see the same patient either way: slices from
inferior to superior, rows from anterior to posterior, columns from right to left. Reordering is exact (axes are
swapped and flipped, voxels are not interpolated), so flipped storage gives identical findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from CSpineFractureLib.volume.ct_volume import CTVolume

_WANTED = np.array([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])  # i to left, j to posterior, k to superior


@dataclass(frozen=True)
class CanonicalView:
    """A reordered view of a volume and the way back.

    ``hu`` int16 ``[k, j, i]`` with k towards superior, j towards posterior, i towards left (to the nearest axis);
    ``ijk_to_ras`` is its matrix; ``order`` and ``flips`` say how the stored axes were rearranged.
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, volume: CTVolume) -> CanonicalView:
        """The canonical view of a volume (no copy)."""
        directions = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
        source, signs = _match(directions)
        order = tuple(2 - source[2 - axis] for axis in range(3))
        flips = tuple(bool(signs[2 - axis] < 0) for axis in range(3))
        matrix = np.eye(4)
        origin = volume.ijk_to_ras[:3, 3].copy()
        for axis in range(3):
            column = volume.ijk_to_ras[:3, source[axis]]
            matrix[:3, axis] = column * signs[axis]
            if signs[axis] < 0:
                origin += column * (volume.hu.shape[2 - source[axis]] - 1)
        matrix[:3, 3] = origin
        return cls(_rearranged(volume.hu, order, flips), matrix, order, flips)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        return tuple(float(np.linalg.norm(self.ijk_to_ras[:3, axis])) for axis in range(3))

    def ras_of(self, ijk: np.ndarray) -> np.ndarray:
        """RAS mm of canonical indices ``(i, j, k)``; shape ``(..., 3)``."""
        return np.asarray(ijk, float) @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def ijk_of(self, ras: np.ndarray) -> np.ndarray:
        """Continuous canonical indices ``(i, j, k)`` of RAS mm; shape ``(..., 3)``."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        return np.asarray(ras, float) @ inverse[:3, :3].T + inverse[:3, 3]

    def zeros(self, dtype: type) -> np.ndarray:
        """Zeros on the canonical grid, in memory as the volume is stored, so that ``to_stored`` copies nothing."""
        shape = tuple(self.hu.shape[axis] for axis in np.argsort(self.order))
        return _rearranged(np.zeros(shape, dtype), self.order, self.flips)

    def to_stored(self, array: np.ndarray) -> np.ndarray:
        """An array on the canonical grid, rearranged to the volume's own storage order; contiguous."""
        flipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.ascontiguousarray(np.transpose(flipped, np.argsort(self.order)))

    def stored_slice_axis(self) -> int:
        """Which canonical axis (0 k, 1 j, 2 i) the volume stores as its slices."""
        return int(np.argsort(self.order)[0])

    def stored_slice(self, index: int) -> int:
        """The stored slice number of an index along the stored slice axis of the canonical view."""
        axis = self.stored_slice_axis()
        return self.hu.shape[axis] - 1 - index if self.flips[axis] else index


def _rearranged(stored: np.ndarray, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> np.ndarray:
    return np.transpose(stored, order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _match(directions: np.ndarray) -> tuple[list[int], list[int]]:
    """For each canonical axis the stored axis nearest to it, and whether it runs the same way (+1) or not (-1)."""
    best, answer = -1.0, ([0, 1, 2], [1, 1, 1])
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        cosines = [float(_WANTED[:, axis] @ directions[:, order[axis]]) for axis in range(3)]
        if sum(abs(c) for c in cosines) > best + 1e-6:
            best = sum(abs(c) for c in cosines)
            answer = (list(order), [1 if c >= 0 else -1 for c in cosines])
    return answer
