"""A sheet of slices with the outlines of the true and the found vertebrae."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.training.plots import COLOURS, DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SLICES, COLUMNS = 12, 4
CLASS_COLOURS = (*COLOURS[:6], "#EE7733", "#AADD55")
"""Of C1 to thoracic; the palette's grey and black would not show on bone."""
MARGIN = 0.25
"""Of the bone's larger extent, around it."""
Row = dict[str, str]
Read = Callable[[Row], tuple[np.ndarray, np.ndarray, np.ndarray]]


def shown_rows(rows: Sequence[Row], count: int = SLICES) -> list[Row]:
    """Up to ``count`` slices with bone, by the columns C1 to thoracic: of as many studies as there are, in turn from
    top to bottom of the neck."""
    studies: dict[str, list[Row]] = {}
    for row in rows:
        studies.setdefault(row["study"], []).append(row)
    names = sorted(studies)
    chosen = []
    for n in range(count):
        own = sorted(studies[names[n * len(names) // count]], key=lambda row: -int(row["k"]))
        filled = [row for row in own if any(row.get(name) == "1" for name in CLASSES[1:])]
        row = filled[int((n + 0.5) * len(filled) / count)] if filled else None
        if row is not None and row not in chosen:
            chosen.append(row)
    return chosen


def sheet_plot(path: Path, rows: Sequence[Row], read: Read, title: str, note: str = "") -> None:
    """Write the sheet as PNG; ``read`` gives picture, true and found map of a row.

    White dots outline the truth, colours what was found. Nothing is written where no slice shows bone. Raises
    ``UserError`` where the file cannot be written.
    """
    chosen = shown_rows(rows)
    if not chosen:
        return
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        message = "Plots need matplotlib: install it with 'pip install CSpineFracture[train]'."
        raise UserError(message) from error
    lines = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 2.75 * lines + 1.2), layout="constrained")
    figure.suptitle(f"{title}\n{note}" if note else title, fontsize=11)
    grid = np.ravel(figure.subplots(lines, COLUMNS, squeeze=False))
    for axes, row in zip(grid, chosen, strict=False):
        _draw(axes, *read(row))
        axes.set_title(f"{row['study']}, slice {row['k']}", fontsize=7)
    for axes in grid:
        axes.axis("off")
    keys = [Line2D([], [], color=CLASS_COLOURS[n - 1], label=f"{CLASSES[n]} found") for n in range(1, len(CLASSES))]
    keys.append(Line2D([], [], color="#999999", linestyle=":", label="truth (white)"))
    figure.legend(handles=keys, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(part, format="png", dpi=DPI)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"'{path}' cannot be written ({error.strerror or error}); choose a folder you may write to."
        raise UserError(message) from error


def _draw(axes: Axes, picture: np.ndarray, truth: np.ndarray, found: np.ndarray) -> None:
    j, i = np.nonzero(truth)
    reach = (0.5 + MARGIN) * max(np.ptp(j), np.ptp(i)) + 4
    height, width = truth.shape
    rows = slice(max(0, int(j.mean() - reach)), min(height, int(j.mean() + reach)))
    columns = slice(max(0, int(i.mean() - reach)), min(width, int(i.mean() + reach)))
    axes.imshow(picture[rows, columns, 1], cmap="gray", vmin=0, vmax=255)
    for labels, dotted in ((found[rows, columns], False), (truth[rows, columns], True)):
        for n in np.unique(labels[labels > 0]):
            truth_look = {"colors": ["white"], "linestyles": ":", "linewidths": 0.8}
            found_look = {"colors": [CLASS_COLOURS[n - 1]], "linestyles": "-", "linewidths": 1.1}
            axes.contour(labels == n, [0.5], **(truth_look if dotted else found_look))
