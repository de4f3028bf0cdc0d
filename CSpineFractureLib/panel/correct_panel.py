"""The section "Correcting": what a reviewer changes in the findings; each change is a step that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.correct_choice import FindingChoice, show_pressed
from CSpineFractureLib.panel.correct_files import CorrectionFiles, ask_folder
from CSpineFractureLib.panel.correct_study import StudyInHand
from CSpineFractureLib.panel.jump import jump_to
from CSpineFractureLib.panel.segment_editor import EmbeddedSegmentEditor
from CSpineFractureLib.panel.view_place import new_box, place_looked_at, place_of_finding
from CSpineFractureLib.scene.corrections import Corrections
from CSpineFractureLib.scene.read_back import nodes_of_scene


class CorrectPanel:
    """Ties the widgets of the section to the study that is shown; what other studies have in the scene stays as it is.

    Parameters
    ----------
    ui
        The widgets by name.
    scene
        The application's scene.
    on_step
        Called after each step, so that table, curve and views follow.
    choose_folder
        Asks for a folder, given a title; ``""`` where the user declines.
    """

    def __init__(
        self,
        ui: Any,
        scene: slicer.vtkMRMLScene,
        on_step: Callable[[], None],
        choose_folder: Callable[[str], str] = ask_folder,
    ) -> None:
        self._ui, self._scene, self._on_step = ui, scene, on_step
        self.segments = EmbeddedSegmentEditor(scene, ui.segmentEditorHolder)
        self.choice = FindingChoice(ui)
        self.hand = StudyInHand(scene, self._author, self._on_end, self.segments.close)
        self.files = CorrectionFiles(ui, self.hand.do, choose_folder)
        self._connect()
        sections = (ui.correctCollapsibleButton, ui.resultsCollapsibleButton)
        pairs = (("Ctrl+Z", self._on_undo), ("Ctrl+Y", self._on_redo))
        self._shortcuts = [_shortcut(key, section, press) for section in sections for key, press in pairs]

    def _connect(self) -> None:
        ui, choice = self._ui, self.choice
        clicks = (
            (ui.undoButton, self._on_undo),
            (ui.redoButton, self._on_redo),
            (ui.acceptButton, lambda: self._on_verdict("accepted")),
            (ui.rejectButton, lambda: self._on_verdict("rejected")),
            (ui.deleteButton, lambda: self._step(lambda one: one.delete(choice.finding.id))),
            (ui.changeLevelButton, lambda: self._step(lambda one: one.change_level(choice.finding.id, choice.level))),
            (ui.addFractureButton, lambda: self._on_add(vertebra=False)),
            (ui.addVertebraButton, lambda: self._on_add(vertebra=True)),
            (ui.shiftUpButton, lambda: self._step(lambda one: one.shift_levels(-1))),
            (ui.shiftDownButton, lambda: self._step(lambda one: one.shift_levels(1))),
            (ui.editButton, self._on_edit),
            (ui.segmentsButton, self._on_segments),
        )
        for button, press in clicks:
            button.connect("clicked(bool)", press)
        ui.correctionBox.connect("currentIndexChanged(int)", self._on_choice)
        ui.commentLine.connect("editingFinished()", self._put_comment)
        ui.authorCheck.connect("toggled(bool)", lambda on: ui.authorLine.setEnabled(on))

    def show(self, study: str | None) -> None:
        """Correct this study from now on; ``None`` where none is shown or its findings wait to be read."""
        if study != self.hand.study:
            self._ui.correctLabel.setText(self._change(study))
        self.refresh()

    def choose_level(self, level: str) -> None:
        """Choose a level's suspected fracture, or its vertebra where it has none; the views stay."""
        finding = self.choice.of_level(level)
        if finding is not None:
            self._put_comment()
            self.choice.choose(finding)
            self.refresh()

    def corrections_of(self, study: str) -> Corrections:
        """The corrections of the study that is shown, for other sections. Raises ``UserError`` where there are none."""
        self.show(study)
        return self.hand.opened()

    def notice(self) -> None:
        """The scene has changed: take in soon what was changed there by hand."""
        self.hand.notice()

    def detach(self) -> None:
        """Take in what was changed, lock the boxes and let go of the scene; the steps stay while the study does."""
        self._change(None)
        self.hand.unfollow()

    def close(self) -> None:
        """End a training that runs."""
        self.files.close()

    def refresh(self) -> None:
        """Bring the widgets up to date with the study."""
        ui, corrections, result = self._ui, self.hand.corrections, None
        self.hand.follow()
        try:
            result = self.hand.result()
        except UserError as error:
            ui.correctLabel.setText(str(error))
        nothing = _("There are no findings to correct.")
        if result is None and not ui.correctLabel.text:
            ui.correctLabel.setText(nothing)
        elif result is not None and ui.correctLabel.text == nothing:
            ui.correctLabel.setText("")
        self.choice.fill(result)
        free = result is not None and not self.segments.is_open
        ui.correctContents.enabled = result is not None
        for widget in (ui.editButton, ui.levelBox, ui.addFractureButton, ui.addVertebraButton):
            widget.enabled = free
        for widget in (ui.shiftUpButton, ui.shiftDownButton, ui.exportCorrectionsButton, ui.importCorrectionsButton):
            widget.enabled = free
        self.choice.enable(free)
        undo, redo = (None, None) if corrections is None else (corrections.undo_text, corrections.redo_text)
        ui.undoButton.enabled, ui.redoButton.enabled = free and undo is not None, free and redo is not None
        ui.undoButton.setToolTip(_("Undo: {step} (Ctrl+Z)").format(step=undo) if undo else _("Nothing to undo."))
        ui.redoButton.setToolTip(_("Redo: {step} (Ctrl+Y)").format(step=redo) if redo else _("Nothing to redo."))
        show_pressed(ui.editButton, corrections is not None and corrections.editing, _("Edit boxes"))
        done = _("Take the segments in") if self.segments.is_open else _("Edit segments")
        show_pressed(ui.segmentsButton, self.segments.is_open, done)

    def _change(self, study: str | None) -> str:
        """Leave the study for another; returns what could not be done."""
        self.segments.close()
        said = self.hand.change(study, self._write_comment if self.choice.begun_comment else None)
        self.choice.fill(None)
        return said

    def _author(self) -> str | None:
        """Who corrects, only where they wish to be named."""
        return (self._ui.authorLine.text.strip() or None) if self._ui.authorCheck.checked else None

    def _on_end(self, said: str | None, stepped: bool) -> None:
        if stepped:
            self._on_step()
        self.refresh()
        if said is not None:
            self._ui.correctLabel.setText(said)

    # Steps

    def _step(self, correct: Callable[[Corrections], object]) -> None:
        """Do a correction, after a comment that was begun, and say what it is called."""

        def action(corrections: Corrections) -> str:
            self._write_comment(corrections)
            return f"{corrections.undo_text}." if correct(corrections) else ""

        self.hand.do(action)

    def _on_undo(self) -> None:
        if not self.segments.undo() and self.hand.corrections is not None:
            self.hand.do(lambda one: _("Undone: {step}.").format(step=one.redo_text) if one.undo() else "")

    def _on_redo(self) -> None:
        if not self.segments.redo() and self.hand.corrections is not None:
            self.hand.do(lambda one: _("Redone: {step}.").format(step=one.undo_text) if one.redo() else "")

    def _on_verdict(self, status: str) -> None:
        finding = self.choice.finding
        if finding.status == status:
            self._step(lambda one: one.reconsider(finding.id))
        else:
            self._step(lambda one: (one.accept if status == "accepted" else one.reject)(finding.id))

    def _on_add(self, vertebra: bool) -> None:
        level, added = self.choice.level, []

        def add(corrections: Corrections) -> str:
            corrections.take_in()
            box = new_box(corrections.nodes, corrections.result, place_looked_at(self._scene), vertebra)
            added.append((corrections.add_vertebra if vertebra else corrections.add_fracture)(level, box))
            return added[0]

        self._step(add)
        if added:
            self.choice.choose(added[0])
            self.choice.enable(True)

    def _put_comment(self) -> None:
        if self.choice.begun_comment:
            self._step(lambda one: True)

    def _write_comment(self, corrections: Corrections) -> str:
        if self.choice.begun_comment:
            corrections.comment(*self.choice.begun_comment)
        return ""

    def _on_choice(self, _index: int) -> None:
        self._put_comment()
        self.choice.show()
        self.choice.enable(True)
        place = place_of_finding(nodes_of_scene(self._scene, self.hand.study), self.choice.finding.id)
        if place is not None:
            jump_to(self._scene, place)

    # Boxes and segments by hand

    def _on_edit(self) -> None:
        on = self._ui.editButton.checked
        hint = _("Drag the boxes or their handles in the views; each drag is a step.") if on else ""
        self.hand.do(lambda one: one.edit(on) or hint)

    def _on_segments(self) -> None:
        if self.segments.is_open:
            self.segments.close()
            self.hand.take_in()
            self.refresh()
        else:
            self.hand.do(self._open_segments)

    def _open_segments(self, corrections: Corrections) -> str:
        self._write_comment(corrections)
        corrections.edit(False)
        self.segments.open(corrections.nodes)
        return _("Edit the segments, then press the button again: all changes become one step.")


def _shortcut(key: str, section: Any, press: Callable[[], None]) -> Any:
    shortcut = qt.QShortcut(section)
    shortcut.setKey(qt.QKeySequence(key))
    shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
    shortcut.connect("activated()", press)
    return shortcut
