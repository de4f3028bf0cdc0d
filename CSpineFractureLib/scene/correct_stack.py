"""The steps of a study's corrections: undo, redo, and a limit to what is remembered."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.scene.json_node import settled
from CSpineFractureLib.scene.label_delta import LabelDelta
from CSpineFractureLib.scene.segment_labels import Segments

MOST_STEPS = 200
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class State:
    """A result as compressed JSON, and which segments there were; voxels are kept as differences alone."""

    packed: bytes
    segments: Segments

    def result(self) -> StudyResult:
        """The result, as ``result.json`` would give it back."""
        return StudyResult.from_dict(json.loads(zlib.decompress(self.packed)))


def state_of(result: StudyResult, segments: Segments) -> State:
    """The state of a result (floats rounded to 1e-6) and its segments."""
    text = json.dumps(settled(result).to_dict(), ensure_ascii=False, allow_nan=False)
    return State(zlib.compress(text.encode(), 6), segments)


@dataclass(frozen=True)
class Step:
    """One correction: what it is called, its line in the log, the states around it, and the voxels it changed.

    ``exchanged`` are the findings that stand in one of both states only.
    """

    text: str
    entry: dict[str, Any]
    before: State
    after: State
    delta: LabelDelta | None = None
    exchanged: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Bytes that are kept for this step alone; its first state is the last one of the step before."""
        return len(self.after.packed) + (len(self.delta.packed) if self.delta else 0)


class CorrectionStack:
    """Steps that can be undone and redone. The oldest are forgotten beyond 200 steps or 64 MiB."""

    def __init__(self, most_steps: int = MOST_STEPS, most_bytes: int = MOST_BYTES) -> None:
        self.done: list[Step] = []
        self.undone: list[Step] = []
        self._most_steps, self._most_bytes = most_steps, most_bytes

    def push(self, step: Step) -> None:
        """Add a step that has been done; what was undone before can no longer be redone."""
        self.undone.clear()
        self.done.append(step)
        while len(self.done) > 1 and (len(self.done) > self._most_steps or self.size > self._most_bytes):
            del self.done[0]

    @property
    def size(self) -> int:
        """Bytes that are kept for all steps."""
        return sum(step.size for step in (*self.done, *self.undone))

    def kept_findings(self) -> frozenset[str]:
        """The findings that undoing or redoing may bring back."""
        return frozenset().union(*(step.exchanged for step in (*self.done, *self.undone)))
