"""Scenes and nodes as files, and back."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scene_study import GRIDS, make_study

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, StudyResult
from CSpineFractureLib.scene import files
from CSpineFractureLib.scene.boxes_node import box_of_node
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.cam_node import volume_rendering_of
from CSpineFractureLib.scene.headless import headless_slicer
from CSpineFractureLib.scene.read_back import boxes_by_finding, cam_of_node, labels_of_node, nodes_of_scene
from CSpineFractureLib.scene.volume_node import volume_of_node

TOLERANCE_MM = 0.1


@pytest.mark.parametrize("name", GRIDS)
def test_a_reloaded_scene_agrees_with_result_json(name: str, an_app, tmp_path: Path, capfd) -> None:
    volume, output = make_study(GRIDS[name])
    build_scene(an_app.scene, volume, output)
    bundle = files.save_scene(an_app.scene, tmp_path / "scene.mrb")
    result = StudyResult.from_dict(json.loads(json.dumps(output.result.to_dict())))
    with headless_slicer() as app:
        files.load_scene(app.scene, bundle)
        nodes = nodes_of_scene(app.scene)
        labels = labels_of_node(nodes.segmentation, tuple(result.volume.shape_kji), np.array(result.volume.ijk_to_ras))
        np.testing.assert_array_equal(labels, output.labels)
        boxes = boxes_by_finding(nodes)
        assert set(boxes) == {finding.id for finding in (*result.vertebrae, *result.fractures)}
        for finding in (*result.vertebrae, *result.fractures):
            np.testing.assert_allclose(boxes[finding.id].hull_ras(), finding.box_ras, atol=TOLERANCE_MM)
            np.testing.assert_allclose(boxes[finding.id].center_ras, finding.box.center_ras, atol=TOLERANCE_MM)
            assert distance(boxes[finding.id].corners_ras(), finding.box.corners_ras()) < TOLERANCE_MM
        cam, matrix = cam_of_node(nodes.cam)
        np.testing.assert_array_equal(on_grid(cam, matrix, output.cam.shape, output.cam_ijk_to_ras), output.cam)
        again = volume_of_node(nodes.volume)
        np.testing.assert_array_equal(
            on_grid(again.hu, again.ijk_to_ras, volume.hu.shape, volume.ijk_to_ras), volume.hu
        )
    assert capfd.readouterr() == ("", "")


def on_grid(array: np.ndarray, matrix: np.ndarray, shape_kji: tuple[int, ...], grid: np.ndarray) -> np.ndarray:
    """An array's values at the voxels of another grid, which must coincide with its own within the tolerance.

    Slicer reads a mirrored volume with its slices in the opposite order: another array, the same place in space.
    """
    k, j, i = np.indices(shape_kji)
    voxels = np.stack([i, j, k, np.ones_like(i)]).reshape(4, -1)
    at = np.linalg.inv(matrix) @ grid @ voxels
    whole = np.rint(at)
    assert np.linalg.norm((matrix @ (at - whole))[:3], axis=0).max() < TOLERANCE_MM
    i, j, k = whole[:3].astype(int)
    assert array.shape == shape_kji
    return array[k, j, i].reshape(shape_kji)


def distance(points: np.ndarray, others: np.ndarray) -> float:
    """The largest distance (mm) from a point to the nearest of the others: corners may be listed in another order."""
    return np.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1).max()


def test_a_reloaded_scene_looks_as_it_did(an_app, a_study, tmp_path: Path) -> None:
    build_scene(an_app.scene, *a_study)
    bundle = files.save_scene(an_app.scene, tmp_path / "scene.mrb")
    with headless_slicer() as app:
        files.load_scene(app.scene, bundle)
        nodes = nodes_of_scene(app.scene)
        segment = nodes.segmentation.GetSegmentation().GetSegment("C3")
        np.testing.assert_allclose(segment.GetColor(), (0, 158 / 255, 115 / 255), atol=1e-3)
        assert segment.GetRepresentation("Closed surface").GetNumberOfPoints() > 50
        assert nodes.cam.GetDisplayNode().GetColorNode().GetName() == "Grad-CAM colours"
        assert nodes.cam.GetDisplayNode().GetApplyThreshold()
        assert volume_rendering_of(nodes.cam).GetVisibility()
        assert nodes.table.GetNumberOfRows() == 8
        assert [box.GetLocked() for box in nodes.boxes] == [1] * 8
        composite = app.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
        assert composite.GetForegroundVolumeID() == nodes.cam.GetID()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(app.scene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.segmentation))
        assert hierarchy.GetItemDataNode(hierarchy.GetItemParent(folder)) is nodes.volume


def test_a_bundle_keeps_no_path_of_the_machine_and_no_half_file(an_app, a_study, tmp_path: Path) -> None:
    build_scene(an_app.scene, *a_study)
    files.save_scene(an_app.scene, tmp_path / "scene.mrb")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]
    with zipfile.ZipFile(tmp_path / "scene.mrb") as bundle:
        (description,) = (name for name in bundle.namelist() if name.endswith(".mrml"))
        assert str(tmp_path) not in bundle.read(description).decode()


@pytest.mark.parametrize("name", GRIDS)
def test_seg_nrrd_has_the_cts_grid_and_slicers_segment_names(name: str, a_scene, tmp_path: Path) -> None:
    volume, output = make_study(GRIDS[name])
    nodes = build_scene(a_scene, volume, output)
    image = sitk.ReadImage(str(files.write_segmentation(nodes, tmp_path / "vertebrae.seg.nrrd")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), output.labels)
    np.testing.assert_allclose(ras_matrix(image), volume.ijk_to_ras, atol=1e-4)
    about = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert [about[f"Segment{index}_Name"] for index in range(7)] == list(LEVELS)
    assert "SCT^5329002^C4 vertebra" in about["Segment3_Tags"]
    assert about["Segment3_ColorAutoGenerated"] == "0"


def test_a_segmentation_without_segments_is_written_too(a_scene, tmp_path: Path) -> None:
    nodes = build_scene(a_scene, *make_study(GRIDS["axial"], fractured=False, cam=False, levels=()))
    assert files.write_segmentation(nodes, tmp_path / "vertebrae.seg.nrrd").is_file()
    assert files.write_cam(nodes, tmp_path / "gradcam.nrrd") is None
    assert json.loads(files.write_boxes(nodes, tmp_path / "boxes.mrk.json").read_text())["markups"] == []
    files.save_scene(a_scene, tmp_path / "scene.mrb")


def test_boxes_mrk_json_opens_in_slicer_as_one_roi_per_box(an_app, a_study, tmp_path: Path) -> None:
    nodes = build_scene(an_app.scene, *a_study)
    wanted = {node.GetName(): box_of_node(node) for node in nodes.boxes}
    path = files.write_boxes(nodes, tmp_path / "boxes.mrk.json")
    with headless_slicer() as app:
        app.markups_logic._logic.LoadMarkups(str(path))
        loaded = [
            app.scene.GetNthNodeByClass(index, "vtkMRMLMarkupsROINode")
            for index in range(app.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"))
        ]
        assert [node.GetName() for node in loaded] == list(wanted)
        for node in loaded:
            box = box_of_node(node)
            np.testing.assert_allclose(box.size_mm, wanted[node.GetName()].size_mm, atol=1e-3)
            assert distance(box.corners_ras(), wanted[node.GetName()].corners_ras()) < TOLERANCE_MM


@pytest.mark.parametrize("name", GRIDS)
def test_gradcam_nrrd_has_the_cams_own_grid(name: str, a_scene, tmp_path: Path) -> None:
    volume, output = make_study(GRIDS[name])
    image = sitk.ReadImage(str(files.write_cam(build_scene(a_scene, volume, output), tmp_path / "gradcam.nrrd")))
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), output.cam)
    np.testing.assert_allclose(ras_matrix(image), output.cam_ijk_to_ras, atol=1e-4)


def ras_matrix(image: sitk.Image) -> np.ndarray:
    """``ijk_to_ras`` of an image that ITK read, which speaks LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def test_writing_twice_replaces_and_says_nothing(a_scene, a_study, tmp_path: Path, capfd) -> None:
    nodes = build_scene(a_scene, *a_study)
    for _ in range(2):
        files.write_segmentation(nodes, tmp_path / "vertebrae.seg.nrrd")
        files.write_boxes(nodes, tmp_path / "boxes.mrk.json")
        files.write_cam(nodes, tmp_path / "gradcam.nrrd")
        files.save_scene(a_scene, tmp_path / "scene.mrb")
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there_ends_in_one_sentence(a_scene, a_study, tmp_path: Path, capfd) -> None:
    nodes = build_scene(a_scene, *a_study)
    for write, name in (
        (files.write_segmentation, "vertebrae.seg.nrrd"),
        (files.write_boxes, "boxes.mrk.json"),
        (files.write_cam, "gradcam.nrrd"),
    ):
        with pytest.raises(UserError, match="could not be written"):
            write(nodes, tmp_path / "nowhere" / name)
    with pytest.raises(UserError, match="could not be written"):
        files.save_scene(a_scene, tmp_path / "nowhere" / "scene.mrb")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "does not exist"), (b"no zip", "cannot be read"), ("empty", "holds no scene")],
)
def test_what_is_no_bundle_is_refused(content: bytes | str | None, reason: str, a_scene, tmp_path: Path) -> None:
    path = tmp_path / "scene.mrb"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "empty":
        zipfile.ZipFile(path, "w").close()
    with pytest.raises(UserError, match=reason):
        files.load_scene(a_scene, path)


@pytest.mark.parametrize("reference", ['fileName="/etc/hostname"', 'fileName="..%2Fother.nrrd"', 'uri="http://a.b/c"'])
def test_a_bundle_that_refers_to_data_outside_itself_is_refused(reference: str, a_scene, tmp_path: Path) -> None:
    path = tmp_path / "scene.mrb"
    nodes_before = a_scene.GetNumberOfNodes()
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("scene/scene.mrml", f"<MRML><VolumeArchetypeStorage {reference}/></MRML>")
    with pytest.raises(UserError, match="outside itself"):
        files.load_scene(a_scene, path)
    assert a_scene.GetNumberOfNodes() == nodes_before
