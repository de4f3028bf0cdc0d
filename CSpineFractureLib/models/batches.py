"""Running something over many items in batches, with less memory when there is too little."""

from __future__ import annotations

import gc
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from CSpineFractureLib.models.crew import Crew, Task

LEAST = 2
"""Items of a crew's smallest batches."""
_OUT_OF_MEMORY = (
    "out of memory",
    "status_alloc_failed",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
)


def run_batches(
    function: Callable[[Sequence[Any], str], Any],
    items: Sequence[Any],
    batch_size: int,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
    check_cancelled: Callable[[], None] | None = None,
    warn: Callable[[str, str], None] | None = None,
    crew: Crew | None = None,
) -> list[Any]:
    """``function`` over all ``items``; one result per item, in order.

    Parameters
    ----------
    function
        ``function(batch, device)``: a slice of ``items`` and the device as a string; returns a sequence (list, array,
        tensor) with one result per item. It moves its own network and tensors to ``device``, since that may change.
        A batch that ran out of memory is run again, so it should have no other effect.
    batch_size
        Items per batch at first, at most; at least 1. A crew's last batches are smaller (see ``_next_size``).
    device
        Where to begin. When memory does not suffice the batch is halved, down to a single item; when not even that
        fits on an accelerator, the rest runs on ``"cpu"``, with the first batch size again. Both stay so to the end.
    on_progress
        ``on_progress(done, total)`` after each batch.
    check_cancelled
        Called before each batch; raises ``errors.Cancelled`` to stop.
    warn
        ``warn(code, message)``, the parts of a ``Notice``: ``batch-halved`` or ``moved-to-cpu``, each at most once.
    crew
        Whose threads run ``function``, several batches at once; by default one after another in the calling thread,
        which calls ``on_progress``, ``check_cancelled`` and ``warn`` either way.

    Raises MemoryError when a single item does not fit on the CPU either.
    """
    device = str(device)
    first_size = size = max(1, int(batch_size))
    crew = crew or Crew()
    most_started = crew.size + (crew.size > 1)  # one waits, so that no thread has to
    results: list[Any] = []
    running: deque[tuple[Sequence[Any], Task]] = deque()
    told: set[str] = set()

    def tell(code: str, message: str) -> None:
        if warn is not None and code not in told:
            warn(code, message)
        told.add(code)

    while len(results) < len(items):
        begun = len(results) + sum(len(batch) for batch, _ in running)
        if begun < len(items) and len(running) < most_started:
            if check_cancelled is not None:
                check_cancelled()
            batch = items[begun : begun + _next_size(len(items) - begun, size, crew.size)]
            running.append((batch, crew.start(_attempt, function, batch, device)))
            continue
        batch, task = running.popleft()
        answer, fault = task.result()
        if fault is not None:
            for _, other in running:
                other.result()  # so that its memory is free
            running.clear()
            _release_memory(device)
            if most_started > 1:
                most_started = 1  # alone it may fit
            elif len(batch) > 1:
                size = len(batch) // 2
                tell("batch-halved", f"Memory was short on {device}: smaller batches are used, which takes longer.")
            elif device != "cpu":
                tell("moved-to-cpu", f"The memory of {device} did not suffice: the CPU goes on, which takes longer.")
                device, size = "cpu", first_size
            else:
                message = f"There is not enough memory to process a single item ({fault})."
                raise MemoryError(message)
            continue
        if len(answer) != len(batch):
            message = f"The batch function gave {len(answer)} results for {len(batch)} items."
            raise ValueError(message)
        results.extend(answer)
        if on_progress is not None:
            on_progress(len(results), len(items))
    return results


def _next_size(left: int, most: int, streams: int) -> int:
    """Items of the next batch. Several streams get half of their share of what is left, at least ``LEAST``, so that
    none waits long for another's last batch (guided self-scheduling: Polychronopoulos & Kuck, IEEE ToC 1987)."""
    return most if streams == 1 else min(most, max(LEAST, math.ceil(left / (2 * streams))))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means "too little memory": torch's own, Python's, or a RuntimeError that says so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _attempt(function: Callable, batch: Sequence[Any], device: str) -> tuple[Any, str | None]:
    """The answer, or the first line of the out-of-memory error. The exception itself is let go: it keeps tensors."""
    try:
        return function(batch, device), None
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
        return None, (str(error).splitlines() or [""])[0] or type(error).__name__


def _release_memory(device: str) -> None:
    gc.collect()
    if device.startswith("cuda") and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif device.startswith("mps") and torch.backends.mps.is_available():
        torch.mps.empty_cache()
