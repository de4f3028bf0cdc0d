"""The study that is being corrected: its steps, and what happens in the scene meanwhile. No widgets here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.scene.boxes_node import let_edit
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.corrections import Corrections
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result

Action = Callable[[Corrections], str | None]


class StudyInHand:
    """One study of a scene at a time, with undo and redo for each as long as it is in the scene.

    Parameters
    ----------
    scene
        The application's scene.
    author
        Who corrects now, or ``None`` where they do not want to be named.
    on_end
        Called at the end of every action with what it said (``None``: what was said stays), and whether there was a
        step.
    on_closing
        Called when the scene is about to be closed.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        author: Callable[[], str | None],
        on_end: Callable[[str | None, bool], None],
        on_closing: Callable[[], None],
    ) -> None:
        self._scene, self._author, self._on_end, self._on_closing = scene, author, on_end, on_closing
        self.study: str | None = None
        self._kept: dict[str, Corrections] = {}
        self._working = self._stepped = False
        self._tags: list[tuple[Any, int]] = []
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.connect("timeout()", self.take_in)

    @property
    def corrections(self) -> Corrections | None:
        """The corrections of the study; ``None`` before the first."""
        return self._kept.get(self.study)

    def result(self) -> StudyResult | None:
        """What the study says now; ``None`` without a study. Raises ``UserError`` where it cannot be corrected."""
        if self.corrections is not None:
            return self.corrections.result
        return None if self.study is None else stored_result(nodes_of_scene(self._scene, self.study))

    def change(self, study: str | None, last: Action | None = None) -> str:
        """Leave the study for another, or for none: what was done by hand is taken in, and its boxes are locked.

        ``last`` is done with the study before it is left. Returns in one sentence what could not be done.
        """
        said = "" if self._scene.IsClosing() else self._leave(last)
        self._later.stop()
        self._stepped = False
        self.study = study
        here = self._scene.IsNodePresent
        self._kept = {one: kept for one, kept in self._kept.items() if here(kept.nodes.segmentation)}
        if study is not None and self.corrections is None:  # a scene may have been saved during editing
            _lock(nodes_of_scene(self._scene, study))
        return said

    def _leave(self, last: Action | None) -> str:
        try:
            if last is not None:
                last(self.opened())
            if self.corrections is not None:
                self.corrections.edit(False)
        except UserError as error:
            if self.corrections is not None:
                _lock(self.corrections.nodes)
            return str(error)
        return ""

    def do(self, action: Action) -> None:
        """Do something with the corrections; it returns what is to be said. A ``UserError`` is said, too."""
        if self.study is None or self._working:
            return
        self._working = True
        try:
            with slicer.util.WaitCursor():
                said = action(self.opened())
        except UserError as error:
            said = str(error)
        finally:
            self._working = False
        stepped, self._stepped = self._stepped, False
        self._on_end(said, stepped)

    def take_in(self, *_event: object) -> None:
        """Take in what was changed in the scene by hand, as one step."""
        if self.corrections is not None:
            self.do(lambda one: f"{one.undo_text}." if one.take_in() else None)

    def notice(self) -> None:
        """The scene has changed: take in soon, once, what was changed there by hand."""
        if not self._working and self.corrections is not None:
            self._later.start()

    def follow(self) -> None:
        """Hear of the end of every drag of a box, and of the scene's saving and closing."""
        self.unfollow()
        if self.study is None:
            return
        scene = self._scene
        self._tags = [
            (scene, scene.AddObserver(scene.StartSaveEvent, self.take_in)),
            (scene, scene.AddObserver(scene.StartCloseEvent, self._on_start_close)),
        ]
        if self.corrections is not None and self.corrections.editing:
            event = slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent
            boxes = self.corrections.nodes.boxes
            self._tags += [(box, box.AddObserver(event, lambda *_event: self.notice())) for box in boxes]

    def unfollow(self) -> None:
        """Hear of nothing any more."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags = []

    def opened(self) -> Corrections:
        """The corrections of the study, made where it had none. Raises ``UserError`` where it cannot be corrected."""
        if self.corrections is None:
            self._kept[self.study] = Corrections(self._scene, self.study)
            self.corrections.on_change.append(self._on_change)
        self.corrections.author = self._author()
        return self.corrections

    def _on_change(self, _corrections: Corrections) -> None:
        """A step; where it was another section that had something taken in, the end of it comes later."""
        self._stepped = True
        self.notice()

    def _on_start_close(self, *_event: object) -> None:
        self._on_closing()
        self._kept.clear()


def _lock(nodes: SceneNodes) -> None:
    for box in nodes.boxes:
        if not box.GetLocked():
            let_edit(box, False)
