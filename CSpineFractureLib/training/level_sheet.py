"""A contact sheet: the middle sagittal slice of each study with the levels found in it, and their marks where known."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.training.segment_sheet import CLASS_COLOURS
from CSpineFractureLib.volume.canonical import CanonicalView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.training.level_hits import LevelMarks, LevelReport
    from CSpineFractureLib.volume.ct_volume import CTVolume

COLUMNS = 5
WINDOW_HU = (-100, 600)
IN_FRONT_MM, BEHIND_MM, HALF_HEIGHT_MM = 72.0, 88.0, 92.0
"""What a tile shows around the middle of its points."""
NAME_MM = 22.0
"""From a point to its name."""
RIGHT, WRONG = "black", "#B00020"
TILE_INCHES = (4.0, 4.7)
DPI = 90
KEY = "Outlines: segments. Red points, yellow names: found. White crosses, white names: marked by hand."
Place = tuple[float, float]


@dataclass(frozen=True)
class SheetTile:
    """One study: ``picture`` (HU) and ``labels`` (1-7 = C1-C7) ``[k, j]`` with k towards superior and j towards
    posterior, ``step_mm`` along k and j, and the found and the marked levels as ``(k, j)`` in voxels."""

    title: str
    picture: np.ndarray
    step_mm: tuple[float, float]
    found: Mapping[str, Place]
    marks: Mapping[str, Place] = field(default_factory=dict)
    labels: np.ndarray | None = None
    wrong: bool = False


def level_tile(marks: LevelMarks, volume: CTVolume, study: StudyOutput, report: LevelReport) -> SheetTile:
    """The tile of a marked volume: in each row the slice in which the found levels lie, else that of the marks."""
    view = CanonicalView.of(volume)
    order, flips = view.order, [slice(None, None, -1 if flip else 1) for flip in view.flips]
    labels = np.transpose(study.labels, order)[tuple(flips)]
    found = {v.level: view.ijk_of(np.array(v.center_ras)) for v in study.result.vertebrae if v.assessed}
    marked = {level: view.ijk_of(middle) for level, middle in marks.middles.items()}
    line = np.array(sorted((found or marked).values(), key=lambda ijk: ijk[2]))
    columns = np.interp(np.arange(len(view.hu)), line[:, 2], line[:, 0])
    columns = np.clip(np.rint(columns).astype(int), 0, view.hu.shape[2] - 1)
    rows = np.arange(len(view.hu))
    faults = [f"{kind} {','.join(names)}" for kind in ("confused", "invented") if (names := getattr(report, kind))]
    return SheetTile(
        "; ".join([f"{Path(marks.file).name.split('.')[0]}: {len(report.hit)} of {report.marked} hit", *faults]),
        view.hu[rows, :, columns],
        (view.spacing_mm[2], view.spacing_mm[1]),
        {level: (ijk[2], ijk[1]) for level, ijk in found.items()},
        {level: (ijk[2], ijk[1]) for level, ijk in marked.items()},
        labels[rows, :, columns],
        wrong=len(report.hit) < report.marked or bool(report.invented),
    )


def draw_sheet(tiles: Sequence[SheetTile], path: Path) -> None:
    """Write the tiles as one PNG, 160 mm wide each, for a look at them.

    Segments have the colours of their levels, found levels red points and yellow names, marks white crosses and names;
    the title of a study with errors is red.

    Raises ``UserError`` where the file cannot be written or matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "Contact sheets need matplotlib: install it with 'pip install CSpineFracture[train]'."
        raise UserError(message) from error
    columns = min(COLUMNS, max(2, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    width, height = TILE_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 0.3))
    for place, tile in enumerate(tiles, start=1):
        _draw(figure.add_subplot(rows, columns, place), tile)
    foot = 0.3 / (height * rows + 0.3)
    figure.subplots_adjust(0.005, foot, 0.995, 1 - foot, 0.01, 0.1)
    if any(tile.marks for tile in tiles):
        figure.text(0.005, foot / 3, KEY, fontsize=11)
    part = path.with_name(f"{path.name}.part")
    try:
        figure.savefig(part, dpi=DPI, format="png")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"'{path}' cannot be written ({error.strerror or error}); choose a folder you may write to."
        raise UserError(message) from error


def _draw(axes: Axes, tile: SheetTile) -> None:
    from matplotlib.patheffects import withStroke

    axes.set(xticks=[], yticks=[], facecolor="black")
    axes.set_title(tile.title, color=WRONG if tile.wrong else RIGHT, fontsize=11 if len(tile.title) <= 42 else 8)
    outline = [withStroke(linewidth=2, foreground="black")]
    step = np.array(tile.step_mm)
    points = np.array([*tile.found.values(), *tile.marks.values()]).reshape(-1, 2) * step
    if not len(points):
        return
    height, depth = np.array(tile.picture.shape) * step
    extent = (-step[1] / 2, depth - step[1] / 2, -step[0] / 2, height - step[0] / 2)
    low, high = WINDOW_HU
    axes.imshow(tile.picture, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
    if tile.labels is not None:
        y, x = (np.arange(n) * size for n, size in zip(tile.picture.shape, step, strict=True))
        for number in np.unique(tile.labels[(tile.labels > 0) & (tile.labels <= len(LEVELS))]):
            axes.contour(x, y, tile.labels == number, [0.5], colors=[CLASS_COLOURS[number - 1]], linewidths=1.2)
    for places, style, colour, aside in (
        (tile.found, "r.", "yellow", -NAME_MM),
        (tile.marks, "w+", "white", NAME_MM),
    ):
        for name, place in places.items():
            y, x = np.array(place) * step
            axes.plot(x, y, style, markersize=5)
            axes.text(x + aside, y, name, color=colour, ha="center", va="center", path_effects=outline)
    y, x = points.mean(axis=0)
    axes.set_xlim(x - IN_FRONT_MM, x + BEHIND_MM)
    axes.set_ylim(y - HALF_HEIGHT_MM, y + HALF_HEIGHT_MM)
