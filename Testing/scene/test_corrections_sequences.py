"""Long runs of corrections: undone to the start, redone to the end, saved and read again, beside another study."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from scene_study import GRIDS, make_study

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

from scene_fingerprint import differences, fingerprint

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.arrays import vtk_matrix
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.correct_stack import CorrectionStack, State, Step
from CSpineFractureLib.scene.corrections import Corrections
from CSpineFractureLib.scene.files import load_scene, save_scene
from CSpineFractureLib.scene.headless import headless_slicer
from CSpineFractureLib.scene.label_delta import block_of, delta_between
from CSpineFractureLib.scene.read_back import nodes_of_scene


def random_steps(corrections: Corrections, rng: np.random.Generator, steps: int) -> None:
    """So many corrections of all kinds; what is refused is tried in another way."""
    target = len(corrections._stack.done) + steps
    while len(corrections._stack.done) < target:
        result = corrections.result
        fracture = rng.choice([one.id for one in result.fractures]) if result.fractures else None
        vertebra = rng.choice([one.id for one in result.vertebrae]) if result.vertebrae else None
        either = rng.choice([one for one in (fracture, vertebra) if one])
        level = str(rng.choice(LEVELS))
        box = Box(rng.normal([12, -31, 140], 15).tolist(), rng.uniform(4, 20, 3).tolist())
        text = f"comment {rng.integers(1000)}"
        choices = [
            lambda e=either, b=box: corrections.move(e, b.center_ras),
            lambda e=either, b=box: corrections.resize(e, b.size_mm),
            lambda lev=level, b=box: corrections.add_fracture(lev, b),
            lambda lev=level, b=box: corrections.add_vertebra(lev, b),
            lambda: corrections.shift_levels(int(rng.choice([-1, 1])), drop=bool(rng.random() < 0.1)),
            lambda e=either, lev=level: corrections.change_level(e, lev),
            lambda v=vertebra: corrections.set_visible(v, str(rng.choice(["full", "partial", "no"]))),
            lambda f=fracture, t=text: corrections.comment(f, t),
            lambda f=fracture: corrections.accept(f),
            lambda f=fracture: corrections.reject(f),
            lambda e=either: corrections.delete(e) if rng.random() < 0.5 else None,
            lambda e=either, b=box: drag(corrections, e, b),
            lambda lev=level: erase(corrections, lev),
        ]
        try:
            choices[rng.integers(len(choices))]()
        except UserError:
            continue


def drag(corrections: Corrections, finding: str, box: Box) -> None:
    for node in corrections.nodes.boxes:
        if node.GetAttribute(roles.FINDING) == finding:
            node.SetCenter(box.center_ras)
    corrections.take_in()


def erase(corrections: Corrections, level: str) -> None:
    segmentation = corrections.nodes.segmentation.GetSegmentation()
    segmentation.RemoveSegment(level)
    corrections.take_in()


def test_thirty_corrections_are_undone_to_the_start_and_redone_to_the_end(an_app, tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    build_scene(an_app.scene, *make_study(GRIDS["mirrored"], levels=LEVELS[1:6], cam=False))
    corrections = Corrections(an_app.scene, author="Dr X")
    there_and_back(corrections, rng, 15)
    saved = fingerprint(an_app.scene, "study-1", with_ids=False)
    save_scene(an_app.scene, tmp_path / "scene.mrb")
    assert corrections.undo()
    assert corrections.redo()
    assert differences(fingerprint(an_app.scene, "study-1", with_ids=False), saved) == []
    result, log = corrections.result.to_dict(), corrections.log
    with headless_slicer() as app:
        load_scene(app.scene, tmp_path / "scene.mrb")
        assert differences(fingerprint(app.scene, "study-1", with_ids=False), saved) == []
        again = Corrections(app.scene)
        assert again.undo_text is None
        assert (again.result.to_dict(), again.log) == (result, log)
        there_and_back(again, rng, 15)


def there_and_back(corrections: Corrections, rng: np.random.Generator, steps: int) -> None:
    def now() -> tuple[dict, dict]:
        return fingerprint(corrections.scene, corrections.study), corrections.result.to_dict()

    start = now()
    random_steps(corrections, rng, steps)
    end = now()
    for back, state in ((corrections.undo, start), (corrections.redo, end)):
        assert [back() for _ in range(steps + 1)] == [True] * steps + [False]
        assert differences(now()[0], state[0]) == []
        assert now()[1] == state[1]


def test_two_studies_in_a_scene_do_not_mix(a_scene) -> None:
    for name, grid in (("one", "axial"), ("two", "oblique")):
        volume, output = make_study(GRIDS[grid], levels=LEVELS[1:6], cam=False)
        output.result.id = name
        build_scene(a_scene, volume, output)
    one, two = Corrections(a_scene, "one"), Corrections(a_scene, "two")
    before = {name: fingerprint(a_scene, name) for name in ("one", "two")}
    one.shift_levels(1)
    one.add_fracture("C3", Box([0.0, 0.0, 0.0], [3.0, 3.0, 3.0]))
    one.delete("f1")
    untouched = fingerprint(a_scene, "two")
    del untouched["nodes"], before["two"]["nodes"]
    assert differences(untouched, before["two"]) == []
    two.reject("f1")
    assert not two.take_in()
    assert [len(nodes_of_scene(a_scene, name).fracture_boxes) for name in ("one", "two")] == [1, 1]
    assert [v.level for v in two.result.vertebrae] == list(LEVELS[1:6])
    while one.undo():
        pass
    assert two.result.fractures[0].status == "rejected"
    after = fingerprint(a_scene, "one")
    assert differences(after, before["one"]) == []


def test_a_study_under_a_transform_stays_there(a_scene) -> None:
    nodes = build_scene(a_scene, *make_study(GRIDS["axial"], cam=False))
    transform = a_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    transform.SetMatrixTransformToParent(vtk_matrix(GRIDS["oblique"]))
    share = [nodes.volume, nodes.segmentation, nodes.level_names, *nodes.boxes]
    for node in share:
        node.SetAndObserveTransformNodeID(transform.GetID())
    corrections = Corrections(a_scene)
    assert corrections.undo_text is None
    before = fingerprint(a_scene, "study-1")
    corrections.delete("f1")
    corrections.add_fracture("C2", Box([0.0, 0.0, 0.0], [3.0, 3.0, 3.0]))
    corrections.delete("v4")
    assert fingerprint(a_scene, "study-1")["fracture-added-1"]["transform"] == "Registration"
    while corrections.undo():
        pass
    assert differences(fingerprint(a_scene, "study-1"), before) == []


def test_every_vertebra_may_be_deleted_and_come_back(a_scene) -> None:
    build_scene(a_scene, *make_study(GRIDS["axial"], levels=LEVELS[2:4], cam=False))
    corrections = Corrections(a_scene)
    before = fingerprint(a_scene, "study-1")
    for finding in ("v3", "v4"):
        corrections.delete(finding)
    assert corrections.result.vertebrae == corrections.result.fractures == corrections.nodes.boxes == []
    assert not corrections.labels().any()
    corrections.add_vertebra("C5", Box([10.0, -30.0, 150.0], [5.0, 6.0, 7.0]))
    while corrections.undo():
        pass
    assert differences(fingerprint(a_scene, "study-1"), before) == []
    assert [box.GetAttribute(roles.FINDING) for box in corrections.nodes.boxes] == ["v3", "v4", "f1"]


def test_a_study_without_segments_is_corrected_by_its_boxes(a_scene) -> None:
    volume, output = make_study(GRIDS["axial"], levels=LEVELS[1:6], cam=False)
    output.labels[:] = 0
    for vertebra in output.result.vertebrae:
        vertebra.volume_mm3 = 0.0
    build_scene(a_scene, volume, output)
    corrections = Corrections(a_scene)
    before = fingerprint(a_scene, "study-1")
    assert corrections.shift_levels(1)
    k = corrections.result.vertebrae[0].slice_range
    center = corrections.result.vertebrae[0].box.center_ras
    assert corrections.move("v2", np.add(center, [0.0, 0.0, 20.0]))
    assert corrections.result.vertebrae[0].slice_range == [k[0] + 10, k[1] + 10]
    assert corrections.undo()
    assert corrections.undo()
    assert differences(fingerprint(a_scene, "study-1"), before) == []


def test_a_scene_corrected_without_the_module_is_taken_in(an_app, tmp_path: Path) -> None:
    nodes = build_scene(an_app.scene, *make_study(GRIDS["axial"], cam=False))
    nodes.fracture_boxes[0].SetCenter([1.0, 2.0, 3.0])
    save_scene(an_app.scene, tmp_path / "scene.mrb")
    with headless_slicer() as app:
        load_scene(app.scene, tmp_path / "scene.mrb")
        corrections = Corrections(app.scene)
        assert corrections.undo_text == "Box of C4 moved or resized"
        assert corrections.result.fractures[0].box.center_ras == pytest.approx([1, 2, 3], abs=1e-3)


def test_a_scene_of_an_older_version_is_refused(a_scene) -> None:
    nodes = build_scene(a_scene, *make_study(GRIDS["axial"], cam=False))
    a_scene.RemoveNode(nodes.result)
    with pytest.raises(UserError, match="older version"):
        Corrections(a_scene)


def test_the_memory_of_steps_is_bounded() -> None:
    def step(n: int) -> Step:
        return Step(str(n), {}, State(b"", ()), State(bytes(1000), ()))

    stack = CorrectionStack(most_steps=5, most_bytes=10**6)
    for n in range(9):
        stack.push(step(n))
    assert [one.text for one in stack.done] == ["4", "5", "6", "7", "8"]
    small = CorrectionStack(most_steps=100, most_bytes=2500)
    for n in range(9):
        small.push(step(n))
    assert [one.text for one in small.done] == ["7", "8"]


def test_voxels_are_kept_as_small_differences() -> None:
    rng = np.random.default_rng(3)
    before = np.zeros((120, 100, 90), np.uint8)
    before[20:100, 30:60, 30:60] = rng.integers(0, 8, (80, 30, 30))
    after = copy.deepcopy(before)
    after[50:55, 5:40, 40:45] = 3
    one, other = block_of(before), block_of(after)
    delta = delta_between(one, other)
    np.testing.assert_array_equal(delta.applied(one).whole(), after)
    np.testing.assert_array_equal(delta.applied(other).whole(), before)
    assert len(delta.packed) < 1000
    assert delta_between(one, block_of(before)) is None
    empty = block_of(np.zeros_like(before))
    gone = delta_between(one, empty)
    assert not gone.applied(one).whole().any()
    np.testing.assert_array_equal(gone.applied(empty).whole(), before)
