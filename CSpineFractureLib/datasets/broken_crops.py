"""Blocks around single vertebrae of sound CT, some of them broken: what the fracture FCN learns from.

A sound CT with a mask of its vertebrae, synthetic or real, gives many breaks: each block has another vertebra broken in
another way (``phantom.insert``), and others show the same bone whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from CSpineFractureLib.datasets.nifti_mask import onto_grid, read_mask
from CSpineFractureLib.datasets.part_folder import new_folder
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.files import CT_FILE, LABEL_FILE, write_study
from CSpineFractureLib.phantom.fracture_types import SUBAXIAL_TYPES
from CSpineFractureLib.phantom.insert import insert_fractures
from CSpineFractureLib.phantom.study import PhantomStudy
from CSpineFractureLib.phantom.truth import LABELS
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.read import read_volume

BLOCK_MM = (66.0, 84.0, 96.0)
"""Of a block, along k, j and i."""
HAIRLINES, TRIES = 0.1, 4
STAND_IN = 6
"""Thoracic vertebrae are broken as this level would be: like it, they have a body, an arch and no dens."""


def write_broken_crops(
    folders: list[Path],
    out: Path,
    broken: int,
    whole: int,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Of each folder with ``ct.nii.gz`` and ``vertebrae.nii.gz`` so many broken and whole blocks, studies of ``out``.

    Labels count the vertebrae downwards: 1-7 are C1-C7, 8 and more thoracic ones. The CT must be free of fractures.
    Returns how many blocks there are; a vertebra that cannot be broken gives none. Raises ``UserError`` where a folder
    cannot be read, shows no whole vertebra, or ``out`` exists or cannot be written; nothing stays then.
    """
    count = 0
    with new_folder(out) as part:
        for done, folder in enumerate(folders):
            volume, labels = _read(folder)
            rng, places = np.random.default_rng([seed, done]), _places(labels, folder)
            for number in range(whole + broken):
                study = _block(volume, labels, places, rng, number >= whole)
                if study is not None:
                    write_study(study, part / f"{folder.name}_{number:02d}")
                    count += 1
            on_progress(done + 1, len(folders))
    return count


def _read(folder: Path) -> tuple[CTVolume, np.ndarray]:
    """A CT and its labels ``[k, j, i]``, both in the order of the canonical view."""
    volume = read_volume(folder / CT_FILE)
    labels, stored = read_mask(folder / LABEL_FILE)
    labels = onto_grid(labels, stored, volume.ijk_to_ras, volume.shape_kji)
    view = CanonicalView.of(volume)
    labels = CanonicalView.of(CTVolume(labels.astype(np.int16), volume.ijk_to_ras)).hu.astype(np.uint8)
    return CTVolume(view.hu, view.ijk_to_ras), labels


def _places(labels: np.ndarray, folder: Path) -> dict[int, tuple[slice, slice, slice]]:
    """The bounds ``[k, j, i]`` of each vertebra that is whole. Raises ``UserError`` where there is none."""
    found = {n: place for n, place in enumerate(ndimage.find_objects(labels), start=1) if place is not None}
    found = {n: place for n, place in found.items() if place[0].start > 0 and place[0].stop < len(labels)}
    if not found:
        message = f"'{folder}': no vertebra is whole in the mask; leave this study out."
        raise UserError(message)
    return found


def _block(
    volume: CTVolume,
    labels: np.ndarray,
    places: dict[int, tuple[slice, slice, slice]],
    rng: np.random.Generator,
    is_broken: bool,
) -> PhantomStudy | None:
    number = list(places)[int(rng.integers(len(places)))]
    place = []
    for axis, (own, mm) in enumerate(zip(places[number], BLOCK_MM, strict=True)):
        middle, half = (own.start + own.stop - 1) // 2, int(mm / 2 / volume.spacing_mm[2 - axis])
        place.append(slice(max(0, middle - half), middle + half + 1))
    hu, names = (np.ascontiguousarray(array[tuple(place)]) for array in (volume.hu, labels))
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [one.start for one in place[::-1]]
    seed = int(rng.integers(2**31))
    if not is_broken:
        return PhantomStudy(seed, hu, names, np.zeros(names.shape, np.uint8), matrix, {})
    kind = None
    if number > 7:
        names, kind = _as_cervical(names, number), str(rng.choice(SUBAXIAL_TYPES))
        number = STAND_IN
    level = next(name for name, label in LABELS.items() if label == number)
    for attempt in range(TRIES):
        try:
            done = insert_fractures(hu, names, matrix, ((level, kind),), seed + attempt, HAIRLINES)
        except UserError:  # the break misses the bone
            continue
        return PhantomStudy(seed, done.hu, done.labels, done.fracture_mask, matrix, {}, done.fractures)
    return None


def _as_cervical(labels: np.ndarray, number: int) -> np.ndarray:
    """A thoracic vertebra and its neighbours under the names of ``STAND_IN`` and its neighbours; nothing else."""
    named = np.zeros(labels.shape, np.uint8)
    for way in (-1, 0, 1):
        named[labels == number + way] = STAND_IN + way
    return named
