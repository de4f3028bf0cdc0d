"""Reading what a trained system said of each image: ``predictions-<set>.csv`` and ``detections-<set>.json``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.errors import UserError

FRACTURED = ("displaced", "hairline")


@dataclass(frozen=True)
class Predictions:
    """Of ``n`` images: their studies, strata, truth 0/1 and probability.

    ``truth`` and ``probability`` are ``[n]`` for the slice classifier and ``[n, 7]`` (C1-C7) for level presence.
    """

    studies: np.ndarray
    strata: list[frozenset[str]]
    truth: np.ndarray
    probability: np.ndarray


def read_predictions(path: Path) -> Predictions:
    """Read a table of either kind. Raises ``UserError`` where it is missing, empty, or a value is wrong."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            many = "p_C1" in (table.fieldnames or ())
            truths = [f"t_{level}" for level in LEVELS] if many else ["truth"]
            given = [f"p_{level}" for level in LEVELS] if many else ["probability"]
            rows = list(table)
        values = np.array([[float(row[name]) for name in (*truths, *given)] for row in rows])
        studies = np.array([row["study"] for row in rows])
        strata = [strata_in(row["strata"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error
    if not rows or not ((values >= 0) & (values <= 1)).all():
        raise _unreadable(path, "a value is outside 0..1" if rows else "it has no rows")
    truth, probability = values[:, : len(truths)].astype(int), values[:, len(truths) :]
    return Predictions(studies, strata, *((truth, probability) if many else (truth[:, 0], probability[:, 0])))


def read_detections(path: Path) -> dict[str, Any]:
    """Read found boxes: ``classes`` and ``images``. Raises ``UserError`` where the file is missing, empty or broken."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        classes = len(document["classes"])
        for image in document["images"]:
            str(image["study"]), strata_in(image["strata"])
            for boxes, width in ((image["truth"], 5), (image["found"], 6)):
                table = np.array(boxes, float).reshape(-1, width)
                if not np.isfinite(table).all() or not ((table[:, 0] >= 0) & (table[:, 0] < classes)).all():
                    message = f"a box of {image.get('file', 'an image')} is wrong"
                    raise ValueError(message)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error
    if not document["images"]:
        raise _unreadable(path, "it has no images")
    return document


def strata_in(text: str) -> frozenset[str]:
    """The words of ``displaced+mimics``."""
    return frozenset(word for word in text.split("+") if word)


def stratum_rows(
    studies: Iterable[str], strata: Iterable[frozenset[str]], positive: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Which rows belong to each stratum, as ``{name: bool [n]}``; a stratum that is empty or everything is left out.

    ``displaced`` and ``hairline``: images that show such a fracture; where ``positive`` is given (whether each image
    shows a fracture: tasks that look for fractures), images without any belong to both, as negatives. ``mimics``:
    images of studies with what only looks like a fracture. ``sound``: images of studies without any fractured image.
    """
    studies, strata = np.array(list(studies)), list(strata)
    broken = np.array([bool(words & set(FRACTURED)) for words in strata], bool)
    if positive is not None:
        broken |= np.asarray(positive, bool)
    rows = {}
    for name in (*FRACTURED, "mimics"):
        here = np.array([name in words for words in strata], bool)
        alone = positive is None or name == "mimics"
        rows[name] = here if alone or not here.any() else here | ~broken
    rows["sound"] = ~np.isin(studies, studies[broken])
    return {name: here for name, here in rows.items() if here.any() and not here.all()}


def _unreadable(path: Path, error: Exception | str) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"'{path}' does not exist; let the run predict that set first ('cspine train', to its end).")
    reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
    return UserError(f"'{path}' cannot be used ({reason}); let the run predict that set again.")
