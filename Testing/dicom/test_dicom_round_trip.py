"""A result written as SEG and SR comes back the same, whatever the series looks like."""

from __future__ import annotations

import logging
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import dicom_study
import numpy as np
import pydicom
import pytest
from dicom_study import Study, lean, make_study

from CSpineFractureLib.dicom.export import Exported, export_result
from CSpineFractureLib.dicom.provenance import Export
from CSpineFractureLib.dicom.read_back import Report, read_report, read_segmentation
from CSpineFractureLib.dicom.segmentation import make_segmentation
from CSpineFractureLib.dicom.source_series import read_source_series

MOMENT = datetime(2026, 11, 21, 10, 0, 0)


def axes_of(name: str) -> np.ndarray:
    """The matrix of a series whose slices run downwards, or that is stored as sagittal slices."""
    if name == "downwards":
        matrix = np.diag([-1.0, -1.0, -2.0, 1.0])
    else:  # i to the back, j downwards, k to the left
        matrix = np.array([[0, 0, -2.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    matrix[:3, 3] = 30, 40, -60
    return matrix


SERIES = {
    "axial": {},
    "downwards": {"matrix": axes_of("downwards")},
    "sagittal": {"matrix": axes_of("sagittal")},
    "tilted gantry": {"tilt": 12.0},
    "missing slices": {"missing": (9, 10)},
    "multi-frame": {"multiframe": True},
}


@pytest.fixture(scope="module", params=SERIES, ids=SERIES)
def written(request, tmp_path_factory) -> tuple[str, Study, Exported, Report]:
    folder = tmp_path_factory.mktemp("dicom")
    study = make_study(folder / "series", **SERIES[request.param])
    files = export_result(study.result, study.labels, study.folder, folder / "out", moment=MOMENT)
    return request.param, study, files, read_report(files.sr)


def valid(path: Path) -> str:
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error"))


def test_every_label_comes_back(written) -> None:
    name, study, files, _ = written
    assert study.volume.grid == ("resampled" if name in ("tilted gantry", "missing slices") else "native")
    back = read_segmentation(files.seg, study.result.volume)
    assert len(np.unique(back)) == 6
    np.testing.assert_array_equal(back, study.labels)


def test_every_frame_lies_where_its_slice_is(written) -> None:
    _, study, files, _ = written
    segmentation = pydicom.dcmread(files.seg)
    kinds = [item.SegmentLabel for item in segmentation.SegmentSequence]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = set()
    for frame, group in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        label = int(kinds[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1][1])
        j, i = np.nonzero(frame)
        lps = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        ras = (lps + i[:, None] * column_mm * turn[:3] + j[:, None] * row_mm * turn[3:]) * [-1, -1, 1]
        points |= {(*point, label) for point in np.rint(10 * ras).astype(int).tolist()}
    assert points == dicom_study.physical(study, study.labels)


def test_every_finding_comes_back(written) -> None:
    _, study, _, report = written
    assert [found.id for found in report.vertebrae] == [f"vertebra-C{n}" for n in range(1, 7)]
    for found, meant in zip(report.vertebrae, study.result.vertebrae, strict=True):
        assert (found.level, found.visible, found.assessed) == (meant.level, meant.visible, meant.assessed)
        assert found.fracture_assessable == meant.fracture_assessable
        assert found.confidence == pytest.approx(meant.confidence, abs=1e-6)
        assert found.volume_mm3 == pytest.approx(meant.volume_mm3, abs=1e-3)
        if meant.fracture_probability is None:
            assert found.fracture_probability is None
        else:
            assert found.fracture_probability == pytest.approx(meant.fracture_probability, abs=1e-6)
        assert (found.box is None) == (meant.visible == "no")
        if found.box is not None:
            np.testing.assert_allclose(found.box.corners_ras(), meant.box.corners_ras(), atol=0.01)
    for found, meant in zip(report.fractures, study.result.fractures, strict=True):
        assert (found.id, found.level, found.status) == (meant.id, meant.level, meant.status)
        assert found.comment == meant.comment
        assert found.confidence == pytest.approx(meant.confidence, abs=1e-6)
        np.testing.assert_allclose(found.box.corners_ras(), meant.box.corners_ras(), atol=0.01)


def test_vertebrae_refer_to_their_segments(written) -> None:
    _, _, files, report = written
    segments = {item.SegmentNumber: item for item in pydicom.dcmread(files.seg).SegmentSequence}
    assert [item.SegmentLabel for item in segments.values()] == ["C1", "C2", "C3", "C5", "C7"]
    referred = {found.level: found.segment for found in report.vertebrae}
    assert {level: segments[number].SegmentLabel for level, number in referred.items() if number} == {
        level: level for level in ("C1", "C2", "C3", "C5")
    }


def test_dciodvfy_finds_no_error(written) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    files = written[2]
    assert valid(files.seg) == ""
    assert valid(files.sr) == ""


def test_dciodvfy_would_find_an_error(written, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    broken = pydicom.dcmread(written[2].sr)
    del broken.ContentDate
    broken.save_as(tmp_path / "broken.dcm")
    assert "ContentDate" in valid(tmp_path / "broken.dcm").replace(" ", "")


def test_only_a_straight_axial_series_gets_rectangles_for_slicer(written) -> None:
    name, study, files, _ = written
    report = pydicom.dcmread(files.sr)
    regions = [item for item in report.iterall() if item.keyword == "GraphicType" and item.value == "POLYLINE"]
    assert len(regions) == (2 if name in ("axial", "downwards", "missing slices") else 0)  # fracture-2 is rejected
    first = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    if regions:  # Slicer takes the first series of the evidence for that of the rectangles
        assert first.SeriesInstanceUID == study.result.volume.series_uid


def test_the_rectangle_encloses_the_box_on_its_slice(tmp_path: Path) -> None:
    from highdicom import sr

    study = lean(make_study(tmp_path / "series"))
    files = export_result(study.result, study.labels, study.folder, tmp_path / "out")
    group = sr.srread(files.sr).content.get_planar_roi_measurement_groups()[0]
    assert group.tracking_identifier == "fracture-1"
    ijk = study.volume.ijk_of(study.result.fractures[0].box.corners_ras())
    np.testing.assert_allclose(group.roi.value.min(axis=0), ijk.min(axis=0)[:2] + 0.5, atol=1e-3)
    np.testing.assert_allclose(group.roi.value.max(axis=0), ijk.max(axis=0)[:2] + 0.5, atol=1e-3)
    shown = group.roi.ContentSequence[0].referenced_sop_instance_uid
    assert abs(study.result.volume.sop_instance_uids.index(shown) - ijk[:, 2].mean()) <= 0.5


def test_the_same_export_gives_the_same_bytes_and_another_one_other_uids(tmp_path: Path) -> None:
    study = lean(make_study(tmp_path / "series"))
    first, second = (
        export_result(study.result, study.labels, study.folder, tmp_path / name, moment=MOMENT) for name in "ab"
    )
    assert first.seg.read_bytes() == second.seg.read_bytes()
    assert first.sr.read_bytes() == second.sr.read_bytes()
    source = read_source_series(study.folder, study.result.volume)
    later = make_segmentation(study.result, study.labels, source, Export.of(study.result, study.labels))
    before = pydicom.dcmread(first.seg)
    assert later.SOPInstanceUID != before.SOPInstanceUID
    assert later.SeriesInstanceUID != before.SeriesInstanceUID
    assert [item.TrackingUID for item in later.SegmentSequence] == [item.TrackingUID for item in before.SegmentSequence]


def test_patient_and_study_are_the_sources_and_nothing_is_said_of_them(tmp_path: Path, capfd, caplog) -> None:
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Grün^Jörg", "PatientID": "P-77", "PatientSex": "M"}
    study = lean(make_study(tmp_path / "series", tags=tags))
    with caplog.at_level(logging.DEBUG):
        files = export_result(study.result, study.labels, study.folder, tmp_path / "out")
    source = pydicom.dcmread(next(study.folder.iterdir()))
    for path in (files.seg, files.sr):
        written = pydicom.dcmread(path)
        assert (str(written.PatientName), written.PatientID, written.PatientSex) == ("Grün^Jörg", "P-77", "M")
        assert written.StudyInstanceUID == source.StudyInstanceUID
    said = caplog.text + "".join(capfd.readouterr())
    assert "P-77" not in said
    assert "Grün" not in said
    assert "Research use only, trained on synthetic CT" in str(pydicom.dcmread(files.seg).ContentDescription)
