"""Figures of a box detector, with the code and at the conventions of ultralytics, so that they compare with papers.

A found box is right at an IoU threshold (0.50, 0.55 ... 0.95) when it claims a true box of its class that no box of
higher score has claimed. Precision and recall are those at the score where the mean F1 over classes is highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch

from CSpineFractureLib.models.quiet_ultralytics import ultralytics_parts
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.plots import BACKGROUND

MOST_BOXES = 300
"""Found boxes of an image that count, those of highest score: ultralytics' ``max_det``."""
_IOUS = torch.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class ImageBoxes:
    """What became of the boxes of one image: ``right`` bool ``[n, 10]`` by IoU threshold, ``score`` and ``called``
    ``[n]`` of the found ones, and the classes ``true`` ``[m]`` of the true ones."""

    right: np.ndarray
    score: np.ndarray
    called: np.ndarray
    true: np.ndarray


@dataclass(frozen=True)
class BoxReport:
    """Per-class results (of the ``classes`` that have true boxes), and what is the same for all.

    ``precision`` and ``recall`` ``[c]`` at ``threshold`` (the score of the highest mean F1); ``ap`` ``[c, 10]`` by IoU
    threshold; ``curve`` ``[c, 1000]``: precision at IoU 0.5 over recall 0..1. ``ppv``: the share of all boxes found
    from ``threshold`` that are right at IoU 0.5.
    """

    classes: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    ap: np.ndarray
    curve: np.ndarray
    threshold: float
    ppv: float | None

    def figures(self) -> Figures:
        """precision, recall, map50 and map50_95 (means over classes), and box_ppv; ``None`` without true boxes."""
        if not len(self.classes):
            return dict.fromkeys(("precision", "recall", "map50", "map50_95", "box_ppv"))
        return {
            "precision": float(self.precision.mean()),
            "recall": float(self.recall.mean()),
            "map50": float(self.ap[:, 0].mean()),
            "map50_95": float(self.ap.mean()),
            "box_ppv": self.ppv,
        }


def box_figures(detections: dict) -> Figures:
    """The figures of a ``detections-<set>.json`` document; ``None`` each where it holds no true box."""
    return report_of(matched_boxes(detections)).figures()


def matched_boxes(detections: dict) -> list[ImageBoxes]:
    """Match found with true boxes in every image; done once, then any sample of images is reported quickly."""
    parts = _parts()
    matched = []
    for image in detections["images"]:
        true, found = _true_boxes(image), _found_boxes(image)
        iou = parts.box_iou(torch.from_numpy(true[:, 1:]), torch.from_numpy(found[:, 2:]))
        right = parts.match(torch.from_numpy(found[:, 0]), torch.from_numpy(true[:, 0]), iou)
        matched.append(ImageBoxes(right.numpy(), found[:, 1], found[:, 0], true[:, 0]))
    return matched


def report_of(images: Sequence[ImageBoxes]) -> BoxReport:
    """The report of a set (or sample) of images."""

    def joined(name: str, width: tuple[int, ...] = ()) -> np.ndarray:
        return np.concatenate([getattr(image, name) for image in images] or [np.zeros((0, *width))])

    right, score, called, true = joined("right", (10,)), joined("score"), joined("called"), joined("true")
    parts = _parts()
    _, _, p, r, _, ap, classes, _, _, f1_curve, x, curve = parts.ap_per_class(right, score, called, true)
    threshold = float(x[parts.smooth(f1_curve.mean(axis=0), 0.1).argmax()]) if len(classes) else 1.0
    shown = right[score >= threshold, 0]
    return BoxReport(classes, p, r, ap, curve, threshold, float(shown.mean()) if len(shown) else None)


def box_classes(report: BoxReport, images: Sequence[ImageBoxes], names: Sequence[str]) -> dict[str, dict]:
    """precision, recall, map50, map50_95, ``images`` that show it and ``instances`` by class, and of ``all``."""
    figures = report.figures()
    table = {
        "all": {
            **{name: figures[name] for name in ("precision", "recall", "map50", "map50_95")},
            "images": len(images),
            "instances": int(sum(len(image.true) for image in images)),
        }
    }
    for row, index in enumerate(report.classes):
        counts = [int((image.true == index).sum()) for image in images]
        table[names[index]] = {
            "precision": float(report.precision[row]),
            "recall": float(report.recall[row]),
            "map50": float(report.ap[row, 0]),
            "map50_95": float(report.ap[row].mean()),
            "images": sum(count > 0 for count in counts),
            "instances": sum(counts),
        }
    return table


def box_confusion(detections: dict) -> tuple[list[str], np.ndarray]:
    """Names (the last is ``background``) and counts, rows predicted, columns true; score above 0.25, IoU above 0.45."""
    names = dict(enumerate(detections["classes"]))
    counts = _parts().ConfusionMatrix(names=names)
    for image in detections["images"]:
        true, found = torch.from_numpy(_true_boxes(image)), torch.from_numpy(_found_boxes(image))
        counts.process_batch(
            {"cls": found[:, 0], "conf": found[:, 1], "bboxes": found[:, 2:]},
            {"cls": true[:, 0], "bboxes": true[:, 1:]},
        )
    return [*detections["classes"], BACKGROUND], counts.matrix.astype(int)


def _true_boxes(image: dict) -> np.ndarray:
    """``[m, 5]`` float32: class, x0, y0, x1, y1."""
    return np.array(image["truth"], np.float32).reshape(-1, 5)


def _found_boxes(image: dict) -> np.ndarray:
    """``[n, 6]`` float32: class, score, x0, y0, x1, y1; highest score first, at most ``MOST_BOXES``."""
    found = np.array(image["found"], np.float32).reshape(-1, 6)
    return found[np.argsort(-found[:, 1], kind="stable")][:MOST_BOXES]


@cache
def _parts() -> SimpleNamespace:
    """ultralytics' metrics, imported after the quiet import of the package."""
    ultralytics_parts()
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import ConfusionMatrix, ap_per_class, box_iou, smooth

    thresholds = SimpleNamespace(iouv=_IOUS)  # all that the method reads of its validator
    return SimpleNamespace(
        ConfusionMatrix=ConfusionMatrix,
        ap_per_class=ap_per_class,
        box_iou=box_iou,
        smooth=smooth,
        match=lambda called, true, iou: BaseValidator.match_predictions(thresholds, called, true, iou),
    )
