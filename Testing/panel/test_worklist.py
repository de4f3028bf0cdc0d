"""The worklist: what it lists, and several CTs analysed one after another; real MRML, real worker."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from CSpineFractureLib.scene.read_back import nodes_of_scene, studies_in

UID = "1.2.826.0.1.3680043.8.498.1"


def add_ct(panel, name):
    from CSpineFractureLib.panel.self_test_panel import add_block

    return add_block(panel.scene, name)


def shown(panel, column):
    table = panel.ui.worklistTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def choose(panel, *rows):
    table = panel.ui.worklistTable
    table.clearSelection()
    for row in rows:
        for column in range(table.columnCount):
            table.item(row, column).setSelected(True)


def unfold(panel):
    panel.ui.worklistCollapsibleButton.collapsed = False
    panel.panel.worklist.look_anew()


def idle(panel):
    return lambda: panel.ui.worklistButton.text == "Analyse the chosen CTs" and not panel.panel.run.session.is_busy


@pytest.fixture
def a_worklist(a_panel):
    """A panel with the worklist unfolded, and two CTs in the scene."""
    a_panel.second = add_ct(a_panel, "neck again")
    unfold(a_panel)
    return a_panel


@dataclass
class Database:
    """The few questions that the worklist puts to a ctkDICOMDatabase, answered for made-up series."""

    series: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    isOpen: bool = True

    def patients(self):
        return ["7"]

    def nameForPatient(self, patient):
        return f"Doe^Jane {patient}"

    def studiesForPatient(self, patient):
        return [f"study of {patient}"]

    def seriesForStudy(self, study):
        return list(self.series)

    def fieldForSeries(self, name, uid):
        assert name == "Modality"
        return self.series[uid][0]

    def descriptionForSeries(self, uid):
        return self.series[uid][1]

    def instancesForSeries(self, uid):
        return [f"{uid}.{number}" for number in range(self.series[uid][2])]

    def instanceValue(self, instance, tag):
        return {"0028,0030": "0.5\\0.4", "0018,0050": "1.25"}[tag]


@pytest.fixture
def with_database(a_worklist):
    """A CT, a scout image and an MR series in the DICOM database; loading gives a block."""
    worklist = a_worklist.panel.worklist
    database = Database({UID: ("CT", "neck bone", 60), UID + ".2": ("CT", "scout", 1), UID + ".3": ("MR", "t2", 60)})
    a_worklist.loaded = []

    def load(uid):
        a_worklist.loaded.append(uid)
        return add_ct(a_worklist, "4: neck bone")

    worklist._database, worklist._load = (lambda: database), load
    worklist.look_anew()
    a_worklist.database = database
    return a_worklist


def test_the_stand_in_database_has_only_what_the_program_has(slicer_program):
    import inventory

    if not inventory.FILE.is_file():
        pytest.skip("no list of what the program has")
    known = inventory.members("ctkDICOMDatabase")
    asked = {name for name in vars(Database) if not name.startswith("_")} - {"series"}
    assert asked <= set(known)


def test_only_volumes_that_look_like_ct_are_listed(a_worklist):
    scene = a_worklist.scene
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    air = add_ct(a_worklist, "air")
    air.GetImageData().GetPointData().GetScalars().FillComponent(0, -1000)
    air.GetImageData().GetPointData().GetScalars().Modified()
    a_worklist.wait(lambda: len(shown(a_worklist, 0)) == 2)
    assert shown(a_worklist, 0) == ["neck", "neck again"]
    assert shown(a_worklist, 1) == ["28", "28"]
    assert shown(a_worklist, 2) == ["1 × 1 × 3"] * 2
    assert shown(a_worklist, 3) == ["not analysed"] * 2


def test_a_ct_that_is_loaded_later_appears_by_itself(a_worklist):
    add_ct(a_worklist, "third")
    a_worklist.wait(lambda: shown(a_worklist, 0) == ["neck", "neck again", "third"])


def test_two_cts_are_analysed_one_after_the_other(a_worklist):
    a_worklist.pretend("fake", steps=3, delay=0.05)
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    assert a_worklist.ui.worklistButton.text == "Cancel all"
    a_worklist.wait(lambda: shown(a_worklist, 3) == ["running", "waiting"])
    assert a_worklist.ui.worklistStatus.text == "1 of 2: neck"
    a_worklist.wait(lambda: shown(a_worklist, 3) == ["done, 90%", "running"])
    assert a_worklist.ui.worklistStatus.text == "2 of 2: neck again"
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 3) == ["done, 90%"] * 2
    scene = a_worklist.scene
    volumes = [nodes_of_scene(scene, study).volume.GetName() for study in studies_in(scene)]
    assert volumes == ["neck", "neck again"]
    assert a_worklist.panel.parameters.inputVolume.GetName() == "neck"


def test_cancel_in_the_analysis_stops_the_rest(a_worklist):
    a_worklist.pretend("fake", steps=100, delay=0.05)
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(lambda: a_worklist.ui.progressBar.value >= 2)
    a_worklist.ui.applyButton.click()
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 3) == ["not analysed"] * 2
    assert studies_in(a_worklist.scene) == []
    assert "left out" in a_worklist.ui.worklistStatus.text


def test_cancel_all_stops_the_one_that_runs_and_the_rest(a_worklist):
    a_worklist.pretend("fake", steps=100, delay=0.05)
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(lambda: a_worklist.ui.progressBar.value >= 2)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 3) == ["not analysed"] * 2
    assert studies_in(a_worklist.scene) == []


def test_a_ct_deleted_while_it_waits_is_left_out_and_the_others_go_on(a_worklist):
    third = add_ct(a_worklist, "third")
    a_worklist.panel.worklist.refresh()
    a_worklist.pretend("fake", steps=4, delay=0.05)
    choose(a_worklist, 0, 1, 2)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(lambda: a_worklist.ui.progressBar.value >= 1)
    a_worklist.scene.RemoveNode(a_worklist.second)
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 0) == ["neck", "third"]
    assert shown(a_worklist, 3) == ["done, 90%"] * 2
    assert nodes_of_scene(a_worklist.scene).volume is third


def test_a_ct_deleted_while_it_runs_does_not_stop_the_others(a_worklist):
    a_worklist.pretend("fake", steps=20, delay=0.05)
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(lambda: a_worklist.ui.progressBar.value >= 1)
    a_worklist.scene.RemoveNode(a_worklist.node)
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 0) == ["neck again"]
    assert shown(a_worklist, 3) == ["done, 90%"]


def test_a_closed_scene_empties_the_worklist(a_worklist):
    a_worklist.pretend("fake", steps=100, delay=0.05)
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(lambda: a_worklist.ui.progressBar.value >= 1)
    a_worklist.scene.Clear(False)
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 0) == []
    assert studies_in(a_worklist.scene) == []


def test_a_ct_that_fails_says_why_and_the_next_one_follows(a_worklist, slicer_program):
    import vtk

    grid = slicer_program.vtkOrientedGridTransform()
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    grid.SetDisplacementGridData(image)
    transform = a_worklist.scene.AddNewNodeByClass("vtkMRMLTransformNode", "tilt")
    transform.SetAndObserveTransformToParent(grid)
    a_worklist.node.SetAndObserveTransformNodeID(transform.GetID())
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 3) == ["failed", "done, 90%"]
    assert "non-linear transform" in a_worklist.ui.worklistTable.item(0, 3).toolTip()
    a_worklist.node.SetAndObserveTransformNodeID(None)
    a_worklist.analyse()
    assert shown(a_worklist, 3) == ["done, 90%"] * 2


def test_the_worklist_goes_on_while_another_module_is_shown(a_worklist):
    a_worklist.pretend("fake", steps=3, delay=0.05)
    choose(a_worklist, 0, 1)
    a_worklist.ui.worklistButton.click()
    a_worklist.wait(lambda: a_worklist.ui.progressBar.value >= 1)
    node = a_worklist.panel.parameters.parameterNode
    a_worklist.panel.detach()
    a_worklist.wait(lambda: len(studies_in(a_worklist.scene)) == 2)
    a_worklist.panel.attach(node)
    a_worklist.wait(idle(a_worklist))
    assert shown(a_worklist, 3) == ["done, 90%"] * 2


def test_probabilities_stay_hidden_until_the_reader_has_read(a_worklist):
    a_worklist.panel.parameters.hideUntilRead = True
    a_worklist.analyse()
    assert shown(a_worklist, 3) == ["done", "not analysed"]
    a_worklist.ui.readButton.click()
    assert shown(a_worklist, 3) == ["done, 90%", "not analysed"]


def test_a_dicom_series_is_loaded_when_its_turn_comes(with_database):
    assert shown(with_database, 0) == ["neck", "neck again", "neck bone"]
    assert shown(with_database, 1)[2] == "60"
    assert shown(with_database, 2)[2] == "0.4 × 0.5 × 1.25"
    with_database.pretend("fake", steps=3, delay=0.05)
    choose(with_database, 0, 2)
    with_database.ui.worklistButton.click()
    with_database.wait(lambda: shown(with_database, 3) == ["running", "not analysed", "waiting"])
    assert with_database.loaded == []
    with_database.wait(idle(with_database))
    assert with_database.loaded == [UID]
    assert nodes_of_scene(with_database.scene).volume.GetName() == "4: neck bone"


def test_a_series_that_is_loaded_is_listed_once(with_database, slicer_program):
    hierarchy = slicer_program.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(with_database.scene)
    constants = slicer_program.vtkMRMLSubjectHierarchyConstants
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), with_database.second)
    hierarchy.SetItemUID(item, constants.GetDICOMUIDName(), UID)
    with_database.panel.worklist.refresh()
    assert shown(with_database, 0) == ["neck", "neck again"]


def test_a_series_that_cannot_be_loaded_fails_alone(with_database):
    def refuse(uid):
        message = "unknown transfer syntax"
        raise RuntimeError(message)

    with_database.panel.worklist._load = refuse
    choose(with_database, 1, 2)
    with_database.ui.worklistButton.click()
    with_database.wait(idle(with_database))
    assert shown(with_database, 3) == ["not analysed", "done, 90%", "failed"]
    assert "unknown transfer syntax" in with_database.ui.worklistTable.item(2, 3).toolTip()


def test_patients_are_named_only_where_the_box_is_ticked(with_database):
    table = with_database.ui.worklistTable
    tips = [table.item(row, column).toolTip() for row in range(3) for column in range(4)]
    assert not any("Doe" in text for text in (*shown(with_database, 0), *tips))
    with_database.ui.worklistPatients.click()
    assert shown(with_database, 0)[2] == "Doe, Jane 7: neck bone"


def test_a_closed_database_lists_nothing(with_database):
    with_database.database.isOpen = False
    with_database.ui.worklistRefreshButton.click()
    assert shown(with_database, 0) == ["neck", "neck again"]
