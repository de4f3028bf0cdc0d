"""Real CT to train the column locator on: its levels are marked by hand, or found by the locator and looked at.

The network learns from what it said of real scans itself, where a person has let that pass, moved it by a level or two,
or marked the levels (self-training: Scudder 1965; Xie et al., CVPR 2020). No real CT with vertebra masks is at hand.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.column_volumes import BODIES, COLUMNS, TABLE, THORACIC, UNKNOWN, ColumnVolume
from CSpineFractureLib.datasets.part_folder import new_folder
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.pipeline.body_line import body_line
from CSpineFractureLib.pipeline.column_search import LOCATOR, ColumnMap, map_column
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.locate import LocatedLevel, at_discs, bodies_of, with_slabs
from CSpineFractureLib.pipeline.name_bodies import NamedBody
from CSpineFractureLib.training.level_hits import LevelMarks
from CSpineFractureLib.training.level_sheet import SheetTile, draw_sheet
from CSpineFractureLib.training.run_context import run_context
from CSpineFractureLib.volume import read_volume
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import GRID_MM, coarse_hu, to_coarse

SHEET = 15
"""Studies on a contact sheet."""
SURE_NAME = 128
"""Of 255: a voxel with no likelier name does not count."""
AIR_HU, AROUND, STORED_SHARE = -1000, (4, 5, 3), 0.85
"""A body is in the scan where so much of its surroundings (voxels) is not air."""
LEAST_CONFIDENCE = 0.5
LEAST_T1_MM = 12.0
"""A middle of T1 nearer than this to that of C7 does not count."""


@dataclass(frozen=True)
class Verdict:
    """What a person said of a located scan: whether to use it, and how many levels lower its names must be."""

    use: bool
    shift: int = 0


NO = Verdict(False)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """A CSV with the columns ``file`` (name without folder), ``use`` (yes or no) and ``shift`` (a whole number).

    Raises ``UserError`` where it is missing or not like that.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        uses = {"yes": True, "no": False}
        verdicts = {row["file"]: Verdict(uses[row["use"]], int(row["shift"] or 0)) for row in rows}
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        message = f"'{path}' is not a table of verdicts ({error}): it needs the columns file, use (yes, no) and shift."
        raise UserError(message) from error
    if not verdicts:
        message = f"'{path}' is not a table of verdicts: it needs the columns file, use (yes, no) and shift, and rows."
        raise UserError(message)
    return verdicts


def located_column(view: CanonicalView, column: ColumnMap, shift: int = 0) -> tuple[ColumnVolume, float] | None:
    """A scan with the names that the locator gives it, each ``shift`` levels lower, and the least confidence of them.

    ``None`` where no level is left. What lies above the first level of a lowered column, or below the last one of a
    raised one, does not count: the locator had no right name for it.
    """
    bodies, middles = bodies_of(column, view, np.zeros((0, len(BODIES))), np.zeros(0))
    kept = [n for n, body in enumerate(bodies) if 0 <= body.level + shift < len(BODIES)]
    bodies = [replace(bodies[n], level=bodies[n].level + shift) for n in kept]
    levels, moved = at_discs(with_slabs(bodies, middles[kept]), _renamed(column, shift), view)
    if not levels:
        return None
    places = {level.level: level.center_ras for level in levels}
    last = {body.level: middle for body, middle in zip(bodies, middles[kept], strict=True)}
    if 6 in places and 7 in last and np.linalg.norm(last[7] - places[6]) >= LEAST_T1_MM:
        places[7] = last[7]
    volume = _volume(view, moved, places)
    if shift > 0:
        volume.labels[_row(view, levels[0], levels[0].slab_s[1]) :] = UNKNOWN
    elif shift < 0:
        volume.labels[: _row(view, levels[-1], levels[-1].slab_s[0])] = UNKNOWN
    return volume, min(level.confidence for level in levels)


def marked_column(view: CanonicalView, column: ColumnMap, marks: LevelMarks) -> ColumnVolume:
    """A scan with marked levels: the middles are the marks', the locator's voxels are moved to them."""
    bodies, found = bodies_of(column, view, np.zeros((0, len(BODIES))), np.zeros(0))
    names = sorted(LEVELS.index(level) for level in marks.middles)
    middles = np.array([marks.middles[LEVELS[name]] for name in names])
    if len(found):
        line = body_line(view, found, np.array([body.level for body in bodies]))
        middles[:, 0] = line.point_at(line.along_at(middles[:, 2]))[:, 0]
    marked = [NamedBody(name, place, 1.0, 1.0) for place, name in enumerate(names)]
    _levels, moved = at_discs(with_slabs(marked, middles), column, view)
    return _volume(view, moved, dict(zip(names, middles, strict=True)))


def _renamed(column: ColumnMap, shift: int) -> ColumnMap:
    """The map with its names moved down; those that leave the neck become thoracic or background."""
    if shift == 0:
        return column
    classes = np.zeros_like(column.classes)
    for name, share in enumerate(column.classes):
        if name in (0, THORACIC):
            new = name
        else:
            new = name + shift
            new = 0 if new < 1 else min(new, THORACIC)
        classes[new] += share
    if shift < 0:  # the first thoracic vertebrae have cervical names now, which move_map cannot tell from their class
        classes[LEVELS.index("C7") + 1] += classes[THORACIC]
        classes[THORACIC] = 0
    return replace(column, classes=classes)


