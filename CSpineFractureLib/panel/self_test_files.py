"""Checks of what the panel writes and reads as files: DICOM, the report and radiographs. See ``self_test``."""

from __future__ import annotations

import importlib.util
import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.self_test_panel import IJK_TO_RAS, OpenPanel, add_block, block_hu, radiograph_worker
from CSpineFractureLib.scene.radiograph_nodes import radiograph_of_scene
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result

PATIENT = "Selftest"


def need(*modules: str) -> None:
    """Raise ``SkipTest`` that names the first of these modules that is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            message = f"The Python package {module} is not installed."
            raise unittest.SkipTest(message)


def analysed(opened: OpenPanel) -> None:
    """Analyse a CT in the open panel."""
    opened.pretend()
    opened.panel.parameters.inputVolume = add_block(opened.scene)
    opened.analyse()
    assert opened.ui.exportDicomButton.enabled, opened.ui.statusLabel.text


def check_dicom_export(scene: slicer.vtkMRMLScene) -> None:
    """An analysis is written as DICOM SEG and SR beside its CT images, and read again."""
    need("highdicom", "pydicom", "SimpleITK")
    from CSpineFractureLib.datasets.dicom_write import write_dicom_series
    from CSpineFractureLib.dicom.read_back import read_report, read_segmentation

    with OpenPanel(scene) as opened, tempfile.TemporaryDirectory(prefix="cspine-") as place:
        analysed(opened)
        folder, told = Path(place), ""
        try:
            opened.panel.export.export(folder / "out")
        except UserError as error:
            told = str(error)
        assert "Source" in told, told
        assert not (folder / "out").exists()
        write_dicom_series(folder / "ct", block_hu(), IJK_TO_RAS, "self-test", patient=PATIENT)
        opened.ui.dicomSourcePath.currentPath = str(folder / "ct")
        told = opened.panel.export.export(folder / "out")
        written = next((folder / "out").iterdir())
        assert str(written) in told
        result = stored_result(nodes_of_scene(scene))
        labels = read_segmentation(written / "seg.dcm", result.volume)
        assert set(np.unique(labels)) == set(range(8))
        report = read_report(written / "sr.dcm")
        assert [one.level for one in report.fractures] == ["C2"]
        chances = {one.level: one.fracture_probability for one in report.vertebrae}
        assert abs(chances["C2"] - 0.9) < 1e-3, chances
        opened.panel.export.write_report(folder / "report.html")
        assert PATIENT not in (folder / "report.html").read_text(encoding="utf-8")


def check_report(scene: slicer.vtkMRMLScene) -> None:
    """An analysis is written as a page with the table and the suspected fracture."""
    with OpenPanel(scene) as opened, tempfile.TemporaryDirectory(prefix="cspine-") as place:
        analysed(opened)
        path = Path(place) / "report.html"
        opened.panel.export.write_report(path)
        page = path.read_text(encoding="utf-8")
        assert page.count('<th scope="row">') >= 7
        assert "0.900" in page
        assert "Research use only" in page


def check_radiograph(scene: slicer.vtkMRMLScene) -> None:
    """A picture gets a class, confidences and a map; undoing its show gives the red view back."""
    need("PIL")
    from PIL import Image

    with OpenPanel(scene) as opened, tempfile.TemporaryDirectory(prefix="cspine-") as place:
        opened.panel.radiograph.session.command = radiograph_worker
        path = Path(place) / "neck.png"
        Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8), (90, 1))).save(path)
        composite = scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
        before = None if composite is None else composite.GetBackgroundVolumeID()
        opened.ui.radiographPath.currentPath = str(path)
        assert opened.ui.radiographButton.enabled
        opened.ui.radiographButton.click()
        opened.wait(lambda: not opened.panel.radiograph.session.is_busy)
        nodes = radiograph_of_scene(scene)
        assert nodes is not None, opened.ui.radiographStatus.text
        assert nodes.picture.GetImageData().GetDimensions() == (120, 90, 1)
        assert "neck: fracture, confidence 0.70" in opened.ui.radiographClass.text
        bars = (opened.ui.radiographNormal, opened.ui.radiographFracture, opened.ui.radiographDislocation)
        assert [bar.value for bar in bars] == [20, 70, 10]
        if composite is not None:
            assert composite.GetBackgroundVolumeID() == nodes.picture.GetID()
            opened.ui.radiographShow.checked = False
            assert composite.GetBackgroundVolumeID() == before
