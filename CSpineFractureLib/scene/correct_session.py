"""A study in a scene whose result and nodes stay in step: steps, undo and redo, and changes made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import count
from typing import Any

import numpy as np
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box, StudyResult, VertebraFinding
from CSpineFractureLib.scene.boxes_node import box_of_node
from CSpineFractureLib.scene.correct_findings import finding_of, measured, with_box, without_fracture
from CSpineFractureLib.scene.correct_levels import Mapping, relabelled
from CSpineFractureLib.scene.correct_show import ShownResult, shown_findings
from CSpineFractureLib.scene.correct_stack import CorrectionStack, State, Step, state_of
from CSpineFractureLib.scene.json_node import fill_json_node, json_of_node
from CSpineFractureLib.scene.label_delta import LabelBlock, block_of, delta_between
from CSpineFractureLib.scene.read_back import labels_of_node, nodes_of_scene, stored_result
from CSpineFractureLib.scene.segment_labels import (
    Segments,
    put_labels,
    relabelled_segments,
    segments_of_node,
    voxels_changed,
)

MOVED_MM = 1e-5
"""A box whose corners are farther from where it was put has been moved by hand."""
SAVED_MM = 0.01
"""The same for a box that was saved in a scene and read again."""


class CorrectionSession:
    """One study in a scene, its steps, and what is noticed in the scene; ``Corrections`` adds the corrections.

    ``study`` is the ``StudyResult.id``, by default of the latest study.

    ``author`` is who corrects; only where it is given does the log say who and when. ``on_change`` holds functions that
    are called with this object after every change of the result. ``result`` is a new object after each: read it again.
    Boxes are locked when this is made. Raises ``UserError`` where the scene holds no such results, or they come from a
    version that did not keep the result in the scene.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, study: str | None = None, author: str | None = None) -> None:
        self.scene, self.author = scene, author
        self.nodes = nodes_of_scene(scene, study)
        self.result = stored_result(self.nodes)
        self.study = self.result.id
        self.on_change: list[Callable[[CorrectionSession], None]] = []
        self.log: list[dict[str, Any]] = list(json_of_node(self.nodes.corrections))
        self._stack = CorrectionStack()
        self._shown = ShownResult(scene, self.study, self.nodes)
        self._shown.let_edit(False)
        self._segments = segments_of_node(self.nodes.segmentation)
        self._voxels = voxels_changed(self.nodes.segmentation)
        self._labels = self._read_labels()
        self._state = state_of(self.result, self._segments)
        self._seen = {finding: box_of_node(node) for finding, node in self._shown.boxes.items()}
        for finding in shown_findings(self.result).values():
            seen = self._seen.get(finding.id)
            if seen is not None and _apart(seen, finding.box) > SAVED_MM:
                self._seen[finding.id] = finding.box
        self.take_in()

    # Undo and redo

    @property
    def undo_text(self) -> str | None:
        """What the next undo takes back, or ``None``."""
        return self._stack.done[-1].text if self._stack.done else None

    @property
    def redo_text(self) -> str | None:
        """What the next redo does again, or ``None``."""
        return self._stack.undone[-1].text if self._stack.undone else None

    def undo(self) -> bool:
        """Take back the latest step; ``False`` where there is none."""
        self.take_in()
        if not self._stack.done:
            return False
        step = self._stack.done.pop()
        self._stack.undone.append(step)
        self.log.pop()
        self._become(step.before, step)
        return True

    def redo(self) -> bool:
        """Do the step again that was undone last; ``False`` where there is none."""
        self.take_in()
        if not self._stack.undone:
            return False
        step = self._stack.undone.pop()
        self._stack.done.append(step)
        self.log.append(step.entry)
        self._become(step.after, step)
        return True

    # Changes made by hand in the scene

    @property
    def editing(self) -> bool:
        """Whether the boxes are unlocked."""
        return self._shown.editable

    def edit(self, on: bool) -> None:
        """Unlock the boxes so that the mouse can move and resize them, or lock them again. No step of its own."""
        self.take_in()
        self._shown.let_edit(on)

    def take_in(self) -> bool:
        """Notice what was changed in the scene by hand since the last call; all of it becomes one step.

        Call it at the end of an interaction (``PointEndInteractionEvent`` of a box, leaving the Segment Editor) and
        before the scene is saved. Returns whether there was anything. Raises ``UserError`` where the results are no
        longer in the scene.
        """
        if not self.scene.IsNodePresent(self.nodes.segmentation):
            message = "The results are no longer in the scene: analyse the CT again, or load the saved scene."
            raise UserError(message)
        result, told = self.result, []
        gone = self._shown.missing()
        mapping: Mapping = {}
        for finding in (finding_of(result, one) for one in gone):
            told.append(f"Box of {finding.level} removed")
            if isinstance(finding, VertebraFinding):
                mapping[finding.level] = None
            else:
                result = without_fracture(result, finding.id)
        for finding_id, node in self._shown.boxes.items():
            box = box_of_node(node) if finding_id not in gone else self._seen[finding_id]
            if _apart(box, self._seen[finding_id]) > MOVED_MM:
                result = with_box(result, finding_id, box)
                told.append(f"Box of {finding_of(result, finding_id).level} moved or resized")
        labels, segments = self._labels, self._segments
        if voxels_changed(self.nodes.segmentation) != self._voxels:
            labels, segments = self._read_labels(), segments_of_node(self.nodes.segmentation)
            self._voxels = voxels_changed(self.nodes.segmentation)
            changed = _changed_levels(self._labels, labels)
            result = measured(result, labels, changed, self.new_ids("vertebra"))
            if changed or segments != self._segments:
                told.append(" ".join(["Segments edited:", *changed]) if changed else "Segments renamed or reordered")
        if not told:
            return False
        if mapping:
            result, labels = relabelled(result, mapping), _mapped(labels, mapping)
            segments = relabelled_segments(segments, mapping)
        return self.step("; ".join(told), "by hand", result, labels, segments, put=bool(mapping))

    def new_ids(self, kind: str) -> Iterator[str]:
        """IDs that no finding has, nor one that undo may bring back."""
        used = self._shown.known_ids() | self._stack.kept_findings()
        used |= {one.id for one in (*self.result.vertebrae, *self.result.fractures)}
        return (name for name in (f"{kind}-added-{n}" for n in count(1)) if name not in used)

    # For the corrections

    def relabel(self, text: str, action: str, mapping: Mapping, finding: str | None = None) -> bool:
        """Rename levels as one step: result, voxels and segments."""
        segments = relabelled_segments(self._segments, mapping)
        result, labels = relabelled(self.result, mapping), _mapped(self._labels, mapping)
        return self.step(text, action, result, labels, segments, finding=finding)

    def step(
        self,
        text: str,
        action: str,
        result: StudyResult,
        labels: LabelBlock | None = None,
        segments: Segments | None = None,
        finding: str | None = None,
        put: bool = True,
    ) -> bool:
        """Do a step and remember it; ``False`` where it changes nothing. ``put``: the segments do not show it yet."""
        after = state_of(result, self._segments if segments is None else segments)
        delta = None if labels is None else delta_between(self._labels, labels)
        if after == self._state and delta is None:
            return False
        entry: dict[str, Any] = {"action": action, "text": text}
        if finding is not None:
            entry["finding"] = finding
        if self.author:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            entry.update(author=self.author, time=now)
        exchanged = shown_findings(self.result).keys() ^ shown_findings(result).keys()
        step = Step(text, entry, self._state, after, delta, frozenset(exchanged))
        self._stack.push(step)
        self.log.append(entry)
        self._become(after, step, put)
        return True

    # Within

    def _become(self, state: State, step: Step, put: bool = True) -> None:
        """Let result and nodes be as in ``state``, on the other side of ``step``."""
        before, self.result = self.result, state.result()
        if put and (step.delta is not None or state.segments != self._segments):
            self._labels = step.delta.applied(self._labels) if step.delta is not None else self._labels
            matrix = np.asarray(self.result.volume.ijk_to_ras)
            put_labels(self.nodes.segmentation, self._labels.whole(), matrix, state.segments)
            self._voxels = voxels_changed(self.nodes.segmentation)
        elif step.delta is not None:
            self._labels = step.delta.applied(self._labels)
        self._segments, self._state = state.segments, state
        self._shown.follow(before, self.result)
        self._shown.forget(self._stack.kept_findings())
        fill_json_node(self.nodes.result, self.result.to_dict())
        fill_json_node(self.nodes.corrections, self.log)
        self._seen = {finding: box_of_node(node) for finding, node in self._shown.boxes.items()}
        for tell in tuple(self.on_change):
            tell(self)

    def _read_labels(self) -> LabelBlock:
        info = self.result.volume
        return block_of(labels_of_node(self.nodes.segmentation, tuple(info.shape_kji), np.asarray(info.ijk_to_ras)))


def _mapped(labels: LabelBlock, mapping: Mapping) -> LabelBlock:
    """The voxels once levels are renamed or dropped."""
    table = np.arange(256, dtype=np.uint8)
    for level, new in mapping.items():
        table[LEVELS.index(level) + 1] = LEVELS.index(new) + 1 if new else 0
    return labels.mapped(table)


def _apart(one: Box, other: Box) -> float:
    """The farthest (mm) that a corner of one box is from the nearest of the other."""
    return float(np.linalg.norm(one.corners_ras()[:, None] - other.corners_ras()[None], axis=2).min(axis=1).max())


def _changed_levels(before: LabelBlock, after: LabelBlock) -> list[str]:
    """The levels whose voxels differ between two states."""
    delta = delta_between(before, after)
    if delta is None:
        return []
    inside = tuple(slice(start, start + size) for start, size in zip(delta.first, delta.size, strict=True))
    one, other = before.whole()[inside], after.whole()[inside]
    touched = set(np.unique(one[one != other])) | set(np.unique(other[one != other]))
    return [level for n, level in enumerate(LEVELS, start=1) if n in touched]
