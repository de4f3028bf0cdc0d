"""What may become of a real CT before it is analysed: cropped, stored otherwise, sliced otherwise, noisy or tilted.

Every change takes a volume, its marks (level to RAS mm, shape ``(3,)``) and a random generator. It gives a new volume
and those marks whose middle still lies in it, in its own frame; or ``None`` where it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.resample import resample_like, resample_to

Marks = dict[str, np.ndarray]
Changed = tuple[CTVolume, Marks]
Change = Callable[[CTVolume, Marks, np.random.Generator], Changed | None]

LEFT_IN = 3
"""Marked levels that a crop of the top or the bottom leaves, at least."""
SIDE_MM = (30.0, 60.0)
"""Kept to the right and to the left of the column: from the transverse processes to most of the neck."""
THICKNESS_MM = (1, 2, 3, 4, 5)
SAME_MM = 0.05
NOISE_HU = (25, 50)
"""Standard deviations of noise added to that of the scan; soft tissue of trauma CT at 1 mm has 10-30 HU."""
TILT_DEG = 15.0
PADDING_HU = -1000
HU_RANGE = (-1024, 3071)
FWHM_PER_SD = 2.3548


def crop_top(volume: CTVolume, marks: Marks, rng: np.random.Generator) -> Changed | None:
    """Without what lies above a random height, so that at least three marked levels stay (two where three are
    marked)."""
    names = _downwards(marks)
    last = names[len(names) - min(LEFT_IN, len(names) - 1) :]
    if not last:
        return None
    return _cropped(volume, marks, 0, (_lowest(volume), _between(marks, names[0], last[0], rng.random())))


def crop_bottom(volume: CTVolume, marks: Marks, rng: np.random.Generator) -> Changed | None:
    """Without what lies below a random height; as many levels stay as with ``crop_top``."""
    names = _downwards(marks)
    first = names[: min(LEFT_IN, len(names) - 1)]
    if not first:
        return None
    return _cropped(volume, marks, 0, (_between(marks, names[-1], first[-1], rng.random()), _highest(volume)))


def crop_sides(volume: CTVolume, marks: Marks, rng: np.random.Generator) -> Changed | None:
    """Only 30-60 mm to the right and to the left of the marks."""
    middle = np.mean(list(marks.values()), axis=0)
    left, right = rng.uniform(*SIDE_MM, size=2)
    return _cropped(volume, marks, 2, (middle - np.array([left, 0, 0]), middle + np.array([right, 0, 0])))


def crop_c3_c5(volume: CTVolume, marks: Marks, rng: np.random.Generator) -> Changed | None:
    """From half-way between C2 and C3 to half-way between C5 and C6; ``None`` where C3, C4 or C5 is not marked."""
    if not {"C3", "C4", "C5"} <= marks.keys():
        return None
    above = marks.get("C2", 2 * marks["C3"] - marks["C4"])
    below = marks.get("C6", 2 * marks["C5"] - marks["C4"])
    return _cropped(volume, marks, 0, ((marks["C5"] + below) / 2, (above + marks["C3"]) / 2))


def flipped(volume: CTVolume, marks: Marks, rng: np.random.Generator) -> Changed:
    """One or more stored axes run the other way; every voxel stays at its place in the patient."""
    matrix, hu = volume.ijk_to_ras.copy(), volume.hu
    bits = int(rng.integers(1, 8))
    turned = [axis for axis in range(3) if bits >> axis & 1]
    for axis in turned:
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (hu.shape[axis] - 1)
        matrix[:3, column] *= -1
    return _stored(volume, np.flip(hu, turned), matrix), marks


def permuted(volume: CTVolume, marks: Marks, rng: np.random.Generator) -> Changed:
    """The stored axes in another order; every voxel stays at its place in the patient."""
    orders = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    order = orders[rng.integers(len(orders))]
    matrix = volume.ijk_to_ras.copy()
    for axis, source in enumerate(order):
        matrix[:, 2 - axis] = volume.ijk_to_ras[:, 2 - source]
    return _stored(volume, np.transpose(volume.hu, order), matrix), marks


def sliced(volume: CTVolume, marks: Marks, rng: np.random.Generator, thickness_mm: float) -> Changed | None:
    """Resampled to another step along the axis nearest to S; ``None`` where the step is that already.

    Thicker slices are averages first: a Gaussian whose width at half height is that of the new slice, less that which
    the stored one has.
    """
    axis = _stored_axis(volume, 0)
    spacing = list(volume.spacing_mm)
    step = spacing[2 - axis]
    if abs(step - thickness_mm) < SAME_MM:
        return None
    if thickness_mm > step:
        width = np.sqrt(thickness_mm**2 - step**2) / FWHM_PER_SD / step
        hu = ndimage.gaussian_filter1d(volume.hu.astype(np.float32), width, axis=axis, mode="nearest")
        volume = replace(volume, hu=np.rint(hu).astype(np.int16))
    spacing[2 - axis] = float(thickness_mm)
    changed = resample_to(volume, tuple(spacing))
    return changed, inside(changed, marks)


def noisy(volume: CTVolume, marks: Marks, rng: np.random.Generator, sd_hu: float) -> Changed:
    """White Gaussian noise of that standard deviation (HU) added; air and padding (-1000 HU and below) stay."""
    noise = rng.standard_normal(volume.hu.shape, dtype=np.float32) * np.float32(sd_hu)
    hu = np.where(volume.hu > PADDING_HU, np.clip(np.rint(volume.hu + noise), *HU_RANGE), volume.hu)
    return replace(volume, hu=hu.astype(np.int16)), marks


def tilted(volume: CTVolume, marks: Marks, rng: np.random.Generator, degrees: float) -> Changed:
    """The patient turned about the left-right axis through the middle of the marks, on the same grid.

    Positive ``degrees`` bow the head forward. What leaves the field of view is lost; -1024 HU come in from outside.
    """
    turn = _turn_about_r(marks, degrees)
    moved = replace(volume, ijk_to_ras=turn @ volume.ijk_to_ras)
    changed = resample_like(moved, volume.ijk_to_ras, volume.shape_kji)
    return changed, inside(changed, {level: turn[:3, :3] @ mark + turn[:3, 3] for level, mark in marks.items()})


def tilted_gantry(volume: CTVolume, marks: Marks, rng: np.random.Generator, degrees: float) -> Changed:
    """The slices turned about the left-right axis through the middle of the marks; the patient stays as he lies."""
    changed = resample_like(volume, _turn_about_r(marks, degrees) @ volume.ijk_to_ras, volume.shape_kji)
    return changed, inside(changed, marks)


def _turn_about_r(marks: Marks, degrees: float) -> np.ndarray:
    """4x4: a turn of RAS mm about the middle of the marks; positive ``degrees`` move what lies above it forward."""
    pivot = np.mean(list(marks.values()), axis=0)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cosine, sine], [-sine, cosine]]
    turn[:3, 3] = pivot - turn[:3, :3] @ pivot
    return turn


CHANGES: dict[str, Change] = {
    "crop-top": crop_top,
    "crop-bottom": crop_bottom,
    "crop-sides": crop_sides,
    "crop-c3-c5": crop_c3_c5,
    "flip": flipped,
    "permute": permuted,
    **{f"slices-{mm}mm": partial(sliced, thickness_mm=mm) for mm in THICKNESS_MM},
    **{f"noise-{hu}hu": partial(noisy, sd_hu=hu) for hu in NOISE_HU},
    "tilt-forward": partial(tilted, degrees=TILT_DEG),
    "tilt-back": partial(tilted, degrees=-TILT_DEG),
    "gantry-forward": partial(tilted_gantry, degrees=TILT_DEG),
    "gantry-back": partial(tilted_gantry, degrees=-TILT_DEG),
}
"""The kinds of changes by name."""


def chosen_kinds(words: list[str] | None) -> list[str]:
    """The kinds that are named or begin with a word (``crop``, ``slices``); all without words.

    Raises ``UserError`` for a word that begins no kind.
    """
    for word in words or []:
        if not any(kind.startswith(word) for kind in CHANGES):
            message = f"--kinds {word} is not known; use one of {', '.join(CHANGES)}, or how several begin (crop)."
            raise UserError(message)
    return [kind for kind in CHANGES if not words or any(kind.startswith(word) for word in words)]


def inside(volume: CTVolume, marks: Marks) -> Marks:
    """The marks (RAS mm) that lie in the volume, up to the outer faces of its voxels."""
    last = np.array(volume.shape_kji[::-1]) - 0.5
    index = {level: volume.ijk_of(mark) for level, mark in marks.items()}
    return {level: marks[level] for level, at in index.items() if (at >= -0.5).all() and (at <= last).all()}


def _cropped(volume: CTVolume, marks: Marks, axis: int, ends: tuple[np.ndarray, np.ndarray]) -> Changed | None:
    """The slices between two points (RAS mm) along the stored axis nearest to canonical ``axis`` (0 S, 1 A, 2 R)."""
    stored = _stored_axis(volume, axis)
    low, high = np.sort([volume.ijk_of(end)[2 - stored] for end in ends])
    start, stop = max(0, int(np.ceil(low))), min(volume.hu.shape[stored], int(np.floor(high)) + 1)
    if stop <= start:
        return None
    place = [slice(None)] * 3
    place[stored] = slice(start, stop)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2 - stored] * start
    changed = _stored(volume, volume.hu[tuple(place)], matrix)
    return changed, inside(changed, marks)


def _stored(volume: CTVolume, hu: np.ndarray, matrix: np.ndarray) -> CTVolume:
    return replace(volume, hu=np.ascontiguousarray(hu), ijk_to_ras=matrix, sop_instance_uids=None)


def _stored_axis(volume: CTVolume, axis: int) -> int:
    """Which stored array axis (0 slices, 1 rows, 2 columns) is nearest to a canonical one (0 S, 1 A, 2 R)."""
    return CanonicalView.of(volume).order[axis]


def _downwards(marks: Marks) -> list[str]:
    return sorted(marks, key=lambda level: -marks[level][2])


def _between(marks: Marks, one: str, other: str, share: float) -> np.ndarray:
    return marks[one] + share * (marks[other] - marks[one])


def _lowest(volume: CTVolume) -> np.ndarray:
    view = CanonicalView.of(volume)
    return view.ras_of([0, 0, 0])


def _highest(volume: CTVolume) -> np.ndarray:
    view = CanonicalView.of(volume)
    return view.ras_of([0, 0, len(view.hu) - 1])
