"""``cspine export-dicom``: from a run's folder to files, or one plain sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_study import TESTING, Study, lean, make_study

from CSpineFractureLib.dicom.export import export_folder, export_result
from CSpineFractureLib.dicom.label_file import read_labels
from CSpineFractureLib.dicom.read_back import read_report, read_segmentation
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import write_result
from CSpineFractureLib.findings.study_result import LEVELS, RadiographFinding
from CSpineFractureLib.volume.itk_image import itk_image

sys.path.insert(0, str(TESTING / "cli"))
from cspine_runner import cspine_here


def write_labels(path: Path, labels: np.ndarray, matrix: np.ndarray, levels=LEVELS) -> None:
    """As Slicer writes them: named segments with label values."""
    import SimpleITK as sitk

    image = itk_image(labels, matrix)
    for number, level in enumerate(levels):
        image.SetMetaData(f"Segment{number}_Name", level)
        image.SetMetaData(f"Segment{number}_LabelValue", str(LEVELS.index(level) + 1))
        image.SetMetaData(f"Segment{number}_Layer", "0")
    sitk.WriteImage(image, str(path), useCompression=True)


def make_run(folder: Path, study: Study) -> Path:
    folder.mkdir()
    write_result(study.result, folder / "result.json")
    write_labels(folder / "vertebrae.seg.nrrd", study.labels, study.volume.ijk_to_ras)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return lean(make_study(tmp_path_factory.mktemp("dicom") / "series", tags={"PatientName": "Secret^Name"}))


def test_a_run_becomes_two_dicom_files(tmp_path: Path, study: Study, capfd) -> None:
    run = make_run(tmp_path / "run", study)
    ended = cspine_here(capfd, "export-dicom", run, "--dicom", study.folder, "-o", tmp_path / "out")
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["seg.dcm", "sr.dcm"]
    assert "Secret" not in ended.out
    np.testing.assert_array_equal(read_segmentation(tmp_path / "out/seg.dcm", study.result.volume), study.labels)
    assert len(read_report(tmp_path / "out/sr.dcm").fractures) == 1


def test_a_result_of_a_nifti_file_says_what_is_missing(tmp_path: Path, study: Study, capfd) -> None:
    run = make_run(tmp_path / "run", study)
    volume = study.result.volume
    kept, volume.series_uid = volume.series_uid, None
    try:
        write_result(study.result, run / "result.json")
    finally:
        volume.series_uid = kept
    ended = cspine_here(capfd, "export-dicom", run, "--dicom", study.folder, "-o", tmp_path / "out")
    assert ended.code == 2
    assert "result.json was made from a file without DICOM identifiers" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_radiograph_is_refused(tmp_path: Path, study: Study) -> None:
    study.result.radiograph = RadiographFinding("normal", {"normal": 1.0})
    try:
        with pytest.raises(UserError, match="radiograph"):
            export_result(study.result, study.labels, study.folder, tmp_path / "out")
    finally:
        study.result.radiograph = None


def test_another_series_a_lost_slice_and_no_folder_are_refused(tmp_path: Path, study: Study) -> None:
    other = make_study(tmp_path / "other")
    with pytest.raises(UserError, match="does not hold the CT series"):
        export_result(study.result, study.labels, other.folder, tmp_path / "out")
    next(other.folder.iterdir()).unlink()
    with pytest.raises(UserError, match="1 of the 24 slices"):
        export_result(other.result, other.labels, other.folder, tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        export_result(study.result, study.labels, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_series_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    moved = make_study(tmp_path / "series")
    moved.result.volume.ijk_to_ras[2][3] += 3.0
    with pytest.raises(UserError, match="do not lie where the result says"):
        export_result(moved.result, moved.labels, moved.folder, tmp_path / "out")


def test_a_series_without_frame_of_reference_is_refused(tmp_path: Path) -> None:
    bare = make_study(tmp_path / "series", omit=["FrameOfReferenceUID"])
    with pytest.raises(UserError, match="lacks FrameOfReferenceUID"):
        export_result(bare.result, bare.labels, bare.folder, tmp_path / "out")


def test_a_failed_writing_leaves_the_old_files(tmp_path: Path, study: Study, monkeypatch) -> None:
    out = tmp_path / "out"
    first = export_result(study.result, study.labels, study.folder, out)
    before = first.seg.read_bytes(), first.sr.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("highdicom.seg.Segmentation.save_as", full)
    with pytest.raises(UserError, match="No space left"):
        export_result(study.result, study.labels, study.folder, out)
    with pytest.raises(UserError, match="No space left"):
        export_result(study.result, study.labels, study.folder, tmp_path / "new")
    assert (first.seg.read_bytes(), first.sr.read_bytes()) == before
    assert sorted(path.name for path in out.iterdir()) == ["seg.dcm", "sr.dcm"]
    assert not (tmp_path / "new").exists()


def test_without_voxels_there_is_a_report_and_no_segmentation(tmp_path: Path, study: Study) -> None:
    out = tmp_path / "out"
    export_result(study.result, study.labels, study.folder, out)
    written = export_result(study.result, np.zeros_like(study.labels), study.folder, out)
    assert written.seg is None
    assert [path.name for path in out.iterdir()] == ["sr.dcm"]
    report = read_report(written.sr)
    assert report.vertebrae[0].fracture_probability == pytest.approx(0.123456, abs=1e-6)
    assert report.vertebrae[0].segment is None


def test_a_lost_segmentation_file_is_named(tmp_path: Path, study: Study) -> None:
    run = make_run(tmp_path / "run", study)
    (run / "vertebrae.seg.nrrd").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"vertebrae\.seg\.nrrd' could not be read"):
        export_folder(run, study.folder, tmp_path / "out")
    (run / "vertebrae.seg.nrrd").unlink()
    with pytest.raises(UserError, match=r"vertebrae\.seg\.nrrd' is missing"):
        export_folder(run, study.folder, tmp_path / "out")


def test_a_cropped_mirrored_segmentation_is_put_in_its_place(tmp_path: Path, study: Study) -> None:
    low, matrix = np.array([2, 5, 1]), np.array(study.volume.ijk_to_ras)  # i, j, k of the part that is kept
    part = study.labels[low[2] :, low[1] :, low[0] :][::-1]
    matrix[:3, 3] += matrix[:3, :3] @ low + matrix[:3, 2] * (len(part) - 1)
    matrix[:3, 2] *= -1
    write_labels(tmp_path / "part.seg.nrrd", part, matrix, levels=("C7", "C5", "C1", "C2", "C3"))
    np.testing.assert_array_equal(read_labels(tmp_path / "part.seg.nrrd", study.result.volume), study.labels)
    matrix[:3, 3] += 0.4
    write_labels(tmp_path / "off.seg.nrrd", part, matrix)
    with pytest.raises(UserError, match="does not lie on the grid"):
        read_labels(tmp_path / "off.seg.nrrd", study.result.volume)


def test_foreign_files_are_not_read_back(tmp_path: Path, study: Study) -> None:
    (tmp_path / "text.dcm").write_text("no DICOM")
    image = next(study.folder.iterdir())
    for path in (tmp_path / "text.dcm", tmp_path / "none.dcm", image):
        with pytest.raises(UserError):
            read_report(path)
        with pytest.raises(UserError):
            read_segmentation(path, study.result.volume)


def test_a_person_is_named_only_when_given(tmp_path: Path, study: Study) -> None:
    names = [
        {str(item.value) for item in pydicom.dcmread(files.sr).iterall() if item.keyword == "PersonName"}
        for files in (
            export_result(study.result, study.labels, study.folder, tmp_path / "a"),
            export_result(study.result, study.labels, study.folder, tmp_path / "b", reader="Doe^Jane"),
        )
    ]
    assert names == [set(), {"Doe^Jane"}]
