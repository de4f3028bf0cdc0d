"""The CT volume that every other room works on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from CSpineFractureLib.notice import Notice


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT volume in Hounsfield units with its place in the patient.

    Parameters
    ----------
    hu
        int16 array ``[k, j, i]`` (slice, row, column), Hounsfield units. Padding outside the scanned field of view
        is at or below -1000 HU.
    ijk_to_ras
        4x4 float64 matrix from voxel indices ``(i, j, k, 1)`` (voxel centres) to RAS millimetres.
    grid
        ``"native"`` when the voxels are those of the file, ``"resampled"`` when an irregular or tilted series was
        interpolated to a regular orthogonal grid.
    series_uid, frame_of_reference_uid, sop_instance_uids
        DICOM identifiers where the input had them; ``sop_instance_uids`` holds one UID per slice ``k`` of a native
        grid, else ``None``.
    slice_thickness_mm
        What one stored slice averages over, as DICOM says; ``None`` where that is not known. Slices that overlap are
        thicker than their distance.
    notices
        What the reader wants the user to know (spacing, padding, series chosen, ...).
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    grid: Literal["native", "resampled"] = "native"
    series_uid: str | None = None
    frame_of_reference_uid: str | None = None
    sop_instance_uids: tuple[str, ...] | None = None
    notices: tuple[Notice, ...] = field(default=())
    slice_thickness_mm: float | None = None

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype != np.int16:
            message = f"CTVolume needs a 3D int16 array, not {self.hu.ndim}D {self.hu.dtype}."
            raise ValueError(message)
        matrix = np.asarray(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
            message = "CTVolume needs an invertible 4x4 ijk_to_ras matrix."
            raise ValueError(message)
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        return tuple(int(n) for n in self.hu.shape)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j and k (column, row, slice) in mm, as Slicer and ITK order it."""
        return tuple(float(np.linalg.norm(self.ijk_to_ras[:3, axis])) for axis in range(3))

    def ras_of(self, ijk: np.ndarray) -> np.ndarray:
        """RAS mm of voxel indices ``(i, j, k)``; shape ``(..., 3)`` in and out."""
        return np.asarray(ijk, float) @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def ijk_of(self, ras: np.ndarray) -> np.ndarray:
        """Continuous voxel indices ``(i, j, k)`` of RAS mm; shape ``(..., 3)`` in and out."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        return np.asarray(ras, float) @ inverse[:3, :3].T + inverse[:3, 3]

    def with_notices(self, *notices: Notice) -> CTVolume:
        """The same volume with more notices."""
        return replace(self, notices=(*self.notices, *notices))
