"""Which finding the section "Correcting" is about: its list, its level, its comment and its verdict."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from CSpineFractureLib.findings.study_result import LEVELS, FractureFinding, StudyResult, VertebraFinding
from CSpineFractureLib.scene.correct_show import shown_findings
from CSpineFractureLib.scene.corrections import UNKNOWN

Finding = VertebraFinding | FractureFinding


class FindingChoice:
    """Fills the widgets of one finding. It tells the user's choice through ``correctionBox`` alone and changes nothing.

    Parameters
    ----------
    ui
        The widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._listed: list[Finding] = []
        self._about: tuple[str, str] | None = None
        self._commented: tuple[str, str] | None = None
        ui.levelBox.addItems([*LEVELS, UNKNOWN])

    @property
    def finding(self) -> Finding | None:
        """The finding that the buttons are for."""
        index = self._ui.correctionBox.currentIndex
        return self._listed[index] if 0 <= index < len(self._listed) else None

    @property
    def level(self) -> str:
        """The level to give a finding, or to a new one."""
        return self._ui.levelBox.currentText

    @property
    def begun_comment(self) -> tuple[str, str] | None:
        """The ID of a finding and the comment that was typed for it and is not in the result yet."""
        text = self._ui.commentLine.text.strip()
        if self._commented is None or text == self._commented[1]:
            return None
        return self._commented[0], text

    def fill(self, result: StudyResult | None) -> None:
        """List the findings that have a box; the chosen one stays chosen, else one of its level."""
        chosen = self.finding
        self._listed = [] if result is None else list(shown_findings(result).values())
        same = [n for n, one in enumerate(self._listed) if chosen is not None and one.id == chosen.id]
        near = [n for n, one in enumerate(self._listed) if chosen is not None and one.level == chosen.level]
        box = self._ui.correctionBox
        box.blockSignals(True)
        box.clear()
        box.addItems([_title(one) for one in self._listed])
        box.setCurrentIndex([*same, *near, 0][0] if self._listed else -1)
        box.blockSignals(False)
        self.show()

    def choose(self, finding: str) -> None:
        """Choose a finding by its ID, without telling."""
        box, ids = self._ui.correctionBox, [one.id for one in self._listed]
        if finding in ids:
            box.blockSignals(True)
            box.setCurrentIndex(ids.index(finding))
            box.blockSignals(False)
            self.show()

    def of_level(self, level: str) -> str | None:
        """The ID of a level's suspected fracture, or of its vertebra where it has none."""
        fitting = [one for one in self._listed if one.level == level]
        fractures = [one for one in fitting if isinstance(one, FractureFinding)]
        return next((one.id for one in (*fractures, *fitting)), None)

    def show(self) -> None:
        """Show verdict, level and comment of the chosen finding; what was begun stays while it is about the same."""
        finding = self.finding
        is_fracture = isinstance(finding, FractureFinding)
        accepted, rejected = (is_fracture and finding.status == status for status in ("accepted", "rejected"))
        show_pressed(self._ui.acceptButton, accepted, _("Accepted") if accepted else _("Accept"))
        show_pressed(self._ui.rejectButton, rejected, _("Rejected") if rejected else _("Reject"))
        about = (finding.id, finding.level) if finding is not None else None
        if about != self._about:
            self._about = about
            self._ui.levelBox.setCurrentText(finding.level if finding is not None else LEVELS[0])
        commented = (finding.id, finding.comment) if is_fracture else None
        if commented != self._commented:
            self._commented = commented
            self._ui.commentLine.setText(commented[1] if commented else "")

    def enable(self, free: bool) -> None:
        """Enable what can be done with the chosen finding, where anything can be done at all."""
        ui, finding = self._ui, self.finding
        for widget in (ui.acceptButton, ui.rejectButton, ui.commentLine):
            widget.enabled = free and isinstance(finding, FractureFinding)
        for widget in (ui.deleteButton, ui.changeLevelButton, ui.correctionBox):
            widget.enabled = free and finding is not None


def show_pressed(button: Any, pressed: bool, text: str) -> None:
    """Let a button look pressed, also in styles that hardly show it."""
    button.checked = pressed
    button.setText(f"✓ {text}" if pressed else text)


def _title(finding: Finding) -> str:
    if isinstance(finding, VertebraFinding):
        return finding.level
    status = {
        "suggested": _("suggested"),
        "accepted": _("accepted"),
        "rejected": _("rejected"),
        "added": _("added"),
    }[finding.status]
    text = _("{level} fracture {confidence}, {status}")
    return text.format(level=finding.level, confidence=f"{finding.confidence:.2f}", status=status)
