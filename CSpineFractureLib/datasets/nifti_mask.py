"""Vertebra masks in NIfTI files: written in any storage order, and brought onto a CT's grid by their affine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.itk_image import itk_image, write_whole
from CSpineFractureLib.volume.nifti_header import read_nifti_header
from CSpineFractureLib.volume.quiet import quiet_libraries

SAME_VOXEL = 0.05
"""Grids whose voxel centres differ by less than this share of a voxel are the same grid."""
MARGIN_VOXELS = 1.0
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class MaskGrid:
    """Where a mask lies: number of voxels ``(k, j, i)`` as stored, and the 4x4 matrix to RAS mm."""

    shape_kji: tuple[int, int, int]
    ijk_to_ras: np.ndarray


def write_mask(labels: np.ndarray, ijk_to_ras: np.ndarray, path: Path, orientation: str = "") -> None:
    """Write uint8 ``labels`` ``[k, j, i]`` as NIfTI; whole or not at all, else ``UserError``.

    ``orientation`` gives the storage order as three letters of ITK's code (``"PIR"``: i towards posterior, j towards
    inferior, k towards right); empty keeps the order. The affine always tells the truth.
    """
    image = itk_image(labels, ijk_to_ras)
    if orientation:
        image = sitk.DICOMOrient(image, orientation)
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
    partial = path.with_name(path.name.removesuffix(suffix) + ".part" + suffix)
    try:
        write_whole(image, partial)
        os.replace(partial, path)
    except (RuntimeError, OSError) as error:
        partial.unlink(missing_ok=True)
        message = f"'{path}' cannot be written; choose a folder with space that you may write to."
        raise UserError(message) from error


def mask_grid(path: Path) -> MaskGrid:
    """The mask's grid, from its header. Raises ``UserError`` where it is not a whole, 3D NIfTI file."""
    return _grid(_reader(path))


def read_mask(path: Path) -> tuple[np.ndarray, MaskGrid]:
    """Labels ``[k, j, i]`` (uint8) as they are stored, and their grid.

    Raises ``UserError`` where the file is missing, damaged, or holds anything but whole numbers from 0 to 255.
    """
    reader = _reader(path)
    try:
        with quiet_libraries():
            values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise UserError(_damaged(path)) from error
    grid = _grid(reader)
    values = values.reshape(grid.shape_kji)
    labels = values.astype(np.uint8, casting="unsafe")
    if not np.array_equal(labels, values):
        message = f"'{path}' is not a mask: it holds values that are no whole numbers from 0 to 255; export it again."
        raise UserError(message)
    return labels, grid


def onto_grid(
    labels: np.ndarray, grid: MaskGrid, ijk_to_ras: np.ndarray, shape_kji: tuple[int, int, int]
) -> np.ndarray:
    """Labels ``[k, j, i]`` on another grid, by the two affines alone.

    Where the grids coincide up to the order and direction of their axes the voxels are only rearranged; elsewhere the
    nearest voxel is taken, and 0 outside the mask.
    """
    step = np.linalg.inv(grid.ijk_to_ras) @ ijk_to_ras
    order = rearrangement(step, grid.shape_kji, shape_kji)
    if order is not None:
        axes, flips = order
        turned = np.transpose(labels, axes)
        return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)])
    linear, offset = step[2::-1, 2::-1], step[2::-1, 3]
    return ndimage.affine_transform(labels, linear, offset, shape_kji, order=0, mode="constant", cval=0)


def rearrangement(
    step: np.ndarray, source_kji: tuple[int, int, int], target_kji: tuple[int, int, int]
) -> tuple[tuple[int, ...], tuple[bool, ...]] | None:
    """Axes and flips (array order k, j, i) that turn the source into the target, ``None`` where the grids differ.

    ``step`` maps target ``(i, j, k, 1)`` to source ``(i, j, k, 1)``.
    """
    linear = step[2::-1, 2::-1]
    turn = np.rint(linear)
    if not np.array_equal(np.abs(turn).sum(axis=0), np.ones(3)) or np.linalg.matrix_rank(turn) < 3:
        return None
    axes = tuple(int(np.argmax(np.abs(turn[:, axis]))) for axis in range(3))
    flips = tuple(bool(turn[axes[axis], axis] < 0) for axis in range(3))
    if tuple(source_kji[axis] for axis in axes) != tuple(target_kji):
        return None
    ends = np.array(target_kji) - 1
    corners = np.array(np.meshgrid(*([0, end] for end in ends), indexing="ij")).reshape(3, -1).T
    there = corners @ linear.T + step[2::-1, 3]
    expected = np.empty_like(there)
    for axis in range(3):
        expected[:, axes[axis]] = ends[axis] - corners[:, axis] if flips[axis] else corners[:, axis]
    return (axes, flips) if np.abs(there - expected).max() <= SAME_VOXEL else None


def uncovered_mm(grid: MaskGrid, points_ras: np.ndarray) -> float:
    """How far (mm) the points ``(n, 3)`` lie outside the mask at most; 0 up to a voxel beyond its outer centres."""
    inverse = np.linalg.inv(grid.ijk_to_ras)
    ijk = points_ras @ inverse[:3, :3].T + inverse[:3, 3]
    beyond = np.maximum(-ijk, ijk - (np.array(grid.shape_kji[::-1]) - 1)) - MARGIN_VOXELS
    spacing = np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0)
    return float(np.maximum(beyond, 0).max(axis=0) @ spacing) if beyond.max() > 0 else 0.0


def _reader(path: Path) -> sitk.ImageFileReader:
    if not path.is_file():
        message = f"'{path}' does not exist; copy the mask there or remove its study."
        raise UserError(message)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    try:
        read_nifti_header(path)
        with quiet_libraries():
            reader.ReadImageInformation()
    except (RuntimeError, OSError, UserError) as error:
        raise UserError(_damaged(path)) from error
    if len([size for size in reader.GetSize() if size > 1]) != 3 or reader.GetNumberOfComponents() != 1:
        message = f"'{path}' is not a 3D mask with one label per voxel; export it again."
        raise UserError(message)
    return reader


def _grid(reader: sitk.ImageFileReader) -> MaskGrid:
    count = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(count, count)[:3, :3]
    matrix = np.eye(4)
    matrix[:3, :3] = _RAS_TO_LPS @ direction @ np.diag(reader.GetSpacing()[:3])
    matrix[:3, 3] = _RAS_TO_LPS @ np.array(reader.GetOrigin()[:3])
    return MaskGrid(tuple(int(size) for size in reader.GetSize()[2::-1]), matrix)


def _damaged(path: Path) -> str:
    return f"'{path}' cannot be read as a NIfTI mask: it is cut off or damaged; copy or export it again."
