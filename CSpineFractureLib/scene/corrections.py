"""Correcting the results of one study in a scene: every correction is a step that can be undone and redone.

The result (``StudyResult``) and the study's nodes stay in step both ways. What a person changes in the scene itself (a
box dragged or removed, segments edited in the Segment Editor) is noticed by ``take_in`` and becomes one step; every
correction, undo and redo takes in what is there before it does anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box, FractureFinding, StudyResult, VertebraFinding
from CSpineFractureLib.scene.correct_findings import (
    finding_of,
    measured,
    new_vertebra,
    sound_box,
    with_box,
    with_finding,
    without_fracture,
)
from CSpineFractureLib.scene.correct_levels import found_levels, relabelled, shift_of
from CSpineFractureLib.scene.correct_session import CorrectionSession
from CSpineFractureLib.scene.label_delta import block_of

UNKNOWN = "unknown"


class Corrections(CorrectionSession):
    """The corrections of one study: what a reviewer can do with its findings.

    Findings are named by their IDs. A correction returns whether it changed anything, or the ID of what it added, and
    raises ``UserError`` where it cannot be done; the scene is then as it was.
    """

    def set_box(self, finding: str, box: Box) -> bool:
        """Let a finding's box be another one (RAS mm in the CT's own frame)."""
        self.take_in()
        text = f"Box of {finding_of(self.result, finding).level} moved or resized"
        return self.step(text, "box", with_box(self.result, finding, box), finding=finding)

    def move(self, finding: str, center_ras: Sequence[float]) -> bool:
        """Move a finding's box: its middle comes to lie at ``center_ras`` (mm)."""
        self.take_in()
        return self.set_box(finding, replace(finding_of(self.result, finding).box, center_ras=list(center_ras)))

    def resize(self, finding: str, size_mm: Sequence[float]) -> bool:
        """Give a finding's box other edge lengths (mm) along its own axes; at least 0.5 mm each."""
        self.take_in()
        return self.set_box(finding, replace(finding_of(self.result, finding).box, size_mm=list(size_mm)))

    def delete(self, finding: str) -> bool:
        """Delete a suspected fracture; or a vertebra with its segment and its suspected fractures."""
        self.take_in()
        one = finding_of(self.result, finding)
        if isinstance(one, FractureFinding):
            text = f"Fracture of {one.level} deleted"
            return self.step(text, "delete", without_fracture(self.result, finding), finding=finding)
        return self.relabel(f"{one.level} deleted", "delete", {one.level: None}, finding)

    def add_fracture(self, level: str, box: Box, comment: str = "") -> str:
        """Add a fracture of a level (or ``"unknown"``) with status ``added``, and return its ID."""
        self.take_in()
        _check_level(level, (*LEVELS, UNKNOWN))
        new = next(self.new_ids("fracture"))
        fracture = FractureFinding(new, level, 1.0, sound_box(box), "added", comment)
        self.step(f"Fracture of {level} added", "add", with_finding(self.result, fracture), finding=new)
        return new

    def add_vertebra(self, level: str, box: Box) -> str:
        """Add a vertebra that was not found, and return its ID. Raises ``UserError`` where the level is taken."""
        self.take_in()
        _check_level(level, LEVELS)
        self._check_free(level)
        result = relabelled(self.result, {level: level})
        new = next(self.new_ids("vertebra"))
        voxels = int((self._labels.array == LEVELS.index(level) + 1).sum())
        result = with_finding(result, new_vertebra(result, new, level, box))
        if voxels:
            result = measured(result, self._labels, [level], ())
        self.step(f"{level} added", "add", result, finding=new)
        return new

    def change_level(self, finding: str, level: str) -> bool:
        """Give a fracture another level; or a vertebra, and with it its segment, fractures and slices.

        Raises ``UserError`` where another vertebra has that level.
        """
        self.take_in()
        one = finding_of(self.result, finding)
        text = f"{one.level} changed to {level}"
        if one.level == level:
            return False
        if isinstance(one, FractureFinding):
            _check_level(level, (*LEVELS, UNKNOWN))
            changed = with_finding(self.result, replace(one, level=level))
            return self.step(f"Fracture of {text}", "level", changed, finding=finding)
        _check_level(level, LEVELS)
        self._check_free(level, also_labels=True)
        return self.relabel(text, "level", {one.level: level}, finding)

    def shift_levels(self, by: Literal[-1, 1], drop: bool = False) -> bool:
        """Shift all levels by one: -1 is up (C5 becomes C4), 1 is down (C5 becomes C6).

        Vertebrae, segments, fractures, slices, names, codes, colours and table go along. Raises ``UserError`` where a
        level would leave C1-C7; with ``drop`` that vertebra, its segment and its fractures are dropped instead.
        """
        self.take_in()
        filled = {LEVELS[n - 1] for n in np.unique(self._labels.array) if n}
        mapping = shift_of(found_levels(self.result) | filled, by, drop)
        return self.relabel(f"All levels shifted {'up' if by < 0 else 'down'} by one", "shift", mapping)

    def accept(self, finding: str) -> bool:
        """Take a suspected fracture for a true one."""
        return self._verdict(finding, "accepted")

    def reject(self, finding: str) -> bool:
        """Take a suspected fracture for none; its box stays, grey."""
        return self._verdict(finding, "rejected")

    def reconsider(self, finding: str) -> bool:
        """Withdraw a verdict: the fracture is only suggested again."""
        return self._verdict(finding, "suggested")

    def comment(self, finding: str, text: str) -> bool:
        """Write a comment on a suspected fracture in place of the one that is there."""
        self.take_in()
        changed = with_finding(self.result, replace(self._fracture(finding), comment=text.strip()))
        return self.step("Comment changed", "comment", changed, finding=finding)

    def set_visible(self, finding: str, visible: Literal["full", "partial", "no"]) -> bool:
        """Say how much of a vertebra is in the scan; with ``"no"`` its box and name vanish, its segment stays."""
        self.take_in()
        one = finding_of(self.result, finding)
        if not isinstance(one, VertebraFinding) or visible not in ("full", "partial", "no"):
            message = "Only a vertebra can be visible in full, in part or not at all: choose one of the rows C1 to C7."
            raise UserError(message)
        changed = with_finding(self.result, replace(one, visible=visible))
        return self.step(f"{one.level} visible: {visible}", "visible", changed, finding=finding)

    def set_result(self, result: StudyResult, text: str = "Result changed") -> bool:
        """Let the study say something else, voxels apart, as one step. Raises ``UserError`` for another study."""
        self.take_in()
        if result.id != self.study or result.volume.shape_kji != self.result.volume.shape_kji:
            message = "The result belongs to another study: choose the one that was exported from this scene."
            raise UserError(message)
        return self.step(text, "result", result)

    def set_all(self, result: StudyResult, labels: np.ndarray, text: str = "Corrections read") -> bool:
        """As ``set_result``, with other voxels too: uint8 ``[k, j, i]`` (1-7 = C1-C7) on the result's grid."""
        self.take_in()
        if result.id != self.study or labels.shape != self._labels.shape:
            message = "The corrections belong to another study: choose those that were exported from this scene."
            raise UserError(message)
        filled, before = ([LEVELS[n - 1] for n in np.unique(one) if n] for one in (labels, self._labels.array))
        kept = [(one, name) for one, name in self._segments if name in filled or name not in before]
        new = [(level, level) for level in filled if level not in {name for _, name in kept}]
        segments = (*kept, *new)
        return self.step(text, "result", result, block_of(labels), segments)

    def labels(self) -> np.ndarray:
        """The voxels of the segments, uint8 ``[k, j, i]`` (1-7 = C1-C7) on the result's grid."""
        self.take_in()
        return self._labels.whole()

    def _verdict(self, finding: str, status: Literal["suggested", "accepted", "rejected"]) -> bool:
        self.take_in()
        fracture = self._fracture(finding)
        changed = with_finding(self.result, replace(fracture, status=status))
        return self.step(f"Fracture of {fracture.level} {status}", status, changed, finding=finding)

    def _fracture(self, finding: str) -> FractureFinding:
        one = finding_of(self.result, finding)
        if isinstance(one, FractureFinding):
            return one
        message = f"{one.level} is a vertebra: choose one of its suspected fractures, or add one."
        raise UserError(message)

    def _check_free(self, level: str, also_labels: bool = False) -> None:
        taken = any(one.level == level and one.visible != "no" for one in self.result.vertebrae)
        if taken or (also_labels and (self._labels.array == LEVELS.index(level) + 1).any()):
            message = f"{level} is taken by another vertebra: delete that one first, or shift all levels."
            raise UserError(message)


def _check_level(level: str, known: Sequence[str]) -> None:
    if level not in known:
        message = f'"{level}" is no level: choose one of {", ".join(known)}.'
        raise UserError(message)
