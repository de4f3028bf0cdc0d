"""A study's results as nodes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scene_study import GRIDS, make_study

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

import slicer
import vtk

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.cam_node import THRESHOLD, volume_rendering_of
from CSpineFractureLib.scene.colours import ALARM, CALM, NOT_JUDGED, suspicion_colour
from CSpineFractureLib.scene.hierarchy import FOLDER_NAME
from CSpineFractureLib.scene.terminology import level_terms
from CSpineFractureLib.scene.volume_node import add_volume_node


def segments_of(nodes) -> list:
    segmentation = nodes.segmentation.GetSegmentation()
    return [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]


def test_every_level_becomes_a_segment_with_name_code_colour_and_surface(a_scene, a_study) -> None:
    segments = segments_of(build_scene(a_scene, *a_study))
    assert [segment.GetName() for segment in segments] == list(LEVELS)
    for segment in segments:
        tag = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), tag)
        assert f"SCT^{level_terms()[segment.GetName()].type.value}^" in str(tag)
        np.testing.assert_allclose(segment.GetColor(), level_terms()[segment.GetName()].colour)
        assert segment.GetRepresentation("Closed surface").GetNumberOfPoints() > 50


def test_levels_without_voxels_get_no_segment(a_scene) -> None:
    nodes = build_scene(a_scene, *make_study(GRIDS["axial"], levels=("C3", "C5")))
    assert [segment.GetName() for segment in segments_of(nodes)] == ["C3", "C5"]


@pytest.mark.parametrize("name", GRIDS)
def test_surfaces_lie_where_the_bone_is_on_any_grid(a_scene, name: str) -> None:
    volume, output = make_study(GRIDS[name])
    nodes = build_scene(a_scene, volume, output)
    for number, segment in enumerate(segments_of(nodes), start=1):
        k, j, i = np.nonzero(output.labels == number)
        bone = volume.ras_of(np.stack([i, j, k], 1))
        bounds = np.array(segment.GetRepresentation("Closed surface").GetBounds()).reshape(3, 2)
        np.testing.assert_allclose(bounds.mean(axis=1), (bone.min(axis=0) + bone.max(axis=0)) / 2, atol=1.0)
        assert segment.GetRepresentation("Closed surface").GetNumberOfCells() > 0


def test_surfaces_face_outwards_on_a_mirrored_grid(a_scene) -> None:
    for name in ("axial", "mirrored"):
        nodes = build_scene(a_scene, *make_study(GRIDS[name]))
        surface = segments_of(nodes)[3].GetRepresentation("Closed surface")
        middle = np.array(surface.GetCenter())
        points = np.array([surface.GetPoint(index) for index in range(surface.GetNumberOfPoints())])
        normals = surface.GetPointData().GetNormals()
        outward = np.array([normals.GetTuple(index) for index in range(len(points))])
        assert np.mean(((points - middle) * outward).sum(axis=1) > 0) > 0.95, name


def test_boxes_are_named_coloured_and_locked(a_scene, a_study) -> None:
    nodes = build_scene(a_scene, *a_study)
    assert [box.GetName() for box in nodes.boxes] == [*LEVELS, "C4 fracture 0.83"]
    assert all(box.GetLocked() and not box.GetDisplayNode().GetHandlesInteractive() for box in nodes.boxes)
    colours = {box.GetName(): box.GetDisplayNode().GetSelectedColor() for box in nodes.boxes}
    np.testing.assert_allclose(colours["C7"], NOT_JUDGED)
    np.testing.assert_allclose(colours["C4"], suspicion_colour(0.83))
    np.testing.assert_allclose(colours["C1"], suspicion_colour(0.1))


def test_suspicion_runs_from_calm_to_alarm_and_stays_within() -> None:
    assert suspicion_colour(0) == CALM
    np.testing.assert_allclose(suspicion_colour(1), ALARM)
    assert suspicion_colour(1.7) == suspicion_colour(1)
    assert suspicion_colour(None) == NOT_JUDGED


def test_grad_cam_is_the_foreground_above_its_threshold_and_rendered_in_3d(a_scene, a_study) -> None:
    nodes = build_scene(a_scene, *a_study)
    display = nodes.cam.GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == THRESHOLD
    assert display.GetColorNode().GetNumberOfColors() == 256
    rendering = volume_rendering_of(nodes.cam)
    assert rendering.GetVisibility()
    opacity = rendering.GetVolumePropertyNode().GetScalarOpacity()
    assert opacity.GetValue(THRESHOLD) == 0
    assert opacity.GetValue(250) > opacity.GetValue(120) > 0
    composites = [
        a_scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        for index in range(a_scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode"))
    ]
    assert {composite.GetBackgroundVolumeID() for composite in composites} == {nodes.volume.GetID()}
    assert {composite.GetForegroundVolumeID() for composite in composites} == {nodes.cam.GetID()}


def test_a_study_without_cam_and_fracture_has_neither(a_scene) -> None:
    nodes = build_scene(a_scene, *make_study(GRIDS["axial"], fractured=False, cam=False))
    assert nodes.cam is None
    assert nodes.fracture_boxes == []
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLVolumePropertyNode") == 0


def test_a_study_without_any_vertebra_still_makes_a_scene(a_scene) -> None:
    nodes = build_scene(a_scene, *make_study(GRIDS["axial"], fractured=False, cam=False, levels=()))
    assert segments_of(nodes) == []
    assert nodes.boxes == []
    assert nodes.table.GetNumberOfRows() == len(LEVELS)


def test_the_table_has_a_row_per_level_and_per_fracture(a_scene, a_study) -> None:
    table = build_scene(a_scene, *a_study).table
    assert table.GetNumberOfRows() == 8
    columns = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    row = {title: table.GetCellText(3, index) for index, title in enumerate(columns)}
    assert (row["level"], row["fracture probability"], row["assessment"]) == ("C4", "0.830", "fracture suspected")
    assert table.GetCellText(6, columns.index("assessment")).startswith("not assessed: C7 is cut")
    assert table.GetCellText(7, columns.index("finding")) == "suspected fracture"
    assert table.GetCellText(7, columns.index("fracture probability")) == "not applicable"


def test_results_stand_under_the_ct_and_under_its_transform(a_scene, a_study) -> None:
    volume, output = a_study
    ct = add_volume_node(a_scene, volume, "Neck")
    transform = a_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ct.SetAndObserveTransformNodeID(transform.GetID())
    nodes = build_scene(a_scene, volume, output, ct)
    assert nodes.volume is ct
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(a_scene)
    folders = {FOLDER_NAME}
    for node in (nodes.segmentation, nodes.cam, nodes.table, *nodes.boxes):
        above, item = [], hierarchy.GetItemByDataNode(node)
        while item != hierarchy.GetSceneItemID():
            item = hierarchy.GetItemParent(item)
            above.append(hierarchy.GetItemName(item))
        assert "Neck" in above
        assert folders & set(above)
    for node in (nodes.segmentation, nodes.cam, *nodes.boxes):
        assert node.GetParentTransformNode() is transform


def test_two_studies_in_one_scene_keep_apart(a_scene, a_study) -> None:
    from CSpineFractureLib.scene.read_back import nodes_of_scene, studies_in

    first = build_scene(a_scene, *a_study)
    volume, output = make_study(GRIDS["flipped"], fractured=False)
    output.result.id = "study-2"
    build_scene(a_scene, volume, output)
    assert studies_in(a_scene) == ["study-1", "study-2"]
    assert nodes_of_scene(a_scene, "study-1").boxes == first.boxes
    assert nodes_of_scene(a_scene).fracture_boxes == []


def test_labels_of_another_grid_are_refused(a_scene, a_study) -> None:
    volume, output = a_study
    output.labels = output.labels[:-1]
    with pytest.raises(ValueError, match="do not fit"):
        build_scene(a_scene, volume, output)


def test_building_a_scene_says_nothing_on_the_console(a_scene, capfd) -> None:
    for name, matrix in GRIDS.items():
        build_scene(a_scene, *make_study(matrix, fractured=name != "axial"))
    assert capfd.readouterr() == ("", "")


def test_networks_can_be_loaded_after_the_slicer_libraries():
    """One process may draw first and compute afterwards; triton's import used to crash it."""
    program = (
        "from CSpineFractureLib.scene.headless import headless_app; headless_app();"
        "from CSpineFractureLib.models.yolo import build_yolo; build_yolo('yolov8n', 1, 1); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip().endswith("alive"), done.stderr[-2000:]
