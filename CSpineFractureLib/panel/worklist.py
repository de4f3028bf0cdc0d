"""Which CTs there are, in the scene and in the DICOM database, and which of them wait to be analysed."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import slicer

from CSpineFractureLib.panel.findings_rows import level_rows
from CSpineFractureLib.panel.results_panel import READ
from CSpineFractureLib.scene.read_back import nodes_of_scene, studies_in

FEWEST_SLICES = 8
"""A series with fewer is a scout image, not a CT of the neck."""
_AIR_HU, _BONE_HU = -500.0, 200.0


@dataclass(frozen=True)
class WorkItem:
    """One CT. ``node`` is its volume in the scene; a series that is not loaded has none.

    ``spacing_mm`` goes from column to column, row to row and slice to slice (of a series not loaded: the slices'
    thickness); what a series does not say is ``None``. ``patient`` is shown only where the reader asks for it.
    """

    name: str
    slices: int
    spacing_mm: tuple[float | None, float | None, float | None]
    patient: str = ""
    series_uid: str = ""
    node: slicer.vtkMRMLScalarVolumeNode | None = None

    def is_same(self, other: WorkItem) -> bool:
        """Whether two items are the same volume, or the same series that is not loaded."""
        if self.node is not None or other.node is not None:
            return self.node is other.node
        return self.series_uid == other.series_uid


class Stage(enum.Enum):
    """How far a CT is."""

    NEW = "new"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class WorkState:
    """A stage; ``probability`` is the highest of a CT's levels (0..1), ``reason`` says why it failed."""

    stage: Stage
    probability: float | None = None
    reason: str = ""


def looks_like_ct(node: slicer.vtkMRMLNode) -> bool:
    """Whether a node is a scalar volume of 8 or more slices with air (-500 HU) and bone (200 HU) in it."""
    if node.GetClassName() != "vtkMRMLScalarVolumeNode" or node.GetHideFromEditors():
        return False
    image = node.GetImageData()
    if image is None or image.GetNumberOfScalarComponents() != 1 or image.GetDimensions()[2] < FEWEST_SLICES:
        return False
    low, high = image.GetScalarRange()
    return low <= _AIR_HU and high >= _BONE_HU


def scene_items(scene: slicer.vtkMRMLScene) -> list[WorkItem]:
    """The CTs that are loaded, in the order of the scene."""
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [_item_of_node(scene, node) for node in nodes if looks_like_ct(node)]


def _item_of_node(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode) -> WorkItem:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    item = hierarchy.GetItemByDataNode(node)
    uid = patient = ""
    if item != hierarchy.GetInvalidItemID():
        uid = hierarchy.GetItemUID(item, constants.GetDICOMUIDName()) or ""
        owner = hierarchy.GetItemAncestorAtLevel(item, constants.GetDICOMLevelPatient())
        patient = hierarchy.GetItemName(owner) if owner != hierarchy.GetInvalidItemID() else ""
    slices = node.GetImageData().GetDimensions()[2]
    return WorkItem(node.GetName(), slices, tuple(node.GetSpacing()), patient, uid, node)


def dicom_items(database: Any) -> list[WorkItem]:
    """The CT series of an open ``ctkDICOMDatabase``; none of a closed one or of ``None``."""
    if database is None or not database.isOpen:
        return []
    return [
        _item_of_series(database, uid, patient)
        for patient in database.patients()
        for study in database.studiesForPatient(patient)
        for uid in database.seriesForStudy(study)
        if database.fieldForSeries("Modality", uid) == "CT" and len(database.instancesForSeries(uid)) >= FEWEST_SLICES
    ]


def _item_of_series(database: Any, uid: str, patient: str) -> WorkItem:
    instances = database.instancesForSeries(uid)
    between_rows, _, between_columns = database.instanceValue(instances[0], "0028,0030").partition("\\")
    thickness = database.instanceValue(instances[0], "0018,0050")
    spacing = tuple(_number(text) for text in (between_columns, between_rows, thickness))
    name = database.descriptionForSeries(uid) or "CT"
    surname, _, others = database.nameForPatient(patient).partition("^")
    named = ", ".join(filter(None, (surname, others.replace("^", " ").strip())))
    return WorkItem(name, len(instances), spacing, named, uid)


def merged(loaded: Iterable[WorkItem], series: Iterable[WorkItem]) -> list[WorkItem]:
    """The loaded CTs, then the series that are not loaded."""
    loaded = list(loaded)
    there = {item.series_uid for item in loaded if item.series_uid}
    return loaded + [item for item in series if item.series_uid not in there]


def highest_probabilities(scene: slicer.vtkMRMLScene, hide_unread: bool = False) -> dict[str, float | None]:
    """Highest fracture probability of a level (0..1) in the latest analysis, by the ID of the CT's node.

    With ``hide_unread`` it is ``None`` for a CT that the reader has not read yet.
    """
    found: dict[str, float | None] = {}
    for study in studies_in(scene):
        nodes = nodes_of_scene(scene, study)
        if nodes.volume is None:
            continue
        hidden = nodes.table is None or (hide_unread and nodes.table.GetAttribute(READ) != "yes")
        rows = [] if hidden else level_rows(nodes.table)
        found[nodes.volume.GetID()] = max((r.probability for r in rows if r.probability is not None), default=None)
    return found


class WorkQueue:
    """The CTs that wait, the one that runs, and why others failed."""

    def __init__(self) -> None:
        self.running: WorkItem | None = None
        self._waiting: deque[WorkItem] = deque()
        self._failed: list[tuple[WorkItem, str]] = []

    @property
    def is_busy(self) -> bool:
        return self.running is not None or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, items: Iterable[WorkItem]) -> None:
        """Append CTs that neither wait nor run."""
        for item in items:
            if not self._stage_of(item):
                self.forget(item)
                self._waiting.append(item)

    def take(self) -> WorkItem | None:
        """The next CT, which runs from now on; ``None`` when none waits."""
        self.running = self._waiting.popleft() if self._waiting else None
        return self.running

    def end(self, failure: str = "") -> None:
        """The running CT has ended, for this reason if it failed."""
        if self.running is not None and failure:
            self._failed.append((self.running, failure))
        self.running = None

    def stop(self) -> None:
        """None waits any more."""
        self._waiting.clear()

    def forget(self, item: WorkItem) -> None:
        """A CT that failed has not."""
        self._failed = [(other, reason) for other, reason in self._failed if not other.is_same(item)]

    def state_of(self, item: WorkItem, probabilities: dict[str, float | None]) -> WorkState:
        """How far a CT is, given ``highest_probabilities`` of the scene."""
        stage = self._stage_of(item)
        if stage is not None:
            return WorkState(stage)
        for other, reason in self._failed:
            if other.is_same(item):
                return WorkState(Stage.FAILED, reason=reason)
        if item.node is not None and item.node.GetID() in probabilities:
            return WorkState(Stage.DONE, probabilities[item.node.GetID()])
        return WorkState(Stage.NEW)

    def _stage_of(self, item: WorkItem) -> Stage | None:
        if self.running is not None and self.running.is_same(item):
            return Stage.RUNNING
        return Stage.WAITING if any(other.is_same(item) for other in self._waiting) else None


def load_series(uid: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Load a series of the DICOM database; of what comes, the CT with most slices. Waits."""
    from DICOMLib import DICOMUtils

    nodes = (slicer.mrmlScene.GetNodeByID(node_id) for node_id in DICOMUtils.loadSeriesByUID([uid]))
    found = [node for node in nodes if node is not None and looks_like_ct(node)]
    return max(found, key=lambda node: node.GetImageData().GetDimensions()[2], default=None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
