"""A study's nodes made to follow its result: boxes, names, table and texts. Only what differs is touched."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from CSpineFractureLib.findings.study_result import FractureFinding, StudyResult, VertebraFinding
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.boxes_node import (
    add_fracture_box,
    add_vertebra_box,
    dress_fracture_box,
    dress_vertebra_box,
    let_edit,
    place_box,
)
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.hierarchy import (
    FRACTURE_FOLDER,
    VERTEBRA_FOLDER,
    put_beside,
    share_transform,
    take_out,
)
from CSpineFractureLib.scene.level_names_node import fill_level_names
from CSpineFractureLib.scene.table_node import fill_table

Shown = dict[str, VertebraFinding | FractureFinding]


@dataclass(frozen=True)
class PutAway:
    """A box that was taken out of the scene, with the nodes that belong to it, so that it can come back as it was."""

    node: slicer.vtkMRMLMarkupsROINode
    belongings: tuple[slicer.vtkMRMLNode, ...]


def shown_findings(result: StudyResult) -> Shown:
    """The findings that have a box, by ID: vertebrae that are seen, and fractures."""
    seen = [vertebra for vertebra in result.vertebrae if vertebra.visible != "no"]
    return {finding.id: finding for finding in (*seen, *result.fractures)}


class ShownResult:
    """The boxes of one study in a scene, by finding, and those that were taken away and may come back."""

    def __init__(self, scene: slicer.vtkMRMLScene, study: str, nodes: SceneNodes) -> None:
        self.scene, self.study, self.nodes = scene, study, nodes
        self.boxes = {node.GetAttribute(roles.FINDING): node for node in nodes.boxes}
        self.editable = False
        self._belongings = {finding: _belongings(node) for finding, node in self.boxes.items()}
        self._away: dict[str, PutAway] = {}

    def follow(self, before: StudyResult, after: StudyResult) -> None:
        """Let the nodes, which show ``before``, show ``after``."""
        old, new = shown_findings(before), shown_findings(after)
        for finding in old.keys() - new.keys():
            self.put_away(finding)
        for finding in new:
            if finding not in self.boxes:
                self._bring(new[finding])
            elif new[finding] != old.get(finding):
                _fit(self.boxes[finding], new[finding])
        if self.nodes.level_names is not None:
            fill_level_names(self.nodes.level_names, [v for v in after.vertebrae if v.visible != "no"])
        if self.nodes.table is not None:
            fill_table(self.nodes.table, after)
        self.nodes.vertebra_boxes = [self.boxes[one.id] for one in after.vertebrae if one.id in self.boxes]
        self.nodes.fracture_boxes = [self.boxes[one.id] for one in after.fractures]

    def put_away(self, finding: str) -> None:
        """Take a finding's box out of the scene, if somebody has not done so already."""
        node = self.boxes.pop(finding, None)
        if node is None:
            return
        belongings = _belongings(node) or self._belongings.get(finding, ())
        take_out(self.scene, node)
        for one in (node, *belongings):
            if self.scene.IsNodePresent(one):
                self.scene.RemoveNode(one)
        self._away[finding] = PutAway(node, belongings)

    def forget(self, kept: frozenset[str]) -> None:
        """Let go of the boxes that cannot come back any more."""
        self._away = {finding: away for finding, away in self._away.items() if finding in kept}

    def known_ids(self) -> set[str]:
        """The IDs of all boxes, also of those that may come back."""
        return {*self.boxes, *self._away}

    def let_edit(self, on: bool) -> None:
        """Unlock or lock every box, and every one that comes later."""
        self.editable = on
        for node in self.boxes.values():
            let_edit(node, on)

    def missing(self) -> list[str]:
        """The findings whose boxes somebody has removed from the scene."""
        return [finding for finding, node in self.boxes.items() if not self.scene.IsNodePresent(node)]

    def _bring(self, finding: VertebraFinding | FractureFinding) -> None:
        vertebra = isinstance(finding, VertebraFinding)
        away = self._away.pop(finding.id, None)
        if away is not None:
            node = away.node
            for one in (*away.belongings, node):
                self.scene.AddNode(one)
            _fit(node, finding)
        else:
            node = (add_vertebra_box if vertebra else add_fracture_box)(self.scene, finding)
            roles.mark(node, roles.VERTEBRA_BOX if vertebra else roles.FRACTURE_BOX, self.study)
        share_transform(self.nodes.segmentation, [node])
        folder = VERTEBRA_FOLDER if vertebra else FRACTURE_FOLDER
        put_beside(self.scene, self.nodes.segmentation, folder, node)
        let_edit(node, self.editable)
        self.boxes[finding.id] = node
        self._belongings[finding.id] = _belongings(node)


def _fit(node: slicer.vtkMRMLMarkupsROINode, finding: VertebraFinding | FractureFinding) -> None:
    place_box(node, finding.box)  # first, for Slicer empties a markup's description when it is moved
    (dress_vertebra_box if isinstance(finding, VertebraFinding) else dress_fracture_box)(node, finding)


def _belongings(node: slicer.vtkMRMLMarkupsROINode) -> tuple[slicer.vtkMRMLNode, ...]:
    """The display and storage nodes of a box."""
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    return tuple(one for one in (*displays, node.GetStorageNode()) if one is not None)
