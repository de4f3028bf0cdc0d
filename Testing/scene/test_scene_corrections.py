"""Every correction changes scene and result alike; undone and redone, both are exactly as they were."""

from __future__ import annotations

import numpy as np
import pytest
from scene_study import GRIDS, SHAPE, make_study

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

import slicer
from scene_fingerprint import cells_of, differences, fingerprint

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box, SliceFinding
from CSpineFractureLib.scene.arrays import image_array
from CSpineFractureLib.scene.boxes_node import box_of_node
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.corrections import Corrections
from CSpineFractureLib.scene.read_back import result_of_scene
from CSpineFractureLib.scene.terminology import level_terms

MIDDLE = LEVELS[1:6]
PLACE = Box([10.0, -30.0, 150.0], [5.0, 6.0, 7.0])


def opened(scene: slicer.vtkMRMLScene, levels: tuple[str, ...] = MIDDLE, grid: str = "axial", **given) -> Corrections:
    """A study with the levels C2-C6, or others, ready to be corrected."""
    volume, output = make_study(GRIDS[grid], levels=levels)
    output.result.slices = [SliceFinding(k, 0.1, {"C3": 0.2, "C4": 0.9}) for k in range(SHAPE[0])]
    build_scene(scene, volume, output)
    return Corrections(scene, **given)


def box_node(corrections: Corrections, finding: str) -> slicer.vtkMRMLMarkupsROINode:
    nodes = {node.GetAttribute("CSpineFracture.FindingID"): node for node in corrections.nodes.boxes}
    return nodes[finding]


def paint(corrections: Corrections, segment: str, add: bool = True) -> None:
    """What the Segment Editor does at the end of a stroke: a block of voxels joins a segment, or leaves it."""
    node = corrections.nodes.segmentation
    mask = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment, mask)
    values = image_array(mask)
    k, j, i = np.argwhere(values).min(axis=0) if add else np.argwhere(values).mean(axis=0).astype(int)
    values[k : k + 2, j : j + 3, i : i + 3] = 1 if add else 0
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(mask, node, segment, logic.MODE_REPLACE)


COMMANDS = {
    "move": lambda c: c.move("f1", [1.0, 2.0, 3.0]),
    "resize": lambda c: c.resize("v4", [10.0, 20.0, 30.0]),
    "set box": lambda c: c.set_box("v3", PLACE),
    "delete a fracture": lambda c: c.delete("f1"),
    "delete a vertebra": lambda c: c.delete("v4"),
    "add a fracture": lambda c: c.add_fracture("C3", PLACE, "seen on two slices"),
    "add a vertebra": lambda c: c.add_vertebra("C7", PLACE),
    "level of a fracture": lambda c: c.change_level("f1", "unknown"),
    "level of a vertebra": lambda c: c.change_level("v6", "C7"),
    "shift up": lambda c: c.shift_levels(-1),
    "accept": lambda c: c.accept("f1"),
    "reject": lambda c: c.reject("f1"),
    "comment": lambda c: c.comment("f1", 'ünsure <&"> about this'),
    "not visible": lambda c: c.set_visible("v4", "no"),
    "paint": lambda c: (paint(c, "C4"), c.take_in()),
    "erase": lambda c: (paint(c, "C3", add=False), c.take_in()),
    "drag": lambda c: (box_node(c, "f1").SetCenter([3.0, 4.0, 5.0]), c.take_in()),
    "remove a segment": lambda c: (c.nodes.segmentation.GetSegmentation().RemoveSegment("C3"), c.take_in()),
}


def test_a_correction_undone_and_redone_leaves_no_trace(a_scene) -> None:
    corrections = opened(a_scene, author="Dr X")
    told = []
    corrections.on_change.append(lambda one: told.append(one.result))
    start = (fingerprint(a_scene, "study-1"), corrections.result.to_dict())
    for name, command in COMMANDS.items():
        told.clear()
        command(corrections)
        changed = (fingerprint(a_scene, "study-1"), corrections.result.to_dict())
        assert differences(start[0], changed[0]), name
        assert start[1] != changed[1], name
        assert changed[0]["result"]["json"] == changed[1], name
        for redo, state in ((False, start), (True, changed)):
            assert corrections.redo() if redo else corrections.undo(), name
            assert differences(fingerprint(a_scene, "study-1"), state[0]) == [], name
            assert corrections.result.to_dict() == state[1], name
        assert corrections.undo()
        assert corrections.undo_text is None
        assert len(told) == 4, name
    assert differences(fingerprint(a_scene, "study-1"), start[0]) == []


