"""Corrected studies leave the scene as training data and come back as they were."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")

sys.path.append(str(Path(__file__).resolve().parents[1] / "scene"))

from scene_study import GRIDS, make_study
from typer.testing import CliRunner

from CSpineFractureLib.cli.app import app as cspine
from CSpineFractureLib.datasets.corrections import read_corrections
from CSpineFractureLib.datasets.yolo import read_yolo
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.panel.corrections_export import export_corrections, import_corrections, read_export
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.corrections import Corrections
from CSpineFractureLib.scene.files import load_scene, save_scene
from CSpineFractureLib.scene.headless import headless_slicer
from CSpineFractureLib.scene.volume_node import volume_of_node

MIDDLE = LEVELS[1:6]


@pytest.fixture
def a_scene():
    with headless_slicer() as app:
        yield app.scene


def corrected(scene, grid: str = "axial", study: str = "study-1") -> Corrections:
    """A study shifted down, its fracture accepted, with another one added; nothing is left unjudged."""
    volume, output = make_study(GRIDS[grid], levels=MIDDLE, cam=False)
    output.result.id = study
    volume.hu[:, :, :6] = -1000
    output.result.warnings = [Notice("series-chosen", "Series 'Miller^Anna neck' was chosen.")]
    build_scene(scene, volume, output)
    corrections = Corrections(scene, study, author="Dr Holmes")
    corrections.shift_levels(1)
    corrections.accept("f1")
    corrections.comment("f1", "Mrs Miller fell down")
    box = next(one.box for one in corrections.result.vertebrae if one.level == "C6")
    corrections.add_fracture("C6", replace(box, size_mm=[6.0, 6.0, 5.0]))
    return corrections


@pytest.mark.parametrize("grid", ["mirrored", "oblique"])
def test_a_corrected_study_comes_back_as_it_was(grid: str, a_scene, tmp_path: Path) -> None:
    corrections = corrected(a_scene, grid)
    exported = export_corrections(corrections, tmp_path)
    assert (exported.unjudged, exported.boxes) == (0, "both")
    result, labels = corrections.result.to_dict(), corrections.labels()
    hu = volume_of_node(corrections.nodes.volume).hu
    volume, output = read_export(exported.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_array_equal(output.labels, labels)
    kept = {**result, "warnings": [], "fractures": [{**one, "comment": ""} for one in result["fractures"]]}
    assert output.result.to_dict() == kept
    while corrections.undo():
        pass
    assert corrections.result.to_dict() != result
    assert import_corrections(corrections, exported.folder)
    again = {**corrections.result.to_dict(), "fractures": kept["fractures"]}
    assert again == {**result, "fractures": kept["fractures"]}
    assert [one.comment for one in corrections.result.fractures] == ["", ""]
    np.testing.assert_array_equal(corrections.labels(), labels)
    assert not import_corrections(corrections, exported.folder)
    assert corrections.undo_text == "Exported corrections read"


def test_an_export_builds_the_same_study_in_another_scene(a_scene, tmp_path: Path) -> None:
    corrections = corrected(a_scene, "mirrored")
    folder = export_corrections(corrections, tmp_path / "first").folder
    labels, kept = corrections.labels(), read_export(folder)[1].result.to_dict()
    save_scene(a_scene, tmp_path / "scene.mrb")
    with headless_slicer() as app:
        build_scene(app.scene, *read_export(folder))
        again = Corrections(app.scene)
        assert again.result.to_dict() == kept
        np.testing.assert_array_equal(again.labels(), labels)
    with headless_slicer() as app:
        load_scene(app.scene, tmp_path / "scene.mrb")
        reopened = export_corrections(Corrections(app.scene), tmp_path / "second").folder
    volume, output = read_export(reopened)
    assert output.result.to_dict() == kept
    np.testing.assert_array_equal(output.labels, labels)
    np.testing.assert_array_equal(volume.hu, read_export(folder)[0].hu)


def test_training_reads_what_was_exported(a_scene, tmp_path: Path) -> None:
    for number, grid in enumerate(("axial", "flipped")):
        corrections = corrected(a_scene, grid, f"study-{number}")
        export_corrections(corrections, tmp_path / "reviewed", group=f"person-{number}")
    records = read_corrections(tmp_path / "reviewed")
    assert [record.id for record in records] == ["study-0", "study-1"]
    for record in records:
        assert {level for level, broken in record.fractured.items() if broken} == {"C5", "C6"}
        assert {box.level for box in record.boxes} == {"C5", "C6"}
        assert set(np.unique(record.load_levels())) == {0, 3, 4, 5, 6, 7}
    for arguments in (
        ["dataset", "corrections", str(tmp_path / "reviewed"), "-o", str(tmp_path / "yolo"), "--to", "yolo"],
        ["dataset", "check", str(tmp_path / "reviewed")],
    ):
        outcome = CliRunner().invoke(cspine, arguments)
        assert outcome.exit_code == 0, outcome.output
    images = read_yolo(tmp_path / "yolo")
    assert {box.name for image in images for box in image.boxes} == {"C3", "C4", "C5", "C6", "C7"}


def test_the_folder_holds_yolo_boxes_masks_and_a_table(a_scene, tmp_path: Path) -> None:
    folder = export_corrections(corrected(a_scene), tmp_path).folder
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["correction.json", "ct.nii.gz", "findings.csv", "result.json", "vertebrae.nii.gz", "yolo"]
    assert [path.name for path in tmp_path.iterdir()] == ["study-1"]
    images = read_yolo(folder / "yolo")
    fractured = {image.k for image in images if any(box.name == "fracture" for box in image.boxes)}
    record = read_corrections(tmp_path)[0]
    assert fractured == {box.k for box in record.boxes}
    assert "added" in (folder / "findings.csv").read_text()


def test_nobody_is_named_in_an_export(a_scene, tmp_path: Path) -> None:
    export_corrections(corrected(a_scene), tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.suffix in {".json", ".csv", ".yaml", ".txt"}]
    text = "".join(path.read_text() for path in files)
    assert len(files) > 5
    assert "Miller" not in text
    assert "Holmes" not in text


def test_unjudged_fractures_are_told_and_not_trained_on(a_scene, tmp_path: Path) -> None:
    corrections = corrected(a_scene)
    corrections.reconsider("f1")
    exported = export_corrections(corrections, tmp_path)
    assert (exported.unjudged, exported.boxes) == (1, "vertebrae")
    assert read_corrections(tmp_path)[0].boxes is None


def test_an_export_replaces_an_older_one(a_scene, tmp_path: Path) -> None:
    corrections = corrected(a_scene)
    folder = export_corrections(corrections, tmp_path).folder
    corrections.set_box("f1", Box([10.0, -30.0, 140.0], [8.0, 8.0, 8.0]))
    export_corrections(corrections, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study-1"]
    assert read_export(folder)[1].result.fractures[0].box.size_mm == [8.0, 8.0, 8.0]


def test_what_cannot_be_exported_or_read_is_one_sentence(a_scene, tmp_path: Path) -> None:
    corrections = corrected(a_scene)
    folder = export_corrections(corrections, tmp_path / "out").folder
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export_corrections(corrections, tmp_path / "file")
    volume, output = make_study(GRIDS["axial"], cam=False)
    output.result.id = "another"
    build_scene(a_scene, volume, output)
    other = Corrections(a_scene, "another")
    with pytest.raises(UserError, match="another study"):
        import_corrections(other, folder)
    (folder / "result.json").unlink()
    with pytest.raises(UserError, match="could not be read"):
        import_corrections(corrections, folder)
    assert corrections.undo_text == "Fracture of C6 added"
    a_scene.RemoveNode(corrections.nodes.volume)
    with pytest.raises(UserError, match="no longer in the scene"):
        export_corrections(corrections, tmp_path / "out")
