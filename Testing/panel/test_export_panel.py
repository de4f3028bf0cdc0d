"""The section "DICOM and report": the corrected study as DICOM and as a page, on real MRML and real DICOM files."""

from __future__ import annotations

import errno
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "dicom"))

sys.path.append(str(Path(__file__).resolve().parents[1] / "volume"))

from dicom_maker import axial_matrix, make_ct_phantom, make_dicom_series
from dicom_study import make_study

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.volume.ct_volume import CTVolume

PATIENT = "Testperson^Erika"


class Database:
    """Where Slicer's DICOM database says that the files are."""

    isOpen = True

    def __init__(self, files):
        self.files = files

    def fileForInstance(self, uid):
        return str(self.files.get(uid, ""))


class Here:
    """The panel with one analysed CT, whose DICOM files lie in ``source``."""

    def __init__(self, opened, source, study, node, monkeypatch):
        self.opened, self.source, self.study, self.node, self.monkeypatch = opened, source, study, node, monkeypatch
        self.ui, self.scene = opened.ui, opened.scene

    @property
    def said(self):
        return self.ui.exportStatus.text

    def node_files(self):
        return known(self.source.folder.iterdir()).items()

    def press(self, button, place):
        for name in ("choose_folder", "choose_page"):
            self.monkeypatch.setattr(f"CSpineFractureLib.panel.export_panel.{name}", lambda _title: str(place))
        getattr(self.ui, button).click()

    def export(self, folder):
        self.press("exportDicomButton", folder)
        return next(iter(folder.glob("cspine-*")), None) if folder.is_dir() else None


def known(files):
    from pydicom import dcmread

    return {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("ct") / "series", tags={"PatientName": PATIENT, "PatientID": "4711"})


@pytest.fixture
def here(slicer_program, source, monkeypatch):
    """As Slicer loads it: the voxels without identifiers, and the attribute that names the files; k runs down here."""
    from panel_fixtures import fake_worker

    from CSpineFractureLib.panel.self_test_panel import OpenPanel
    from CSpineFractureLib.scene.build import build_scene
    from CSpineFractureLib.scene.volume_node import add_volume_node

    uids = known(source.folder.iterdir())
    turned = np.array(source.volume.ijk_to_ras)
    turned[:3, 3] += turned[:3, 2] * (source.volume.shape_kji[0] - 1)
    turned[:3, 2] *= -1
    volume = CTVolume(source.volume.hu[::-1].copy(), turned)
    info = replace(source.result.volume, ijk_to_ras=turned.tolist(), series_uid=None, frame_of_reference_uid=None)
    result = replace(source.result, volume=replace(info, sop_instance_uids=None))
    node = add_volume_node(slicer_program.mrmlScene, volume, "neck")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    monkeypatch.setattr(slicer_program, "dicomDatabase", Database(uids), raising=False)
    build_scene(slicer_program.mrmlScene, volume, StudyOutput(result, source.labels[::-1].copy()), node)
    with OpenPanel(slicer_program.mrmlScene, fake_worker) as opened:
        yield Here(opened, source, result, node, monkeypatch)


def test_what_is_exported_is_the_corrected_scene(here, tmp_path):
    from CSpineFractureLib.dicom.read_back import read_report, read_segmentation
    from CSpineFractureLib.scene.boxes_node import box_of_node
    from CSpineFractureLib.scene.corrections import Corrections
    from CSpineFractureLib.scene.read_back import labels_of_node, nodes_of_scene

    corrections = Corrections(here.scene)
    corrections.accept("fracture-2")
    corrections.comment("fracture-2", "seen on MR, too")
    corrections.delete("fracture-3")
    moved = next(box for box in corrections.nodes.boxes if box.GetAttribute("CSpineFracture.FindingID") == "fracture-1")
    moved.SetCenter(*np.add(moved.GetCenter(), (2.0, -3.0, 1.5)))
    folder = here.export(tmp_path)
    assert here.said == f"Written: {folder}."
    report, nodes = read_report(folder / "sr.dcm"), nodes_of_scene(here.scene)
    corrected = Corrections(here.scene).result
    assert [one.id for one in report.fractures] == ["fracture-1", "fracture-2"]
    assert [(one.status, one.comment) for one in report.fractures[1:]] == [("accepted", "seen on MR, too")]
    stands = box_of_node(moved)
    assert np.allclose(report.fractures[0].box.corners_ras().mean(axis=0), stands.center_ras, atol=0.01)
    told = {one.level: one.fracture_probability for one in report.vertebrae}
    for one in corrected.vertebrae:
        assert told[one.level] == pytest.approx(one.fracture_probability, abs=1e-5)
    grid = corrected.volume
    shown = labels_of_node(nodes.segmentation, tuple(grid.shape_kji), np.array(grid.ijk_to_ras))
    assert np.array_equal(read_segmentation(folder / "seg.dcm", grid), shown)
    assert np.array_equal(shown[::-1], here.source.labels)