def _row(view: CanonicalView, level: LocatedLevel, s: float) -> int:
    """The coarse k at a height (mm)."""
    return max(0, round(float(to_coarse(view.ijk_of(np.array([*level.center_ras[:2], s]))[::-1], view.spacing_mm)[0])))


def _volume(view: CanonicalView, column: ColumnMap, places: dict[int, np.ndarray]) -> ColumnVolume:
    hu = coarse_hu(view.hu, view.spacing_mm)
    labels = np.zeros(hu.shape, np.uint8)
    best = column.classes.argmax(axis=0).astype(np.uint8)
    best[column.classes.max(axis=0) < SURE_NAME] = UNKNOWN
    labels[tuple(slice(start, start + size) for start, size in zip(column.corner, best.shape, strict=True))] = best
    bodies = np.full((len(BODIES), 3), np.nan, np.float32)
    for level, ras in places.items():
        index = to_coarse(view.ijk_of(ras)[::-1], view.spacing_mm)
        if _is_stored(hu, index):
            bodies[level] = index
    return ColumnVolume(hu, labels, bodies)


def _is_stored(hu: np.ndarray, index: np.ndarray) -> bool:
    reach = zip(index, AROUND, strict=True)
    around = hu[tuple(slice(max(0, round(n) - r), max(0, round(n) + r + 1)) for n, r in reach)]
    return around.size > 0 and bool((around > AIR_HU).mean() >= STORED_SHARE)


def study_names(scans: Sequence[Path]) -> list[str]:
    """The files' names without .nii, .nii.gz or .zip. Raises ``UserError`` where two are equal."""
    names = [re.sub(r"(\.nii(\.gz)?|\.zip)$", "", scan.name) for scan in scans]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f"Two scans are named '{twice}': rename one of them."
        raise UserError(message)
    return names


def write_located_columns(
    scans: Sequence[Path],
    out: Path,
    context: RunContext,
    marks: Mapping[str, LevelMarks],
    verdicts: Mapping[str, Verdict] | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Coarse volumes of scans below ``out`` (it must not exist yet), their table, and contact sheets to judge them by.

    Parameters
    ----------
    marks, verdicts
        By file name. A verdict of no leaves a scan out; marked scans get their marks; others take the locator's names,
        where the verdict says so, or without verdicts where it is sure of all (confidence 0.5).

    Returns the names of those that were written. Raises ``UserError`` where a scan cannot be read, ``out`` exists or
    cannot be written, or none is left; nothing stays then.
    """
    own_names = study_names(scans)
    names, tiles = [], []
    with new_folder(out) as part:
        for done, (scan, name) in enumerate(zip(scans, own_names, strict=True), start=1):
            made = _made(scan, context, marks.get(scan.name), None if verdicts is None else verdicts.get(scan.name, NO))
            if made is not None:
                names.append(name)
                np.savez_compressed(part / f"{names[-1]}.npz", hu=made.hu, labels=made.labels, bodies=made.bodies)
                tiles.append((names[-1], made))
            if tiles and (len(tiles) == SHEET or done == len(scans)):
                _draw_sheet(tiles, part / f"sheet_{(len(names) - 1) // SHEET + 1:02d}.png")
                tiles.clear()
            on_progress(done, len(scans))
        if not names:
            message = "No scan was located surely enough, or let pass: give other scans, marks or verdicts."
            raise UserError(message)
        lines = [",".join(COLUMNS), *(f"{name}.npz,{name},{name},train" for name in names)]
        (part / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return names


def locator_context(device: str = "auto") -> RunContext:
    """A context with the installed locator. Raises ``UserError`` where there is none, or no such device."""
    context = run_context("default", device)
    context.load(LOCATOR)
    return context


def _made(scan: Path, context: RunContext, marks: LevelMarks | None, verdict: Verdict | None) -> ColumnVolume | None:
    if verdict is not None and not verdict.use:
        return None
    view = CanonicalView.of(read_volume(scan))
    column = map_column(view, context)
    if column is None:
        return None
    if marks is not None:
        return marked_column(view, column, marks)
    found = located_column(view, column, verdict.shift if verdict else 0)
    if found is None or (verdict is None and found[1] < LEAST_CONFIDENCE):
        return None
    return found[0]


def _draw_sheet(studies: Sequence[tuple[str, ColumnVolume]], path: Path) -> None:
    """The middle sagittal slice of each study with its names."""
    tiles = []
    for name, volume in studies:
        known = np.flatnonzero(np.isfinite(volume.bodies[:, 0]))
        middle = round(float(volume.bodies[known, 2].mean())) if len(known) else volume.hu.shape[2] // 2
        found = {BODIES[level]: tuple(volume.bodies[level, :2]) for level in known}
        tiles.append(SheetTile(name, volume.hu[:, :, middle], GRID_MM[:2], found))
    draw_sheet(tiles, path)
