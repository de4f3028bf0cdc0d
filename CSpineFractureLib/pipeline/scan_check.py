"""Whether a volume lies outside what the networks have seen: voxels, noise, field of view, cut tissue, metal, bone.

The networks were trained on the phantoms of this project, so the limits are what these span (``phantom/varied.py``,
``phantom/scanner.py``). Beyond them nothing is known about how well levels and fractures are found.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from scipy import ndimage

from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.canonical import CanonicalView

COARSEST_PIXEL_MM, THICKEST_SLICE_MM = 1.0, 5.0
"""``scans_plan`` draws pixels of 0.3-1.0 mm and slices of 0.5-5 mm. Finer ones do no harm: the networks resample."""

NOISIEST_HU = 60.0
"""At 1 mm slices: ``sample_scanner`` draws up to ``exp(log 9 + 1 + 2 * 0.28)`` = 43 HU (sharpest kernel, two SD out),
and what is measured at the column of phantoms is 1.2 to 1.7 times what was drawn."""
THINNEST_MM = 0.3
"""``sample_scanner`` lets noise grow with one over the root of the slice distance down to here."""
PATCH_MM, TISSUE_HU = 6.0, (0.0, 170.0)
"""Noise is the SD in squares of this size whose mean is that of soft tissue, as Christianson et al. measure it (AJR
2015;205:W93, "Automated technique to measure noise in clinical CT examinations")."""
COARSEST_NOISE_MM, FEWEST_SQUARES, LARGEST_HU = 1.5, 500, 250
"""A square must hold at least 4 x 4 pixels, there must be some squares, and larger SDs are edges of bone and air."""

NEAREST_EDGE_MM = 25.0
"""From the middle of a body to a side of the volume. The narrowest phantoms are 136 mm wide (``focused_plan``); in 198
of 200 phantoms of the plans ``focused`` and ``neck`` no middle lies nearer to a side."""

AROUND_MM = 30.0
"""What counts as around the column: this far from the line through the middles, sideways. Teeth lie farther away."""
AIR_HU, MOST_AIR = -500, 0.25
"""Share of air around the column. Throat and windpipe take 0.02 to 0.15 of it in phantoms and in real CT."""
LOOK_MM = 2.0
"""Slices closer than this are not all looked at."""
METAL_BELOW_MM = 70.0
"""How far below the lowest level that was found metal counts: it may be what hides the next ones."""
METAL_HU, MOST_METAL_MM3 = 2500, 100.0
"""``phantom.scanner_streaks.METAL_HU``. Phantoms have metal in teeth but no implants (docs/PHANTOMS.md)."""
MARROW_MM, SPARSEST_HU = 3.0, 170.0
"""So far around the middles of bodies is marrow. Of 60 phantoms of the plan ``neck``, two have less than this (155 to
572 HU, 5 % below 212); in sound phantoms made darker, false suspicions begin at 150 HU (docs/RESULTS.md)."""


def scan_warnings(
    view: CanonicalView, centres_ras: np.ndarray, whole: bool = True, bodies_ras: np.ndarray | None = None
) -> list[Notice]:
    """One plain sentence for each respect in which a volume lies outside what the networks have seen.

    ``centres_ras`` ``[n, 3]``: middles of the levels found, RAS mm. Without any only the voxel size is judged. Where
    they are not the ``whole`` neck down to C7, metal below them is told, too. ``bodies_ras`` ``[m, 3]``: middles of the
    bodies that were looked at for fractures, whose density is judged.
    """
    warnings = list(_warnings(view, np.asarray(centres_ras, float).reshape(-1, 3), whole))
    marrow = None if bodies_ras is None else marrow_hu(view, np.asarray(bodies_ras, float).reshape(-1, 3))
    if marrow is not None and marrow < SPARSEST_HU:
        warnings.append(
            Notice(
                "outside-density",
                f"The marrow of the vertebral bodies has {marrow:.0f} HU, less than in the scans that the networks were"
                f" trained on ({SPARSEST_HU:.0f} HU): sound vertebrae may be suspected of a fracture.",
            )
        )
    return warnings


def marrow_hu(view: CanonicalView, bodies_ras: np.ndarray) -> float | None:
    """Median over bodies of the median HU within 3 mm (a box) of their middles ``[m, 3]``, RAS mm; ``None`` without."""
    reach, found = np.array([int(MARROW_MM / mm) for mm in view.spacing_mm]), []
    for ijk in np.rint(view.ijk_of(bodies_ras)).astype(int):
        box = tuple(slice(max(0, m - r), max(0, m + r + 1)) for m, r in zip(ijk[::-1], reach[::-1], strict=True))
        if view.hu[box].size:
            found.append(float(np.median(view.hu[box])))
    return float(np.median(found)) if found else None


def _warnings(view: CanonicalView, centres_ras: np.ndarray, whole: bool) -> Iterator[Notice]:
    pixel, slice_mm = max(view.spacing_mm[:2]), view.spacing_mm[2]
    for what, size, limit in (("pixels", pixel, COARSEST_PIXEL_MM), ("slices", slice_mm, THICKEST_SLICE_MM)):
        if size > limit + 1e-3:
            yield Notice(
                "outside-resolution",
                f"The {what} of {size:.2f} mm are coarser than in the scans that the networks were trained on (at most"
                f" {limit:.1f} mm): check the levels.",
            )
    if not len(centres_ras):
        return
    edge = edge_distance_mm(view, centres_ras)
    if edge < NEAREST_EDGE_MM:
        yield Notice(
            "outside-field-of-view",
            f"The column comes within {max(edge, 0):.0f} mm of a side of the volume, nearer than in the scans that the"
            f" networks were trained on ({NEAREST_EDGE_MM:.0f} mm): check what lies on that side.",
        )
    hu, near, height_mm = around_column(view, centres_ras)
    if not near.any():
        return
    air = float((hu[near] < AIR_HU).mean())
    if air > MOST_AIR:
        yield Notice(
            "cropped-tissue",
            f"Air or blanked voxels fill {100 * air:.0f} % of what lies within {AROUND_MM:.0f} mm of the column, more"
            f" than in the scans that the networks were trained on ({100 * MOST_AIR:.0f} %): tissue may be cut away.",
        )
    further, beside = hu, near
    if not whole:
        further, beside, height_mm = around_column(view, centres_ras, METAL_BELOW_MM)
    metal = float((further[beside] > METAL_HU).sum()) * view.spacing_mm[0] * view.spacing_mm[1] * height_mm
    if metal > MOST_METAL_MM3:
        yield Notice(
            "metal-at-column",
            f"There are {metal / 1000:.1f} cm³ above {METAL_HU} HU within {AROUND_MM:.0f} mm of the column, as of"
            " metal, which the networks have not seen there: fractures near it may be missed or imagined.",
        )
    noise = noise_hu(hu, near, view.spacing_mm)
    limit = NOISIEST_HU / np.sqrt(max(slice_mm, THINNEST_MM))
    if noise is not None and noise > limit:
        yield Notice(
            "outside-noise",
            f"The noise of {noise:.0f} HU (SD in soft tissue) is above that of the scans that the networks were trained"
            f" on ({limit:.0f} HU at slices of {slice_mm:.1f} mm): fine fractures may be missed.",
        )


def edge_distance_mm(view: CanonicalView, centres_ras: np.ndarray) -> float:
    """The shortest way (mm) from a middle to the right, left, front or back face of the volume; negative outside."""
    ijk = view.ijk_of(centres_ras)[:, :2]
    size, spacing = np.array(view.hu.shape[:0:-1]), np.array(view.spacing_mm[:2])
    return float((np.minimum(ijk + 0.5, size - 0.5 - ijk) * spacing).min())


def around_column(
    view: CanonicalView, centres_ras: np.ndarray, below_mm: float = 0.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """The part of ``view.hu`` with the column, which of its voxels lie within 30 mm of it (bool; both ``[k, j, i]``),
    and the height (mm) that each of its slices stands for.

    The column is the line through the middles (RAS mm), from ``below_mm`` under the lowest to the highest; distances
    are in the slice.
    """
    ijk = view.ijk_of(centres_ras)
    ijk = ijk[np.argsort(ijk[:, 2])]
    step = max(1, int(LOOK_MM / view.spacing_mm[2]))
    first, last = np.clip([round(ijk[0, 2] - below_mm / view.spacing_mm[2]), round(ijk[-1, 2])], 0, len(view.hu) - 1)
    k = np.arange(first, last + 1, step)
    spacing, size = np.array(view.spacing_mm[:2]), np.array(view.hu.shape[:0:-1])
    line = np.stack([np.interp(k, ijk[:, 2], ijk[:, axis]) for axis in (0, 1)], axis=1)
    low = np.clip(np.floor(line.min(axis=0) - AROUND_MM / spacing), 0, size - 1).astype(int)
    high = np.clip(np.ceil(line.max(axis=0) + AROUND_MM / spacing) + 1, low + 1, size).astype(int)
    across, along = ((np.arange(low[axis], high[axis]) - line[:, axis, None]) * spacing[axis] for axis in (0, 1))
    near = np.hypot(across[:, None, :], along[:, :, None]) <= AROUND_MM
    return view.hu[first : last + 1 : step, low[1] : high[1], low[0] : high[0]], near, step * view.spacing_mm[2]


def noise_hu(hu: np.ndarray, where: np.ndarray, spacing_mm: tuple[float, float, float]) -> float | None:
    """SD of the noise (HU) in soft tissue of ``hu`` ``[k, j, i]`` where ``where`` is set; ``None`` with too little.

    The most frequent SD of squares of 6 mm in the slices, for vessels, fat and edges make some SDs large but no single
    one frequent. ``spacing_mm`` is along i, j, k.
    """
    if max(spacing_mm[:2]) > COARSEST_NOISE_MM:
        return None
    size = (round(PATCH_MM / spacing_mm[0]), round(PATCH_MM / spacing_mm[1]))
    found = []
    for plane, shown in zip(hu, where, strict=True):
        values = np.clip(plane, -1024, 3071).astype(np.float32)
        mean = cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)
        square = cv2.blur(values * values, size, borderType=cv2.BORDER_REFLECT)
        soft = shown & (mean > TISSUE_HU[0]) & (mean < TISSUE_HU[1])
        found.append(np.sqrt(np.maximum(0, square[soft] - mean[soft] * mean[soft])))
    spreads = np.concatenate(found)
    if len(spreads) < FEWEST_SQUARES:
        return None
    counts = np.bincount(spreads[spreads < LARGEST_HU].astype(int), minlength=1)
    return float(ndimage.gaussian_filter1d(counts.astype(float), 2.0, mode="constant").argmax() + 0.5)
