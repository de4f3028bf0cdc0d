"""How long a run was trained, over all its parts: what ``metrics-<set>.json`` tells of time.

``logs/seconds.txt`` in the run folder holds it and is written every few seconds while training goes on, so that a part
that ended with a kill counts as well, but for its last seconds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training.run_folder import RunFolder

SECONDS_FILE = "seconds.txt"
EVERY_SECONDS = 5.0
OnEvent = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def timed(run: RunFolder, on_event: OnEvent) -> Iterator[OnEvent]:
    """Count the time of the block as training of ``run``; inside, ``on_event`` is told through what this yields.

    A run that has its weights is finished, and one without a checkpoint begins anew. Nothing is raised where the time
    cannot be written: the training itself tells of a full disk.
    """
    finished = run.weights.is_file()
    before = trained_seconds(run) if finished or _is_begun(run) else 0.0
    since = written = time.monotonic()

    def write() -> None:
        with contextlib.suppress(UserError, OSError):
            run.logs.mkdir(parents=True, exist_ok=True)
            write_text_atomically(f"{before + time.monotonic() - since:.1f}\n", run.logs / SECONDS_FILE)

    def tell(event: dict[str, Any]) -> None:
        nonlocal written
        if event["stage"] == "train" and time.monotonic() - written >= EVERY_SECONDS:
            write()
            written = time.monotonic()
        on_event(event)

    try:
        yield tell
    finally:
        if not finished and (run.weights.is_file() or _is_begun(run)):
            write()


def trained_seconds(run: RunFolder) -> float:
    """Seconds that the training of a run has taken so far; 0 where nobody noted it."""
    try:
        return float((run.logs / SECONDS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0


def _is_begun(run: RunFolder) -> bool:
    """Whether there is a checkpoint to go on from."""
    return run.checkpoints.is_dir() and any(run.checkpoints.iterdir())
