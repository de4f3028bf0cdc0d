"""Synthetic radiographs on disk: a folder per class, made by several processes, finished ones not made again."""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.radiograph import CLASSES, WHOLE, Body, make_radiograph, radiograph_plan

TRUTH_FILE, TABLE_FILE, JOURNAL_FILE = "truth.json", "truth.csv", "truth.jsonl.part"
SCHEMA = "cspine-radiographs/1"
COLUMNS = ("file", "class", "seed", "levels", "types", "boxes", "pixel_mm", "mimics")


def class_of(seed: int, share: tuple[int, int, int] = (1, 1, 1)) -> str:
    """The class of a seed: each run of ``sum(share)`` seeds holds each class ``share`` times, in random order."""
    block = [name for name, times in zip(CLASSES, share, strict=True) for _ in range(times)]
    order = np.random.default_rng([seed // len(block), 0x5EED]).permutation(len(block))
    return block[order[seed % len(block)]]


def make_radiographs(
    root: Path,
    seeds: list[int],
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    share: tuple[int, int, int] = (1, 1, 1),
    body: Body = WHOLE,
) -> list[Path]:
    """Make one radiograph per seed below ``root``, and return the PNG files in the order of the seeds.

    Files are ``<normal|fracture|dislocation>/radiograph_<seed>.png`` (8-bit grey), ``truth.json`` with every injury
    and its box, and ``truth.csv`` with a row each. A finished radiograph of the same seed and class is not made again;
    radiographs of other seeds in ``root`` are kept. The bytes do not depend on ``jobs``.

    Parameters
    ----------
    share
        How many of the classes (normal, fracture, dislocation) a run of consecutive seeds holds.
    body
        How much of each person is made, and how finely.

    Raises
    ------
    UserError
        If ``root`` cannot be written to or ``share`` holds no class.
    """
    if len(share) != len(CLASSES) or min(share) < 0 or not any(share):
        message = f"Shares {share} of radiograph classes: give three whole numbers, such as 1 1 1, not all zero."
        raise UserError(message)
    try:
        for name in CLASSES:
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{root}: cannot be used as output folder ({error.strerror}); choose a folder you can write to."
        raise UserError(message) from error
    classes = {seed: class_of(seed, share) for seed in seeds}
    known = _known(root)
    todo = [seed for seed, kind in classes.items() if not _is_made(root, known.get(seed), seed, kind, body)]
    done = len(classes) - len(todo)
    on_progress(done, len(classes))
    for row in _made(root, {seed: classes[seed] for seed in todo}, jobs, body):
        known[row["seed"]] = row
        with (root / JOURNAL_FILE).open("a", encoding="utf-8") as journal:
            journal.write("\n" + json.dumps(row))
        done += 1
        on_progress(done, len(classes))
    _write_truth(root, known)
    return [_path(root, seed, kind) for seed, kind in classes.items()]


def _path(root: Path, seed: int, kind: str) -> Path:
    return root / kind / f"radiograph_{seed:06d}.png"


def _made(root: Path, classes: dict[int, str], jobs: int, body: Body) -> Iterator[dict]:
    """Truth of each radiograph as it is finished. Processes are started afresh, as torch cannot be forked safely."""
    if jobs <= 1 or len(classes) <= 1:
        for seed, kind in classes.items():
            yield _make(root, seed, kind, body)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(classes)), context, _one_thread) as pool:
        try:
            waiting = [pool.submit(_make, root, seed, kind, body) for seed, kind in classes.items()]
            for finished in as_completed(waiting):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _make(root: Path, seed: int, kind: str, body: Body) -> dict:
    """Make one radiograph, write its picture, and return its row of the truth."""
    made = make_radiograph(seed, kind, body=body)
    for other in CLASSES:
        _path(root, seed, other).unlink(missing_ok=True)
    path = _path(root, seed, kind)
    partial = root / f"{path.stem}.part.png"  # no reader of the class folders shall see it
    sitk.WriteImage(sitk.GetImageFromArray(made.image), str(partial), True)
    os.replace(partial, path)
    row = {"file": path.relative_to(root).as_posix(), "class": kind, "seed": seed}
    rest = {name: value for name, value in vars(made).items() if name not in ("seed", "kind", "image", "injuries")}
    row |= rest | {"injuries": [asdict(i) for i in made.injuries], "plan": _plan(seed, kind, body)}
    return row


def _plan(seed: int, kind: str, body: Body) -> dict:
    return json.loads(json.dumps(asdict(radiograph_plan(seed, kind, body))))


def _is_made(root: Path, row: dict | None, seed: int, kind: str, body: Body) -> bool:
    return row is not None and row.get("plan") == _plan(seed, kind, body) and _path(root, seed, kind).is_file()


def _known(root: Path) -> dict[int, dict]:
    """Rows of earlier runs by seed: of the finished truth and of a run that was broken off."""
    rows = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        rows += json.loads((root / TRUTH_FILE).read_text(encoding="utf-8"))["radiographs"]
    lines = []
    with contextlib.suppress(OSError):
        lines = (root / JOURNAL_FILE).read_text(encoding="utf-8").splitlines()
    for line in lines:
        with contextlib.suppress(ValueError):  # a line that was cut off
            rows.append(json.loads(line))
    return {row["seed"]: row for row in rows if isinstance(row, dict) and "seed" in row}


def _write_truth(root: Path, known: dict[int, dict]) -> None:
    rows = [known[seed] for seed in sorted(known) if (root / known[seed]["file"]).is_file()]
    truth = {"schema": SCHEMA, "notice": "synthetic radiographs, research use only", "radiographs": rows}
    partial = root / (TRUTH_FILE + ".part")
    partial.write_text(json.dumps(truth, indent=1), encoding="utf-8")
    table = root / (TABLE_FILE + ".part")
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_line(row) for row in rows)
    os.replace(table, root / TABLE_FILE)
    os.replace(partial, root / TRUTH_FILE)
    (root / JOURNAL_FILE).unlink(missing_ok=True)


def _line(row: dict) -> list[object]:
    injuries = row["injuries"]
    boxes = [" ".join(map(str, i["box"])) if i["box"] else "" for i in injuries]
    joined = [";".join(parts) for parts in ([i["level"] for i in injuries], [i["type"] for i in injuries], boxes)]
    return [row["file"], row["class"], row["seed"], *joined, row["pixel_mm"], ";".join(row["mimics"])]
