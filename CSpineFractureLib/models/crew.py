"""A few threads that work side by side in one run; where the process has one core, none.

Numerical libraries share one step among all threads, and everything between two steps runs on one of them. Two streams
of work with half of the threads each leave no core idle: while one stream draws pictures, the other runs its network.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch

STREAMS = 2
"""More hold more activations in memory at once."""


class Task(Protocol):
    """What ``Crew.start`` gives."""

    def result(self) -> Any:
        """What the function returned, waited for; raises what it raised."""


class Crew:
    """Starts functions beside the calling thread, ``size`` at a time, each with its share of torch's threads.

    With a size of 1 there are no threads: a function runs when its result is asked for. Close it, or use it in a
    ``with`` block: functions that have not begun are dropped then, and those that run are waited for.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        if size > 1:
            share = max(1, self._threads // size)
            self._pool = ThreadPoolExecutor(size, "crew", torch.set_num_threads, (share,))

    @classmethod
    def of(cls, device: str) -> Crew:
        """For networks on ``device``: an accelerator computes beside the caller anyway, and its memory is short."""
        return cls(STREAMS if device == "cpu" and torch.get_num_threads() > 1 else 1)

    def start(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Let a thread call ``function``; it must not wait for other tasks of the crew."""
        return _Later(function, arguments) if self._pool is None else self._pool.submit(function, *arguments)

    def close(self) -> None:
        """No thread of the crew is left afterwards."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(self._threads)  # which the threads have set for those to come, too

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()


class _Later:
    """A task that runs in the thread that asks for its result, once."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments
        self._answer: list[Any] = []

    def result(self) -> Any:
        if not self._answer:
            self._answer.append(self._function(*self._arguments))
        return self._answer[0]
