"""Run folders with predictions but without training, for testing what is measured on them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from CSpineFractureLib.training.run_folder import Setup, open_run
from CSpineFractureLib.training.systems import load_system

LEVELS = [f"C{n}" for n in range(1, 8)]


def run_of(runs: Path, system: str, model: str, source: str = "phantom", quick: bool = True) -> Path:
    """An empty run folder, as 'cspine train' makes it."""
    chosen = load_system(system, quick)
    return open_run(runs / chosen.folder / model, Setup(chosen, model, 3, source, "studies")).path


def write_slices(run: Path, name: str = "val", studies: int = 6, each: int = 20, noise: float = 0.3) -> None:
    """Predictions of a slice classifier: study 0 is sound; others show displaced, hairline or no fractures."""
    rng, rows = np.random.default_rng(1), []
    for study in range(studies):
        for k in range(each):
            truth = int(study > 0 and k % 4 == 0)
            kind = ("displaced", "hairline")[k % 8 == 0] if truth else ""
            words = "+".join(word for word in (kind, "mimics" if study % 2 else "") if word)
            score = float(np.clip(0.25 + 0.5 * truth + rng.normal(0, noise), 0, 1))
            rows.append([f"s{study}_k{k}.png", f"s{study}", k, name, words, truth, round(score, 4)])
    heading = ["file", "study", "k", "split", "strata", "truth", "probability"]
    _write(run / f"predictions-{name}.csv", [heading, *rows])


def write_levels(run: Path, name: str = "val", studies: int = 5) -> None:
    """Predictions of level presence: each slice shows one or two levels, mostly found."""
    rng, rows = np.random.default_rng(2), []
    for study in range(studies):
        for k in range(20):
            truth = np.zeros(7, int)
            truth[k // 3 : k // 3 + 1 + (k % 3 == 2)] = 1
            score = np.clip(0.15 + 0.7 * truth + rng.normal(0, 0.15, 7), 0, 1).round(4)
            rows.append([f"s{study}_k{k}.png", f"s{study}", k, "displaced" if k == 4 else "", *truth, *score])
    heading = ["file", "study", "k", "strata", *(f"t_{x}" for x in LEVELS), *(f"p_{x}" for x in LEVELS)]
    _write(run / f"predictions-{name}.csv", [heading, *rows])


def write_boxes(run: Path, name: str = "val", studies: int = 4, classes: tuple[str, ...] = tuple(LEVELS)) -> None:
    """Found boxes: most true ones are found with a shift, some under another name, some are false."""
    rng, images = np.random.default_rng(3), []
    for study in range(studies):
        for k in range(14):
            c = k % len(classes)
            x, y = rng.uniform(20, 100, 2)
            shift = rng.normal(0, 2, 4)
            found = [[c, 0.9 - 0.02 * k, *np.add([x, y, x + 60, y + 50], shift)]] if k != 13 else []
            found += [[(c + 1) % len(classes), 0.3, x, y, x + 58, y + 50]] if k % 3 == 0 else []
            truth = [[c, x, y, x + 60, y + 50]] if k != 12 else []
            image = {"file": f"s{study}_k{k}.png", "study": f"s{study}", "k": k, "width": 256, "height": 256}
            images.append(image | {"strata": "hairline" if k == 5 else "", "truth": truth, "found": found})
    document = {"classes": list(classes), "images": images}
    (run / f"detections-{name}.json").write_text(json.dumps(document), encoding="utf-8")


def write_logs(run: Path) -> None:
    """Logs as Lightning writes them (training and validation in rows of their own)."""
    rows = [["epoch", "step", "train_loss", "val_loss", "train_accuracy", "val_accuracy"]]
    for epoch in range(12):
        loss = 0.7 * 0.8**epoch
        rows += [[epoch, 10 * epoch, round(loss, 4), "", round(1 - loss / 1.5, 4), ""]]
        rows += [[epoch, 10 * epoch, "", round(loss + 0.1, 4), "", round(0.93 - loss / 1.6, 4)]]
    (run / "logs").mkdir(exist_ok=True)
    _write(run / "logs" / "metrics.csv", rows)


def write_box_logs(run: Path) -> None:
    """Logs as ultralytics writes them."""
    names = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)"]
    names += ["metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "val/cls_loss", "val/dfl_loss", "lr/pg0"]
    rows = [["epoch", "time", *names]]
    for epoch in range(1, 16):
        loss, score = 2 * 0.85**epoch, 1 - 0.8**epoch
        rows.append([epoch, 3.2 * epoch, loss, 1.4 * loss, 0.9, 0.9 * score, 0.85 * score, score, 0.7 * score])
        rows[-1] += [loss + 0.1, 1.3 * loss + 0.2, 0.95, 0.01]
    (run / "logs").mkdir(exist_ok=True)
    _write(run / "logs" / "results.csv", rows)


def _write(path: Path, rows: list[list]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
