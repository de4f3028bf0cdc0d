"""Real scans become training volumes: named by the locator, moved by a verdict, or marked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_neck import a_context, a_neck

from CSpineFractureLib.datasets.column_volumes import UNKNOWN, read_column_table, read_column_volume
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.training.level_hits import LevelMarks
from CSpineFractureLib.training.located_columns import Verdict, read_verdicts, write_located_columns
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import to_coarse


def a_scan(folder: Path, name: str = "neck.nii.gz") -> tuple[Path, np.ndarray, CanonicalView]:
    volume, middles = a_neck(levels=7)
    image = sitk.GetImageFromArray(volume.hu)
    matrix = volume.ijk_to_ras.copy()
    matrix[:2] *= -1
    image.SetSpacing([1.0, 1.0, 1.5])
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / [1.0, 1.0, 1.5]).ravel().tolist())
    sitk.WriteImage(image, str(folder / name))
    return folder / name, middles, CanonicalView.of(volume)


def bodies_of(folder: Path, name: str = "neck") -> np.ndarray:
    return read_column_volume(folder / f"{name}.npz").bodies


def where(middle: np.ndarray, view: CanonicalView) -> np.ndarray:
    return to_coarse(view.ijk_of(middle)[::-1], view.spacing_mm)


def test_a_scan_gets_the_names_the_locator_gives_it(tmp_path):
    scan, middles, view = a_scan(tmp_path)
    names = write_located_columns([scan], tmp_path / "out", a_context(), {}, None)
    assert names == ["neck"]
    assert [row["split"] for row in read_column_table(tmp_path / "out")] == ["train"]
    assert (tmp_path / "out" / "sheet_01.png").stat().st_size > 5000
    bodies = bodies_of(tmp_path / "out")
    for n in range(1, 7):
        assert np.linalg.norm((bodies[n] - where(middles[n], view))[:2]) * 2 < 3.0
    labels = read_column_volume(tmp_path / "out" / "neck.npz").labels
    for n in range(1, 6):
        assert labels[tuple(np.rint(where(middles[n], view)).astype(int))] == n + 1


@pytest.mark.parametrize("lower", [1, -1])
def test_a_verdict_moves_all_names(tmp_path, lower):
    scan, middles, view = a_scan(tmp_path)
    verdicts = {scan.name: Verdict(True, lower)}
    write_located_columns([scan], tmp_path / "out", a_context(lower), {}, verdicts)
    made = read_column_volume(tmp_path / "out" / "neck.npz")
    for n in range(2, 6):
        assert np.linalg.norm((made.bodies[n] - where(middles[n], view))[:2]) * 2 < 4.0
        assert made.labels[tuple(np.rint(where(middles[n], view)).astype(int))] == n + 1
    assert (made.labels == UNKNOWN).any()


def test_marks_go_before_the_locators_names(tmp_path):
    scan, middles, view = a_scan(tmp_path)
    marks = LevelMarks("neck.nii.gz", {LEVELS[n]: middles[n] for n in range(1, 6)})
    write_located_columns([scan], tmp_path / "out", a_context(lower=1), {scan.name: marks}, None)
    bodies = bodies_of(tmp_path / "out")
    assert np.isnan(bodies[[0, 6, 7]]).all()
    for n in range(1, 6):
        assert np.linalg.norm((bodies[n] - where(middles[n], view))[:2]) * 2 < 0.5


def test_scans_without_a_yes_are_left_out_and_nothing_stays_where_none_is_left(tmp_path):
    scan, _middles, _view = a_scan(tmp_path)
    other, _middles, _view = a_scan(tmp_path, "other.nii.gz")
    verdicts = {scan.name: Verdict(False)}
    with pytest.raises(UserError, match="No scan was located"):
        write_located_columns([scan, other], tmp_path / "out", a_context(), {}, verdicts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["neck.nii.gz", "other.nii.gz"]


def test_a_folder_that_exists_is_not_written_over(tmp_path):
    scan, _middles, _view = a_scan(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists"):
        write_located_columns([scan], tmp_path / "out", a_context(), {}, None)


def test_a_body_outside_the_stored_tissue_is_not_known(tmp_path):
    scan, middles, _view = a_scan(tmp_path)
    marks = LevelMarks("neck.nii.gz", {LEVELS[n]: middles[n] for n in range(1, 6)})
    marks.middles["C6"] = middles[5] + np.array([0.0, 60.0, 0.0])
    write_located_columns([scan], tmp_path / "out", a_context(), {scan.name: marks}, None)
    bodies = bodies_of(tmp_path / "out")
    assert np.isnan(bodies[5]).all()
    assert np.isfinite(bodies[4]).all()


@pytest.mark.parametrize(
    "text", ["a,b\n", "file,use\nx,maybe\n", "name,use,shift\nx,yes,0\n", "file,use,shift\nx,yes,half\n"]
)
def test_a_table_that_holds_no_verdicts_is_named(tmp_path, text):
    path = tmp_path / "verdicts.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"verdicts.csv.*columns file, use"):
        read_verdicts(path)
    path.write_text("file,use,shift\na,yes,-1\nb,no,\n", encoding="utf-8")
    assert read_verdicts(path) == {"a": Verdict(True, -1), "b": Verdict(False, 0)}