def test_each_frame_refers_to_the_image_it_lies_on(here, tmp_path):
    from pydicom import dcmread

    segmentation = dcmread(here.export(tmp_path) / "seg.dcm")
    places = {str(uid): dcmread(file).ImagePositionPatient for uid, file in here.node_files()}
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, places[str(image)], atol=1e-3)
    assert segmentation.PatientID == "4711"


def test_files_that_lie_apart_are_found_too(here, tmp_path, slicer_program):
    apart = {}
    for number, (uid, file) in enumerate(here.node_files()):
        apart[uid] = tmp_path / "cd" / str(number) / file.name
        apart[uid].parent.mkdir(parents=True)
        shutil.copyfile(file, apart[uid])
    here.monkeypatch.setattr(slicer_program, "dicomDatabase", Database(apart))
    assert (here.export(tmp_path / "out") / "seg.dcm").is_file()


def test_a_folder_that_is_named_takes_the_place_of_the_database(here, tmp_path, slicer_program):
    here.monkeypatch.setattr(slicer_program, "dicomDatabase", None)
    here.ui.dicomSourcePath.currentPath = str(here.source.folder)
    assert (here.export(tmp_path) / "sr.dcm").is_file()


@pytest.mark.parametrize("missing", ["no database", "no attribute", "files gone", "folder gone", "another place"])
def test_without_its_images_one_sentence_says_what_is_missing(here, tmp_path, slicer_program, missing):
    expected = "does not come from Slicer's DICOM database"
    if missing == "no database":
        here.monkeypatch.setattr(slicer_program, "dicomDatabase", None)
    elif missing == "no attribute":
        here.node.SetAttribute("DICOM.instanceUIDs", None)
    elif missing == "files gone":
        gone = {uid: tmp_path / "gone" / file.name for uid, file in here.node_files()}
        here.monkeypatch.setattr(slicer_program, "dicomDatabase", Database(gone))
        expected = "24 of the 24 DICOM files"
    elif missing == "folder gone":
        here.ui.dicomSourcePath.currentPath, expected = str(tmp_path / "none"), "does not exist"
    else:
        make_study(tmp_path / "other", matrix=np.diag([-1.0, -1.0, 2.0, 1.0]) + np.eye(4, k=3) * 900)
        here.ui.dicomSourcePath.currentPath, expected = str(tmp_path / "other"), "does not lie where"
    assert here.export(tmp_path / "out") is None
    assert expected in here.said
    assert here.said.count(". ") == 0
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_half_written(here, tmp_path):
    from pydicom.dataset import Dataset

    whole = Dataset.save_as

    def full(self, path, **options):
        whole(self, path, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    here.monkeypatch.setattr(Dataset, "save_as", full)
    here.export(tmp_path / "out")
    assert "No space left on device" in here.said
    assert not any(tmp_path.rglob("*.dcm"))
    assert here.ui.exportDicomButton.enabled


def test_a_place_that_cannot_be_written_is_named(here, tmp_path):
    (tmp_path / "file").write_text("mine")
    here.press("exportDicomButton", tmp_path / "file")
    assert "cannot be written" in here.said
    here.press("reportButton", tmp_path / "none" / "page.html")
    assert "could not be written" in here.said
    assert (tmp_path / "file").read_text() == "mine"
    assert not here.ui.openReportButton.enabled


def test_a_missing_highdicom_is_told_in_plain_words(here, tmp_path):
    class NoHighdicom:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "highdicom":
                message = f"No module named {name!r}"
                raise ModuleNotFoundError(message, name=name)

    here.monkeypatch.setattr(sys, "meta_path", [NoHighdicom(), *sys.meta_path])
    for name in [name for name in sys.modules if name.startswith(("highdicom", "CSpineFractureLib.dicom"))]:
        here.monkeypatch.delitem(sys.modules, name)
    here.export(tmp_path)
    assert "The Python package highdicom is not installed" in here.said


def test_what_is_exported_can_go_into_the_database(here, tmp_path, slicer_program):
    taken = []
    utils = types.SimpleNamespace(importDicom=lambda *arguments: taken.append(arguments) or True)
    here.monkeypatch.setitem(sys.modules, "DICOMLib", types.SimpleNamespace(DICOMUtils=utils))
    here.ui.exportToDatabase.checked = True
    folder = here.export(tmp_path)
    assert taken == [(str(folder), slicer_program.dicomDatabase, True)]
    assert "in the study of the CT" in here.said


def test_results_stand_under_the_study_of_the_ct(slicer_program, source):
    from CSpineFractureLib.scene.build import build_scene
    from CSpineFractureLib.scene.volume_node import add_volume_node

    scene = slicer_program.mrmlScene
    hierarchy = slicer_program.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    node = add_volume_node(scene, source.volume, "neck")
    hierarchy.CreateItem(study, node)
    nodes = build_scene(scene, source.volume, StudyOutput(source.result, source.labels), node)
    for one in (nodes.segmentation, nodes.table, *nodes.boxes):
        item = hierarchy.GetItemByDataNode(one)
        assert hierarchy.GetItemAncestorAtLevel(item, "Study") == study, one.GetName()


def test_the_report_holds_the_table_and_nobodys_name(here, tmp_path):
    here.press("reportButton", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert here.said == f"Written: {tmp_path / 'page.html'}."
    assert '<th scope="row">C5</th>' in page
    assert "0.123" in page
    assert "Testperson" not in page
    assert "4711" not in page


def test_the_report_names_the_patient_only_when_asked(here, tmp_path):
    here.ui.reportPatient.checked = True
    here.press("reportButton", tmp_path / "page")
    assert PATIENT in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_report_shows_the_views_as_they_are_without_corner_texts(here, tmp_path, slicer_program):
    texts = types.SimpleNamespace(sliceViewAnnotationsEnabled=True, updateSliceViewFromGUI=lambda: None)
    probe = types.SimpleNamespace(infoWidget=types.SimpleNamespace(sliceAnnotations=texts))
    here.monkeypatch.setattr(slicer_program, "modules", types.SimpleNamespace(DataProbeInstance=probe), raising=False)
    png = bytes.fromhex("89504e470d0a1a0a")

    class Capture:
        def captureImageFromView(self, view, name):
            Path(name).write_bytes(png + f"{view} {texts.sliceViewAnnotationsEnabled}".encode())

    here.monkeypatch.setitem(sys.modules, "ScreenCapture", types.SimpleNamespace(ScreenCaptureLogic=Capture))

    def slice_widget(name):
        return types.SimpleNamespace(visible=name == "Yellow", sliceView=lambda: name)

    space = types.SimpleNamespace(threeDView=lambda: "space")
    layout = types.SimpleNamespace(sliceWidget=slice_widget, threeDViewCount=1, threeDWidget=lambda _number: space)
    here.monkeypatch.setattr(slicer_program.app, "layoutManager", lambda: layout)
    from CSpineFractureLib.panel.key_images import key_images

    pictures = key_images()
    assert {name: one[8:].decode() for name, one in pictures.items()} == {
        "sagittal": "Yellow False",
        "three_d": "space False",
    }
    assert texts.sliceViewAnnotationsEnabled
    here.press("reportButton", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<figure>") == 2


def test_the_report_opens_in_the_browser(here, tmp_path):
    from PySide6.QtGui import QDesktopServices

    opened = []
    here.monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    assert not here.ui.openReportButton.enabled
    here.press("reportButton", tmp_path / "page.html")
    here.ui.openReportButton.click()
    assert opened == [str(tmp_path / "page.html")]
    (tmp_path / "page.html").unlink()
    here.ui.openReportButton.click()
    assert "could not be opened" in here.said


def test_nothing_can_be_exported_before_the_reader_has_read(here):
    here.opened.panel.parameters.hideUntilRead = True
    assert not here.ui.reportButton.enabled
    assert here.said == "Read the CT first."
    here.ui.readButton.click()
    assert here.ui.reportButton.enabled
    assert here.said == ""


def test_an_analysis_makes_the_buttons_ready(a_panel):
    assert not a_panel.ui.exportDicomButton.enabled
    a_panel.analyse()
    assert a_panel.ui.exportDicomButton.enabled
    a_panel.scene.Clear(False)
    assert not a_panel.ui.exportDicomButton.enabled


@pytest.mark.parametrize("multiframe", [False, True])
def test_the_thickness_of_slices_is_known_by_the_database(slicer_program, monkeypatch, tmp_path, multiframe):
    from CSpineFractureLib.panel.input_check import checked_volume
    from CSpineFractureLib.panel.self_test_panel import add_block

    make_dicom_series(tmp_path / "ct", make_ct_phantom(), axial_matrix(), multiframe=multiframe)
    files = known((tmp_path / "ct").iterdir())
    node = add_block(slicer_program.mrmlScene)
    monkeypatch.setattr(slicer_program, "dicomDatabase", Database(files), raising=False)
    assert checked_volume(node).slice_thickness_mm is None
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    assert checked_volume(node).slice_thickness_mm == pytest.approx(axial_matrix()[2, 2])
    node.SetAttribute("DICOM.instanceUIDs", "1.2.4")
    assert checked_volume(node).slice_thickness_mm is None
