"""From nodes back to arrays and boxes."""

from __future__ import annotations

import numpy as np
import pytest
from scene_study import GRIDS, SHAPE, make_study

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import Box
from CSpineFractureLib.scene.arrays import image_data
from CSpineFractureLib.scene.boxes_node import box_of_node
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.read_back import labels_of_node, nodes_of_scene, studies_in
from CSpineFractureLib.scene.volume_node import add_volume_node, volume_of_node


def test_segments_come_back_on_a_grid_stored_the_other_way_round(a_scene) -> None:
    volume, output = make_study(GRIDS["oblique"])
    nodes = build_scene(a_scene, volume, output)
    flipped = np.array(volume.ijk_to_ras)
    flipped[:3, 3] += flipped[:3, :3] @ [SHAPE[2] - 1, 0, SHAPE[0] - 1]
    flipped[:3, [0, 2]] *= -1
    labels = labels_of_node(nodes.segmentation, SHAPE, flipped)
    np.testing.assert_array_equal(labels[::-1, :, ::-1], output.labels)


def test_segments_come_back_on_a_finer_grid(a_scene) -> None:
    volume, output = make_study(GRIDS["axial"])
    nodes = build_scene(a_scene, volume, output)
    finer = np.array(volume.ijk_to_ras)
    finer[:3, 3] -= finer[:3, 2] / 4
    finer[:3, 2] /= 2
    labels = labels_of_node(nodes.segmentation, (2 * SHAPE[0], *SHAPE[1:]), finer)
    np.testing.assert_array_equal(labels, output.labels.repeat(2, axis=0))


def test_a_moved_box_comes_back_as_it_stands_now(a_scene, a_study) -> None:
    node = build_scene(a_scene, *a_study).fracture_boxes[0]
    before = box_of_node(node)
    node.SetCenter(np.add(before.center_ras, [1.0, -2.0, 3.0]))
    node.SetSize(11.0, 12.0, 13.0)
    after = box_of_node(node)
    np.testing.assert_allclose(np.subtract(after.center_ras, before.center_ras), [1, -2, 3], atol=1e-6)
    np.testing.assert_allclose(after.size_mm, [11, 12, 13])
    np.testing.assert_allclose(after.axes, before.axes, atol=1e-9)


def test_a_box_with_mirrored_axes_is_the_same_box(a_scene) -> None:
    volume, output = make_study(GRIDS["mirrored"])
    box: Box = output.result.vertebrae[2].box
    assert np.linalg.det(box.axes) < 0
    node = build_scene(a_scene, volume, output).vertebra_boxes[2]
    assert np.linalg.det(box_of_node(node).axes) > 0
    np.testing.assert_allclose(box_of_node(node).hull_ras(), box.hull_ras(), atol=1e-6)
    bounds = np.zeros(6)
    node.GetBounds(bounds)
    np.testing.assert_allclose(bounds.reshape(3, 2).T, box.hull_ras(), atol=1e-3)


def test_copies_that_the_user_makes_are_no_findings(a_scene, a_study) -> None:
    nodes = build_scene(a_scene, *a_study)
    for node in (nodes.segmentation, nodes.fracture_boxes[0]):
        copy = a_scene.AddNewNodeByClass(node.GetClassName(), "copy")
        copy.Copy(node)  # with its attributes, by which our nodes are found
    again = nodes_of_scene(a_scene)
    assert studies_in(a_scene) == [a_study[1].result.id]
    assert again.segmentation is nodes.segmentation
    assert again.boxes == nodes.boxes


@pytest.mark.parametrize("name", GRIDS)
def test_a_volume_comes_back_from_its_node(name: str, a_scene) -> None:
    volume, _ = make_study(GRIDS[name])
    again = volume_of_node(add_volume_node(a_scene, volume))
    np.testing.assert_array_equal(again.hu, volume.hu)
    np.testing.assert_allclose(again.ijk_to_ras, volume.ijk_to_ras, atol=1e-9)


def test_a_volume_of_floats_is_rounded_and_clipped(a_scene, a_study) -> None:
    node = add_volume_node(a_scene, a_study[0])
    values = np.array([[[-1000.4, 99.6, np.nan, 1e6]]], np.float32)
    node.SetAndObserveImageData(image_data(values))
    assert volume_of_node(node).hu.ravel().tolist() == [-1000, 100, -1024, 32767]


def test_a_node_without_voxels_is_refused(a_scene) -> None:
    node = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(UserError, match='"empty" holds no voxels'):
        volume_of_node(node)


def test_a_scene_without_results_says_so(a_scene, a_study) -> None:
    with pytest.raises(UserError, match="holds no CSpineFracture results"):
        nodes_of_scene(a_scene)
    build_scene(a_scene, *a_study)
    with pytest.raises(UserError, match="holds no CSpineFracture results"):
        nodes_of_scene(a_scene, "another study")
