"""A synthetic CT of a given size, on which ``cspine bench`` measures."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import SimpleITK as sitk

from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import PhantomStudy, make_study

SEED = 7
FRACTURE = "C5:burst"
CLOSEST_MM = 0.5
"""Slices of a long scan lie no closer; it goes on below the neck instead."""
OUTSIDE_HU = -1024


def write_bench_ct(path: Path, slices: int, size: int, plan: StudyPlan | None = None) -> Path:
    """Write a phantom with a burst C5, of ``slices`` x ``size`` x ``size`` voxels (uncompressed NRRD), to ``path``.

    It is made at 0.7 x 0.7 x 1.0 mm and resampled, over the same field of view. Where the slices would lie closer than
    0.5 mm the scan goes on below the neck with its lowest slice, over and over. Made in a process of its own, so that
    the memory it takes is not counted. Returns ``path``. Raises ``OSError`` when it cannot be written.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_write, path, slices, size, plan).result()


def _write(path: Path, slices: int, size: int, plan: StudyPlan | None) -> Path:
    plan = plan or StudyPlan(fractures=parse_fractures([FRACTURE]))
    image = resized(make_study(SEED, plan), slices, size)
    try:
        sitk.WriteImage(image, str(path), False)
    except RuntimeError as error:
        message = f"{path}: the synthetic CT cannot be written; free some space in the folder for temporary files."
        raise OSError(message) from error
    return path


def resized(study: PhantomStudy, slices: int, size: int) -> sitk.Image:
    """A study as an image of ``size`` x ``size`` x ``slices`` voxels (int16 HU); see ``write_bench_ct``."""
    image = sitk.GetImageFromArray(study.hu)
    height = image.GetDepth() * float(abs(study.ijk_to_ras[2, 2]))
    spacing = [float(abs(study.ijk_to_ras[axis, axis])) for axis in range(3)]
    image.SetSpacing(spacing)
    deep = max(height / slices, CLOSEST_MM)
    fine = [image.GetWidth() * spacing[0] / size, image.GetHeight() * spacing[1] / size, deep]
    top = height - spacing[2] / 2
    origin = [fine[0] / 2 - spacing[0] / 2, fine[1] / 2 - spacing[1] / 2, top - deep / 2 - (slices - 1) * deep]
    resample = sitk.ResampleImageFilter()
    resample.SetSize([size, size, slices])
    resample.SetOutputSpacing(fine)
    resample.SetOutputOrigin(origin)
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetUseNearestNeighborExtrapolator(True)
    resample.SetDefaultPixelValue(OUTSIDE_HU)
    return resample.Execute(image)
