"""Where the fractures of a study lie, from masks and from boxes, whichever way the CT is stored."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_studies import make_phantom_folder

from CSpineFractureLib.datasets.fracture_map import fracture_map
from CSpineFractureLib.datasets.phantoms import read_phantoms
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.datasets.vertebra_crops import CropOptions, read_crack_map, write_crops
from CSpineFractureLib.datasets.vertebra_places import LyingStudy
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import CTVolume

SHAPE = (32, 40, 48)
MATRIX = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 1.0, -50], [0, 0, 0, 1]])
C4 = (slice(12, 20), slice(12, 28), slice(14, 36))
GAP = (slice(14, 17), slice(18, 21), slice(20, 30))
SMALL = CropOptions(slices=8, size=32, cracks=True)


def volumes(turned: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """HU, levels, fracture mask, matrix; ``turned``: stored upside down and from left to right."""
    hu, levels, gaps = np.zeros(SHAPE, np.int16), np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    levels[C4], gaps[GAP], matrix = 4, 4, MATRIX
    if turned:
        hu, levels, gaps = (np.ascontiguousarray(one[::-1, :, ::-1]) for one in (hu, levels, gaps))
        matrix = MATRIX @ np.array([[-1.0, 0, 0, 47], [0, 1, 0, 0], [0, 0, -1, 31], [0, 0, 0, 1]])
    return hu, levels, gaps, matrix


def record_of(drawn: bool, turned: bool = False, boxes: bool = True) -> StudyRecord:
    hu, levels, gaps, matrix = volumes(turned)
    places = np.argwhere(gaps == 4)
    (_, y0, x0), (_, y1, x1) = places.min(0), places.max(0) + 1
    found = [SliceBox(int(k), x0, y0, x1 - x0, y1 - y0, "C4", "displaced") for k in np.unique(places[:, 0])]
    return StudyRecord(
        id="s",
        load_volume=partial(CTVolume, hu, matrix),
        load_levels=lambda: levels,
        fractured={level: level == "C4" for level in LEVELS},
        boxes=found if boxes else None,
        load_fractures=(lambda: gaps) if drawn else None,
        split="train",
    )


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_fracture_lies_where_it_is_drawn_or_boxed(drawn: bool, turned: bool) -> None:
    record = record_of(drawn, turned)
    found = fracture_map(record, LyingStudy.of(record))
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[GAP] = 4
    assert found.dtype == np.uint8
    assert np.array_equal(found, wanted)


def test_a_box_counts_inside_its_vertebra() -> None:
    record = record_of(drawn=False)
    record.boxes = [SliceBox(15, 10, 10, 10, 10, "C4")]
    found = fracture_map(record, LyingStudy.of(record))
    assert found.sum() == 4 * 6 * 8  # rows 12 to 19, columns 14 to 19


def test_nobody_knows_where_a_fracture_without_mask_and_boxes_lies() -> None:
    record = record_of(drawn=False, boxes=False)
    assert fracture_map(record, LyingStudy.of(record)) is None
    record.boxes = [SliceBox(15, 10, 10, 10, 10)]
    assert fracture_map(record, LyingStudy.of(record)) is None, "of no known level"
    record.fractured = dict.fromkeys(LEVELS, False)
    assert not fracture_map(record, LyingStudy.of(record)).any()


def test_a_mask_of_another_ct_is_one_sentence() -> None:
    record = replace(record_of(drawn=True), load_fractures=lambda: np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(UserError, match="a mask of 5 x 4 x 3 voxels for a CT of 48 x 40 x 32"):
        fracture_map(record, LyingStudy.of(record))


def test_crops_keep_where_the_fracture_lies_and_only_of_their_own_level(tmp_path: Path) -> None:
    rows = write_crops([record_of(drawn=True)], tmp_path / "crops", SMALL)
    own = next(row for row in rows if row.level == "C4")
    cracks = read_crack_map(tmp_path / "crops" / own.file, (8, 32, 32))
    assert set(np.unique(cracks)) == {0, 255}
    shown = np.flatnonzero(cracks.any(axis=(1, 2)))  # C4 is slices 12 to 19, one each from the top; the gap 14 to 16
    assert shown.tolist() == [3, 4, 5]
    # the square begins five pixels before the vertebra: columns 9 to 40, rows 4 to 35
    assert cracks[4, 14:17, 11:21].all()
    assert cracks[4].sum() == 255 * 30


def test_crops_of_an_unknown_place_have_no_map(tmp_path: Path) -> None:
    rows = write_crops([record_of(drawn=False, boxes=False)], tmp_path / "crops", SMALL)
    assert read_crack_map(tmp_path / "crops" / rows[0].file, (8, 32, 32)) is None
    with pytest.raises(UserError, match="missing"):
        read_crack_map(tmp_path / "crops" / "none.npz", (8, 32, 32))


def test_phantoms_say_where_their_fractures_lie(tmp_path: Path) -> None:
    make_phantom_folder(tmp_path / "phantom_000000", "C3")
    (record,) = read_phantoms(tmp_path)
    found = fracture_map(record, LyingStudy.of(record))
    assert set(np.unique(found)) == {0, 3}
    assert (found == 3).sum() == 2 * 2 * 4
