"""The section "Radiograph": a picture to a class and a map, with a real worker and a small network."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from panel_fixtures import kept_worker
from PIL import Image
from scipy import ndimage

PROGRAM = Path(__file__).resolve().parent / "radiograph_program.py"


def soft_picture(shape=(150, 210)):
    grey = ndimage.gaussian_filter(np.random.default_rng(1).random(shape), 9.0)
    return (255 * (grey - grey.min()) / np.ptp(grey)).astype(np.uint8)


@pytest.fixture
def picture(tmp_path):
    """A wide picture with all shades."""
    Image.fromarray(soft_picture()).save(tmp_path / "neck.png")
    return tmp_path / "neck.png"


@pytest.fixture(scope="module")
def worker():
    """One worker for many panels."""
    yield from kept_worker([sys.executable, str(PROGRAM)])


class Section:
    """The section of an open panel, and its worker."""

    def __init__(self, opened, worker):
        self.opened, self.ui, self.scene = opened, opened.ui, opened.scene
        worker.serve(self.session)

    @property
    def session(self):
        return self.opened.panel.radiograph.session

    @property
    def told(self):
        return self.ui.radiographStatus.text

    def start_with(self, *program):
        """Another worker than the usual one."""
        self.session._client, self.session.command = None, lambda _device: [sys.executable, *program]

    def classify(self, path=None):
        if path is not None:
            self.ui.radiographPath.currentPath = str(path)
        self.ui.radiographButton.click()
        self.opened.wait(lambda: not self.session.is_busy)

    def nodes(self):
        from CSpineFractureLib.scene.radiograph_nodes import radiograph_of_scene

        return radiograph_of_scene(self.scene)


@pytest.fixture
def section(a_panel, slicer_program, worker):
    composite = slicer_program.vtkMRMLSliceCompositeNode()
    composite.SetLayoutName("Red")
    composite.SetSingletonTag("Red")
    a_panel.scene.AddNode(composite)
    return Section(a_panel, worker)


def red(section):
    return section.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")


def test_a_picture_gets_a_class_with_confidences_and_a_map_in_the_red_view(section, picture):
    view = section.scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    view.SetDimensions(400, 300, 1)
    section.classify(picture)
    nodes, ui = section.nodes(), section.ui
    found = nodes.result.radiograph
    assert f"neck: {found.kind}, confidence {found.probabilities[found.kind]:.2f}" in ui.radiographClass.text
    assert "synthetic radiographs" in ui.radiographClass.text
    shown = [ui.radiographNormal.value, ui.radiographFracture.value, ui.radiographDislocation.value]
    assert shown == [round(100 * found.probabilities[name]) for name in ("normal", "fracture", "dislocation")]
    assert ui.radiographResult.isVisibleTo(ui.radiographResult.parentWidget())
    assert red(section).GetBackgroundVolumeID() == nodes.picture.GetID()
    assert red(section).GetForegroundVolumeID() == nodes.saliency.GetID()
    assert view.GetFieldOfView()[0] >= 210
    assert view.GetFieldOfView()[1] >= 150


def test_the_picture_in_the_scene_is_what_was_read_and_the_map_lies_on_it(section, picture):
    from CSpineFractureLib.scene.arrays import image_array

    section.classify(picture)
    nodes = section.nodes()
    grey, saliency = (image_array(node.GetImageData()) for node in (nodes.picture, nodes.saliency))
    assert np.abs(grey[0] / 1000 - soft_picture() / 255).max() < 1e-3
    assert saliency.shape == grey.shape == (1, 150, 210)
    chance = max(nodes.result.radiograph.probabilities.values())
    assert 0.2 * 255 < saliency.max() <= 255 * chance + 1
    bounds = [[0.0] * 6, [0.0] * 6]
    nodes.picture.GetRASBounds(bounds[0])
    nodes.saliency.GetRASBounds(bounds[1])
    assert bounds[0] == bounds[1]


def test_the_slider_sets_how_strongly_the_map_covers_the_picture(section, picture):
    section.classify(picture)
    section.ui.saliencyOpacity.value = 0.8
    assert red(section).GetForegroundOpacity() == pytest.approx(0.8)


def test_the_ct_comes_back_when_the_picture_is_taken_off(section, picture):
    section.opened.analyse()
    from CSpineFractureLib.scene.read_back import nodes_of_scene

    ct = nodes_of_scene(section.scene)
    section.classify(picture)
    assert not any(box.GetDisplayNode().GetVisibility() for box in ct.boxes)
    section.ui.showSegments.checked = False  # a choice for the CT must not bring its boxes over the picture
    assert not any(box.GetDisplayNode().GetVisibility() for box in ct.boxes)
    section.ui.radiographShow.click()
    assert red(section).GetBackgroundVolumeID() == ct.volume.GetID()
    assert red(section).GetForegroundVolumeID() == ct.cam.GetID()
    assert all(box.GetDisplayNode().GetVisibility() for box in ct.boxes)
    section.ui.radiographShow.click()
    assert red(section).GetBackgroundVolumeID() == section.nodes().picture.GetID()
    section.opened.analyse()
    assert red(section).GetBackgroundVolumeID() == ct.volume.GetID()
    assert not section.ui.radiographShow.checked


def test_what_is_no_radiograph_warns(section, tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "holiday.png")
    section.classify(tmp_path / "holiday.png")
    assert "hardly a radiograph of the neck (it is in colour)" in section.ui.radiographClass.text


def test_without_weights_one_sentence_says_how_to_get_them(section, picture, tmp_path, monkeypatch):
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "models"))
    section.start_with("-m", "CSpineFractureLib.panel.radiograph_worker", "cpu")
    section.classify(picture)
    assert "'cspine train 001-radiograph'" in section.told
    assert "'cspine models install FILE'" in section.told
    assert section.nodes() is None
    assert section.ui.radiographButton.enabled


@pytest.mark.parametrize(("name", "told"), [("none.png", "does not exist"), ("empty.png", "is empty")])
def test_a_bad_file_is_told_in_one_sentence_and_the_scene_stays(section, tmp_path, name, told):
    (tmp_path / "empty.png").touch()
    before = section.scene.GetNumberOfNodes()
    section.classify(tmp_path / name)
    assert told in section.told
    assert section.scene.GetNumberOfNodes() == before


def test_cancel_within_a_second_leaves_the_scene_as_it_was(section, picture):
    section.start_with(str(PROGRAM), "30")
    before = section.scene.GetNumberOfNodes()
    section.ui.radiographPath.currentPath = str(picture)
    section.ui.radiographButton.click()
    assert section.ui.radiographButton.text == "Cancel"
    assert not section.ui.radiographPath.enabled
    section.opened.wait(lambda: "Loading the model" in section.told)
    pressed = time.monotonic()
    section.ui.radiographButton.click()
    section.opened.wait(lambda: not section.session.is_busy)
    assert time.monotonic() - pressed < 2.0
    assert section.told == "Cancelled. The scene is as it was."
    assert section.scene.GetNumberOfNodes() == before
    assert "Classify" in section.ui.radiographButton.text


def test_a_scene_closed_during_a_run_gets_nothing(section, picture):
    section.start_with(str(PROGRAM), "30")
    section.ui.radiographPath.currentPath = str(picture)
    section.ui.radiographButton.click()
    section.scene.Clear(False)
    section.opened.wait(lambda: not section.session.is_busy, 5.0)
    assert section.nodes() is None


def test_a_radiograph_in_the_scene_is_read_from_its_pixels(section):
    from CSpineFractureLib.scene.arrays import image_array
    from CSpineFractureLib.scene.volume_node import add_volume_node
    from CSpineFractureLib.volume.ct_volume import CTVolume

    grey = (soft_picture() * 16).astype(np.int16)[None]
    node = add_volume_node(section.scene, CTVolume(grey, np.diag([-0.2, -0.2, 1.0, 1.0])), "DX neck")
    section.ui.radiographPath.currentPath = "other.png"
    section.ui.radiographSelector.setCurrentNode(node)
    assert section.ui.radiographPath.currentPath == ""
    section.classify()
    shown = image_array(section.nodes().picture.GetImageData())[0] / 1000
    assert np.corrcoef(shown.ravel(), grey[0].ravel())[0, 1] > 0.99
    assert section.ui.radiographClass.text.startswith("DX neck: ")


def test_a_radiograph_from_the_database_is_read_from_its_file(section, slicer_program, picture, monkeypatch):
    from CSpineFractureLib.panel.radiograph_input import radiograph_file
    from CSpineFractureLib.scene.volume_node import add_volume_node
    from CSpineFractureLib.volume.ct_volume import CTVolume

    class Database:
        isOpen = True

        def fileForInstance(self, uid):
            return str(picture) if uid == "1.2.3" else ""

    monkeypatch.setattr(slicer_program, "dicomDatabase", Database(), raising=False)
    node = add_volume_node(section.scene, CTVolume(np.zeros((1, 40, 40), np.int16), np.eye(4)), "CR neck")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    assert radiograph_file(node, picture.parent / "none") == picture


def test_a_ct_is_refused_in_one_sentence(section):
    section.ui.radiographSelector.setCurrentNode(section.opened.node)
    section.classify()
    assert "holds 28 slices" in section.told


def test_a_saved_radiograph_is_there_again_in_another_scene(section, picture, tmp_path):
    from CSpineFractureLib.scene.files import load_scene, save_scene

    section.classify(picture)
    told = section.ui.radiographClass.text
    save_scene(section.scene, tmp_path / "scene.mrb")
    section.scene.Clear(False)
    assert not section.ui.radiographResult.isVisibleTo(section.ui.radiographResult.parentWidget())
    load_scene(section.scene, tmp_path / "scene.mrb")
    assert section.ui.radiographClass.text == told
    section.ui.radiographShow.click()
    assert red(section).GetForegroundVolumeID() == section.nodes().saliency.GetID()
