"""Where the files of a DICOM series lie on the grid that ``read_volume`` gives, from headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import read_volume
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS, groups_at_same_place, layout_of
from CSpineFractureLib.volume.dicom_scan import Scan, files_below, scan_files
from CSpineFractureLib.volume.dicom_series import stacks_of
from CSpineFractureLib.volume.dicom_slice import DicomSlice
from CSpineFractureLib.volume.quiet import quiet_libraries


@dataclass(frozen=True, eq=False)
class DicomGrid:
    """The grid of a series (shape ``(k, j, i)`` and matrix to RAS mm) and its planes by file number."""

    shape_kji: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    planes: dict[int, DicomSlice]

    def box_on_grid(
        self, number: int, x: float, y: float, width: float, height: float
    ) -> tuple[int, float, float, float, float]:
        """A box of file ``number`` as ``(k, x, y, width, height)`` on the grid; pixel edges in and out.

        On a regular grid only ``k`` is new; slices of a tilted or shifted series were moved within their planes too.
        Raises ``KeyError`` where the series has no such file.
        """
        plane = self.planes[number]
        inverse = np.linalg.inv(self.ijk_to_ras)
        i, j, k = inverse[:3, :3] @ _ras(plane, x - 0.5, y - 0.5) + inverse[:3, 3]
        return round(float(k)), round(float(i) + 0.5, 4), round(float(j) + 0.5, 4), width, height

    def corners_ras(self) -> np.ndarray:
        """Middles of the corner pixels of all files, ``(4 n, 3)`` RAS mm."""
        points = []
        for plane in self.planes.values():
            points += [_ras(plane, x, y) for x in (0, plane.columns - 1) for y in (0, plane.rows - 1)]
        return np.array(points)


def scan_series(folder: Path) -> Scan:
    """The headers of all files of a folder; see ``Scan``. Raises ``UserError`` where it may not be listed."""
    with quiet_libraries():
        return scan_files(files_below(folder))


def dicom_grid(folder: Path) -> DicomGrid:
    """The grid of the series in ``folder``, the same as that of ``read_volume(folder)``.

    A regular series is told by its headers; only one that must be resampled, or chosen among several, is read.
    Raises ``UserError`` as ``read_volume`` does.
    """
    if not folder.is_dir():
        message = f"'{folder}' does not exist; copy the DICOM files of the study there."
        raise UserError(message)
    scan = scan_series(folder)
    planes = {int(p.path.stem): p for p in scan.planes if p.path.stem.isdecimal()}
    stacks = stacks_of(scan.planes)
    if len(stacks) == 1 and not scan.broken:
        kept = [group[-1] for group in groups_at_same_place(stacks[0].planes)]
        layout = layout_of(kept)
        if layout.regular:
            first = layout.planes[0]
            return DicomGrid((len(layout.planes), first.rows, first.columns), layout.ijk_to_ras(), planes)
    volume = read_volume(folder)
    return DicomGrid(volume.shape_kji, volume.ijk_to_ras, planes)


def _ras(plane: DicomSlice, column: float, row: float) -> np.ndarray:
    """RAS mm of a pixel's middle."""
    across = plane.row_axis * column * plane.pixel_mm[1] + plane.column_axis * row * plane.pixel_mm[0]
    return LPS_TO_RAS @ (plane.position + across)
