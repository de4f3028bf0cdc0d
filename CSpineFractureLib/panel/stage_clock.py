"""How far a run is, stage by stage, and how long the stage will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from CSpineFractureLib.panel.messages import time_left

#: No forecast before this share of a stage and this many seconds: the first batches are not typical.
_EARLIEST_SHARE, _EARLIEST_S = 0.05, 2.0


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` (0: not known) of a stage, and the line that tells it."""

    stage: str
    done: int
    total: int
    text: str


class StageClock:
    """Turns the worker's progress events into ``Progress``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._begin = 0.0
        self._number = 0

    def take(self, event: dict[str, Any]) -> Progress:
        """The progress after an event ``{"stage", "done", "total", "message"}``."""
        now = self._clock()
        if event["stage"] != self._stage:
            self._stage, self._begin = event["stage"], now
            self._number += 1
        done, total = event["done"], event["total"]
        text = f"Step {self._number}: {event['message'] or event['stage']}"
        if total > 1:
            text += f" ({done} of {total})"
        elapsed = now - self._begin
        if 0 < done < total and done >= _EARLIEST_SHARE * total and elapsed >= _EARLIEST_S:
            text += f", {time_left(elapsed / done * (total - done))}"
        return Progress(event["stage"], done, total, text)