@pytest.mark.parametrize("by", [-1, 1])
def test_a_shift_takes_everything_along(by: int, a_scene) -> None:
    corrections = opened(a_scene, grid="mirrored")
    before, labels = corrections.result, corrections.labels()
    corrections.shift_levels(by)
    after, nodes = corrections.result, corrections.nodes

    def moved(level: str) -> str:
        return LEVELS[LEVELS.index(level) + by]

    assert [v.level for v in after.vertebrae] == [moved(v.level) for v in before.vertebrae]
    assert [v.box for v in after.vertebrae] == [v.box for v in before.vertebrae]
    assert after.fractures[0].level == moved("C4")
    assert after.slices[5].vertebrae == {moved("C3"): 0.2, moved("C4"): 0.9}
    np.testing.assert_array_equal(corrections.labels(), np.where(labels > 0, labels.astype(int) + by, 0))
    found = fingerprint(a_scene, "study-1")
    assert found["segmentation"]["order"] == [moved(level) for level in MIDDLE]
    for level, segment in found["segmentation"]["segments"].items():
        assert (segment["name"], segment["term"]) == (level, level_terms()[level].entry())
        np.testing.assert_allclose(segment["colour"], level_terms()[level].colour, atol=1e-6)
        assert segment["surface"]
    assert found["level names"]["labels"] == [moved(level) for level in MIDDLE]
    assert found["v4"]["name"] == moved("C4")
    rows = {row[1]: row for row in cells_of(nodes.table) if row[0] == "level"}
    assert [rows[moved(level)][8] for level in MIDDLE] == ["v2", "v3", "v4", "v5", "v6"]
    assert found["f1"]["name"] == f"{moved('C4')} fracture 0.83"


def test_a_reason_that_names_its_level_follows_a_shift(a_scene) -> None:
    corrections = opened(a_scene, levels=LEVELS[1:])
    corrections.shift_levels(-1)
    assert corrections.result.vertebrae[-1].fracture_assessable == "C6 is cut by the edge of the scan"


@pytest.mark.parametrize(("by", "last", "first_left"), [(-1, "C1", "v2"), (1, "C7", "v1")])
def test_a_shift_beyond_the_ends_is_refused_or_drops_the_last(by: int, last: str, first_left: str, a_scene) -> None:
    corrections = opened(a_scene, levels=LEVELS)
    before = fingerprint(a_scene, "study-1")
    with pytest.raises(UserError, match=f"{last} would come to lie"):
        corrections.shift_levels(by)
    assert differences(fingerprint(a_scene, "study-1"), before) == []
    assert corrections.undo_text is None
    assert corrections.shift_levels(by, drop=True)
    assert next(v.id for v in corrections.result.vertebrae) == first_left
    assert len(corrections.result.vertebrae) == 6
    corrections.undo()
    assert differences(fingerprint(a_scene, "study-1"), before) == []


def test_many_moves_of_the_mouse_are_one_step(a_scene) -> None:
    corrections = opened(a_scene)
    corrections.edit(True)
    node = box_node(corrections, "f1")
    before = box_of_node(node)
    for step in range(20):
        node.SetCenter(np.add(before.center_ras, [step, 0, 0]))
        node.SetSize(9.0 + step, 8.0, 7.0)
    assert corrections.take_in()
    assert not corrections.take_in()
    fracture = corrections.result.fractures[0]
    assert fracture.box.size_mm == pytest.approx([28, 8, 7], abs=1e-5)
    assert fracture.box.center_ras == pytest.approx(np.add(before.center_ras, [19, 0, 0]), abs=1e-5)
    assert corrections.undo()
    assert not corrections.undo()
    np.testing.assert_allclose(box_of_node(node).corners_ras(), before.corners_ras(), atol=1e-5)


def test_boxes_are_locked_until_edit(a_scene) -> None:
    corrections = opened(a_scene)

    def locks() -> list[tuple]:
        nodes = [box_node(corrections, "v3"), *a_scene_boxes(a_scene)]
        return [(n.GetLocked(), n.GetSelectable(), n.GetDisplayNode().GetHandlesInteractive()) for n in nodes]

    assert set(locks()) == {(1, 0, False)}
    corrections.edit(True)
    corrections.add_fracture("C5", PLACE)
    corrections.delete("f1")
    corrections.undo()
    assert set(locks()) == {(0, 1, True)}
    corrections.edit(False)
    assert set(locks()) == {(1, 0, False)}
    assert Corrections(a_scene).editing is False


