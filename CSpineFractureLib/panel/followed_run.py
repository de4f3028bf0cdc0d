"""The section "Analysis" for the worklist: it can be started from outside, and tells how each run ended."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from CSpineFractureLib.panel.run_panel import RunPanel


class End(enum.Enum):
    """How a run ended. ``LOST``: its CT left the scene; ``CANCELLED``: the user wanted it so."""

    DONE = "done"
    CANCELLED = "cancelled"
    LOST = "lost"
    FAILED = "failed"


class FollowedRun(RunPanel):
    """A ``RunPanel`` with a follower, who gets the end and, where it went wrong, the reason."""

    follower: Callable[[End, str], None] | None = None

    def chosen(self) -> dict[str, Any]:
        """The arguments of ``AnalysisSession.start`` as they are chosen now."""
        return self._request()

    def begin(self, request: dict[str, Any]) -> None:
        """Start as the button Apply does, with other arguments than the chosen ones."""
        chosen, self._request = self._request, lambda: request
        try:
            self._on_button()
        finally:
            self._request = chosen

    def cancel(self) -> None:
        """Press Cancel, where something runs."""
        if self.session.is_busy:
            self._on_button()

    def on_result(self, study: str) -> None:
        try:
            super().on_result(study)
        finally:
            self._tell(End.DONE, "")

    def on_cancelled(self, reason: str) -> None:
        super().on_cancelled(reason)
        self._tell(End.LOST if reason else End.CANCELLED, reason)

    def on_failure(self, message: str) -> None:
        super().on_failure(message)
        self._tell(End.FAILED, message)

    def _tell(self, end: End, reason: str) -> None:
        if self.follower is not None:
            self.follower(end, reason)
