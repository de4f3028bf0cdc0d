from __future__ import annotations

import json
from dataclasses import replace

import fake_profile  # registers the profile "fake"
import numpy as np
import pytest
import SimpleITK as sitk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.pipeline import outputs
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.pipeline.outputs import slicer_is_installed, write_outputs
from CSpineFractureLib.volume.ct_volume import CTVolume

needs_slicer = pytest.mark.skipif(not slicer_is_installed(), reason="needs the Slicer libraries (extra standalone)")


@pytest.fixture
def study():
    hu = np.full((28, 24, 24), -1000, np.int16)
    hu[:, 6:18, 6:18] = 300
    volume = CTVolume(hu, np.array([[-2.0, 0, 0, 30], [0, -2.0, 0, 40], [0, 0, 3.0, -50], [0, 0, 0, 1]]))
    return Engine(device="cpu").run_study(volume, fake_profile.NAME)


def names_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@needs_slicer
def test_a_run_writes_all_its_files_and_names_them(study, tmp_path):
    paths = write_outputs(*study, tmp_path / "out")
    names = names_below(tmp_path / "out")
    assert {
        "result.json",
        "findings.csv",
        "scene.mrb",
        "vertebrae.seg.nrrd",
        "boxes.mrk.json",
        "gradcam.nrrd",
        "views/axial.png",
        "views/sagittal.png",
        "views/coronal.png",
        "views/three_d.png",
    } <= set(names)
    assert sorted(paths) == sorted(tmp_path / "out" / name for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@needs_slicer
def test_the_files_agree_with_the_result(study, tmp_path):
    _, output = study
    write_outputs(*study, tmp_path, render=False)
    result = read_result(tmp_path / "result.json")
    assert result.to_dict()["vertebrae"] == output.result.to_dict()["vertebrae"]

    boxes = json.loads((tmp_path / "boxes.mrk.json").read_text())["markups"]
    assert len(boxes) == len(result.vertebrae) + len(result.fractures)

    cam = sitk.ReadImage(str(tmp_path / "gradcam.nrrd"))
    corner = np.array(cam.TransformIndexToPhysicalPoint((0, 0, 0))) * [-1, -1, 1]  # LPS to RAS
    assert np.allclose(corner, output.cam_ijk_to_ras[:3, 3], atol=0.01)
    assert (sitk.GetArrayFromImage(cam) == output.cam).all()

    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "vertebrae.seg.nrrd")))
    assert np.count_nonzero(labels) == np.count_nonzero(output.labels)


@needs_slicer
def test_without_rendering_there_are_no_pictures_and_without_a_cam_no_cam(study, tmp_path):
    volume, output = study
    output.cam = output.cam_ijk_to_ras = None
    write_outputs(volume, output, tmp_path, render=False)
    assert names_below(tmp_path) == ["boxes.mrk.json", "findings.csv", "result.json", "scene.mrb", "vertebrae.seg.nrrd"]


def test_without_the_slicer_libraries_the_rest_is_written_with_a_warning(study, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "slicer_is_installed", lambda: False)
    write_outputs(*study, tmp_path)
    assert names_below(tmp_path) == ["findings.csv", "result.json"]
    assert "no-slicer-libraries" in [notice.code for notice in read_result(tmp_path / "result.json").warnings]


def test_cam_pictures_are_written_on_request_and_replaced_by_the_next_run(study, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "slicer_is_installed", lambda: False)
    write_outputs(*study, tmp_path, cam_pictures=True)
    assert names_below(tmp_path) == ["findings.csv", "gradcam/002.png", "gradcam/003.png", "result.json"]
    write_outputs(*study, tmp_path)
    assert names_below(tmp_path) == ["findings.csv", "result.json"]


def test_slices_that_show_no_grad_cam_are_no_pictures(study, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "slicer_is_installed", lambda: False)
    study[1].cam_slices[-1] = replace(study[1].cam_slices[-1], probability=0.05)
    write_outputs(*study, tmp_path, cam_pictures=True)
    assert len([name for name in names_below(tmp_path) if name.startswith("gradcam/")]) == 1


def test_cam_pictures_of_a_calm_study_are_a_warning(study, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "slicer_is_installed", lambda: False)
    study[1].cam_slices = []
    write_outputs(*study, tmp_path, cam_pictures=True)
    assert names_below(tmp_path) == ["findings.csv", "result.json"]
    assert "no-cam-pictures" in [notice.code for notice in read_result(tmp_path / "result.json").warnings]


def test_nothing_is_written_when_a_part_fails(study, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "slicer_is_installed", lambda: False)
    study[1].result.vertebrae[0].confidence = 2.0
    with pytest.raises(ValueError, match="confidence"):
        write_outputs(*study, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused(study, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        write_outputs(*study, tmp_path)
    assert names_below(tmp_path) == ["notes.txt"]