def a_scene_boxes(scene: slicer.vtkMRMLScene) -> list:
    count = scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLMarkupsROINode") for index in range(count)]


def test_a_box_removed_in_the_scene_is_a_deleted_finding(a_scene) -> None:
    corrections = opened(a_scene)
    before = fingerprint(a_scene, "study-1")
    for finding in ("f1", "v3"):
        a_scene.RemoveNode(box_node(corrections, finding))
    assert corrections.take_in()
    assert corrections.result.fractures == []
    assert [v.id for v in corrections.result.vertebrae] == ["v2", "v4", "v5", "v6"]
    assert 3 not in corrections.labels()
    assert corrections.undo()
    assert differences(fingerprint(a_scene, "study-1"), before) == []


def test_volume_and_slices_follow_the_painted_voxels(a_scene) -> None:
    corrections = opened(a_scene)
    before = corrections.labels()
    paint(corrections, "C4")
    assert corrections.take_in()
    after = corrections.labels()
    assert (after == 4).sum() > (before == 4).sum()
    vertebra = next(v for v in corrections.result.vertebrae if v.level == "C4")
    assert vertebra.volume_mm3 == pytest.approx((after == 4).sum() * 1.5 * 1.5 * 2.0)
    slices = np.flatnonzero((after == 4).any(axis=(1, 2)))
    assert vertebra.slice_range == [slices[0], slices[-1]]
    assert corrections.undo_text == "Segments edited: C4"


def test_segments_of_the_users_own_are_left_alone(a_scene) -> None:
    corrections = opened(a_scene)
    segmentation = corrections.nodes.segmentation.GetSegmentation()
    segmentation.AddEmptySegment("own", "My tumour")
    paint_from(corrections, "C3", "own")
    before = corrections.labels()
    assert corrections.undo_text is None
    corrections.shift_levels(1)
    corrections.undo()
    assert corrections.redo_text
    assert not corrections.take_in()
    np.testing.assert_array_equal(corrections.labels(), before)
    mask = slicer.vtkOrientedImageData()
    corrections.nodes.segmentation.GetBinaryLabelmapRepresentation("own", mask)
    assert image_array(mask).sum() == (before == 3).sum()


def paint_from(corrections: Corrections, source: str, target: str) -> None:
    """Fill another segment as one is filled."""
    node, mask = corrections.nodes.segmentation, slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(source, mask)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(mask, node, target, logic.MODE_REPLACE)


def test_corrections_of_what_is_not_there_are_refused(a_scene) -> None:
    corrections = opened(a_scene)
    for wrong, words in (
        (lambda: corrections.accept("none"), 'no finding "none"'),
        (lambda: corrections.accept("v3"), "C3 is a vertebra"),
        (lambda: corrections.change_level("v3", "C4"), "C4 is taken"),
        (lambda: corrections.change_level("f1", "T1"), '"T1" is no level'),
        (lambda: corrections.add_vertebra("C3", PLACE), "C3 is taken"),
        (lambda: corrections.set_visible("f1", "no"), "Only a vertebra"),
        (lambda: corrections.move("f1", [0.0, float("nan"), 0.0]), "finite"),
        (lambda: corrections.shift_levels(2), "by one"),
    ):
        with pytest.raises(UserError, match=words):
            wrong()
    assert corrections.undo_text is None
    assert corrections.accept("f1")
    assert not corrections.accept("f1")
    a_scene.RemoveNode(corrections.nodes.segmentation)
    with pytest.raises(UserError, match="no longer in the scene"):
        corrections.undo()


def test_the_log_names_nobody_without_consent(a_scene) -> None:
    corrections = opened(a_scene)
    corrections.accept("f1")
    corrections.author = "Dr X"
    corrections.comment("f1", "sure")
    first, second = fingerprint(a_scene, "study-1")["corrections"]["json"]
    assert first == {"action": "accepted", "text": "Fracture of C4 accepted", "finding": "f1"}
    assert second["author"] == "Dr X"
    assert second["time"].endswith("+00:00")


def test_a_moved_box_is_read_back_with_the_result(a_scene) -> None:
    corrections = opened(a_scene)
    box_node(corrections, "f1").SetCenter([3.0, 4.0, 5.0])
    assert result_of_scene(a_scene).fractures[0].box.center_ras == pytest.approx([3, 4, 5], abs=1e-5)
    assert corrections.take_in()
    assert corrections.result.fractures[0].box.center_ras == pytest.approx([3, 4, 5], abs=1e-5)
