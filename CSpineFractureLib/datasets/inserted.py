"""Studies made by breaking vertebrae of a real CT, written like the synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.nifti_mask import onto_grid, read_mask
from CSpineFractureLib.dicom.label_file import read_labels
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import VolumeInfo
from CSpineFractureLib.phantom.anatomy import stream
from CSpineFractureLib.phantom.files import write_study
from CSpineFractureLib.phantom.fracture_types import sample_level
from CSpineFractureLib.phantom.insert import insert_fractures
from CSpineFractureLib.phantom.mask_frame import vertebra_from_mask
from CSpineFractureLib.phantom.study import PhantomStudy
from CSpineFractureLib.phantom.truth import LABELS
from CSpineFractureLib.volume.read import read_volume

RUN_FIRST = "give vertebrae.seg.nrrd of 'cspine run' on this CT, or a NIfTI mask"


def make_inserted(
    ct: Path,
    mask: Path,
    root: Path,
    seeds: list[int],
    fractures: tuple[tuple[str, str | None], ...] | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """One folder ``inserted_<seed>`` per seed below ``root``: the CT with fractures, its mask, and the truth.

    ``mask`` is a NIfTI file with 1-7 = C1-C7 on any grid that covers the CT, or what a run on this CT wrote, a
    ``.seg.nrrd``; without ``fractures`` one level that is whole in the mask is broken, drawn by the RSNA-2022 rates.
    Raises UserError for unusable input.
    """
    volume = read_volume(ct)
    if mask.name.endswith(".nrrd"):
        grid = VolumeInfo(list(volume.shape_kji), list(volume.spacing_mm), volume.ijk_to_ras.tolist())
        labels = read_labels(mask, grid, RUN_FIRST, f"does not lie on the grid of '{ct}': {RUN_FIRST}")
    else:
        labels, stored = read_mask(mask)
        labels = onto_grid(labels, stored, volume.ijk_to_ras, volume.shape_kji)
    whole = _whole(labels, volume.ijk_to_ras)
    if not whole:
        message = f"{mask}: no level of C1-C7 is whole in this mask on the grid of {ct.name}; give the mask of this CT."
        raise UserError(message)
    folders = []
    for n, seed in enumerate(seeds):
        pairs = fractures or ((_drawn(seed, whole), None),)
        broken = insert_fractures(volume.hu, labels, volume.ijk_to_ras, pairs, seed)
        centres = {level: vertebra_from_mask(labels, volume.ijk_to_ras, level).centre.tolist() for level in whole}
        study = PhantomStudy(
            seed, broken.hu, broken.labels, broken.fracture_mask, volume.ijk_to_ras, centres, broken.fractures
        )
        folder = root / f"inserted_{seed:06d}"
        root.mkdir(parents=True, exist_ok=True)
        write_study(study, folder)
        folders.append(folder)
        on_progress(n + 1, len(seeds))
    return folders


def _whole(labels: np.ndarray, matrix: np.ndarray) -> list[str]:
    """Levels with enough of them in the mask, and not cut by its first or last slice."""
    found = []
    for level in list(LABELS)[:7]:
        k = np.flatnonzero((labels == LABELS[level]).any(axis=(1, 2)))
        if not len(k) or k[0] == 0 or k[-1] == len(labels) - 1:
            continue
        try:
            vertebra_from_mask(labels, matrix, level)
        except UserError:
            continue
        found.append(level)
    return found


def _drawn(seed: int, whole: list[str]) -> str:
    rng = stream(seed, "insert-level")
    for _ in range(200):
        level = sample_level(rng)
        if level in whole:
            return level
    return whole[0]
