"""Plots of a run as PNG files: ROC and precision-recall curves, confusion matrices, training curves.

Every function takes the file to write; ``note`` goes under the title and says what was measured (and that it is
synthetic, where it is).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB", "#222222")
"""Paul Tol's "bright" palette, told apart by the colour-blind too."""
BACKGROUND = "background"
"""Name of what is no object, in the confusion matrix of boxes."""
Curve = tuple[str, np.ndarray, np.ndarray]
"""Name, x and y."""
_LOSSES = {
    "Loss": ("train_loss", "val_loss"),
    "Box loss": ("train/box_loss", "val/box_loss"),
    "Class loss": ("train/cls_loss", "val/cls_loss"),
    "Distribution focal loss": ("train/dfl_loss", "val/dfl_loss"),
}
_SCORES = {
    "Score": ("train_accuracy", "val_accuracy", "train_macro_f1", "val_macro_f1", "val_dice", "val_iou"),
    "Precision and recall": ("metrics/precision(B)", "metrics/recall(B)"),
    "Mean average precision": ("metrics/mAP50(B)", "metrics/mAP50-95(B)"),
}
_NAMES = {
    "train_loss": "training",
    "val_loss": "validation",
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "train_macro_f1": "training macro F1",
    "val_macro_f1": "validation macro F1",
    "val_dice": "validation Dice",
    "val_iou": "validation IoU",
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "mAP50",
    "metrics/mAP50-95(B)": "mAP50-95",
}


def roc_plot(path: Path, curves: Sequence[Curve], title: str, note: str = "") -> None:
    """ROC curves; x false and y true positive rates."""
    figure, axes = _square(title, note)
    axes.plot([0, 1], [0, 1], color="#999999", linestyle=":", linewidth=1, label="chance")
    _draw(axes, curves)
    axes.set(xlabel="False positive rate (1 - specificity)", ylabel="True positive rate (recall)")
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def precision_recall_plot(path: Path, curves: Sequence[Curve], title: str, note: str = "") -> None:
    """Precision over recall, one curve per class."""
    figure, axes = _square(title, note)
    _draw(axes, curves)
    axes.set(xlabel="Recall", ylabel="Precision (IoU 0.5)")
    axes.legend(loc="lower left", frameon=False, ncols=2 if len(curves) > 4 else 1)
    _save(figure, path)


def confusion_plot(
    path: Path, matrix: np.ndarray, labels: Sequence[str], title: str, note: str = "", rows: str = "True"
) -> None:
    """Counts with colour by share of their true class; ``rows`` tells what the rows are, ``True`` or ``Predicted``."""
    side = 3.2 + 0.62 * len(labels)
    figure, axes = _figure(title, note, (side + 0.6, side))
    _matrix(axes, np.asarray(matrix), labels, rows)
    figure.colorbar(axes.images[0], ax=axes, label="Share of the true class (%)", fraction=0.046, pad=0.04)
    _save(figure, path)


def label_confusions_plot(
    path: Path, matrices: Sequence[np.ndarray], labels: Sequence[str], title: str, note: str = ""
) -> None:
    """One small matrix (not there, there) per label; rows true."""
    columns = min(4, len(labels))
    rows = -(-len(labels) // columns)
    figure, grid = _figure(title, note, (2.5 * columns + 0.4, 2.7 * rows + 0.8), rows, columns)
    for axes, matrix, label in zip(np.ravel(grid), matrices, labels, strict=False):
        _matrix(axes, np.asarray(matrix), ("no", "yes"), "True")
        axes.set_title(label, fontsize=11)
        axes.set(xlabel="", ylabel="")
    for axes in np.ravel(grid)[len(labels) :]:
        axes.axis("off")
    figure.supxlabel("Predicted", fontsize=11)
    figure.supylabel("True", fontsize=11)
    _save(figure, path)


def curves_plot(path: Path, logs: Path, title: str, note: str = "") -> bool:
    """Losses and scores by epoch, from ``metrics.csv`` (Lightning) or ``results.csv`` (ultralytics) in ``logs``.

    Nothing is written, and ``False`` returned, where neither holds two epochs of any of them.
    """
    panels = _panels(logs)
    if not panels:
        return False
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = _figure(title, note, (4.4 * columns, 3.4 * rows + 0.7), rows, columns)
    for axes, (name, curves) in zip(np.ravel(grid), panels.items(), strict=False):
        _draw(axes, curves)
        axes.set(xlabel="Epoch", ylabel=name)
        if "loss" not in name.lower():
            axes.set_ylim(-0.02, 1.02)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, loc="best")
    for axes in np.ravel(grid)[len(panels) :]:
        axes.axis("off")
    _save(figure, path)
    return True


def _panels(logs: Path) -> dict[str, list[Curve]]:
    table = _table(logs / "metrics.csv") or _table(logs / "results.csv")
    panels = {}
    for panel, columns in (_LOSSES | _SCORES).items():
        curves = [
            (_NAMES.get(column) or ("training" if column.startswith("train/") else "validation"), *table[column])
            for column in columns
            if column in table and len(table[column][0]) > 1
        ]
        if curves:
            panels[panel] = curves
    return panels


def _table(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Epochs and values of each column of a log; of an epoch that was logged twice (after a restart) the last."""
    if not path.is_file():
        return {}
    columns: dict[str, dict[float, float]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                cells = {(key or "").strip(): (value or "").strip() for key, value in row.items()}
                for name, value in cells.items():
                    if value and name not in ("epoch", "step", "time"):
                        columns.setdefault(name, {})[float(cells["epoch"])] = float(value)
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        message = f"'{path}' is no log of a training run ({error}); remove it to plot without it."
        raise UserError(message) from error
    return {name: tuple(np.array(sorted(points.items())).T) for name, points in columns.items()}


def _matrix(axes: Axes, matrix: np.ndarray, labels: Sequence[str], rows: str) -> None:
    of_true = matrix.sum(axis=1 if rows == "True" else 0, keepdims=True)
    share = 100 * matrix / np.maximum(of_true, 1)
    if BACKGROUND in labels:  # false boxes are no share of anything true
        share[:, list(labels).index(BACKGROUND)] = 0
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    size = 10 if len(labels) < 5 else 8
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 55 else "#222222"
        axes.text(column, row, f"{int(count):,}", ha="center", va="center", color=colour, fontsize=size)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=45 if len(labels) > 4 else 0, ha="right" if len(labels) > 4 else "center")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="Predicted" if rows == "True" else "True", ylabel=rows)


def _draw(axes: Axes, curves: Sequence[Curve]) -> None:
    for index, (name, x, y) in enumerate(curves):
        axes.plot(x, y, label=name, color=COLOURS[index % len(COLOURS)], linewidth=1.8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _square(title: str, note: str) -> tuple[Figure, Axes]:
    figure, axes = _figure(title, note, (6.0, 6.2))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axes


def _figure(title: str, note: str, size: tuple[float, float], rows: int = 1, columns: int = 1) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "Plots need matplotlib: install it with 'pip install CSpineFracture[train]'."
        raise UserError(message) from error
    figure = Figure(figsize=size, layout="constrained")  # no pyplot: nothing global, no window
    text = f"{title}\n{note}" if note else title
    figure.suptitle(text, fontsize=11)
    return figure, figure.subplots(rows, columns)


def _save(figure: Figure, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(part, format="png", dpi=DPI)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"'{path}' cannot be written ({error.strerror or error}); choose a folder you may write to."
        raise UserError(message) from error
