"""Endless random batches, drawn by threads while the network learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np

AHEAD = 3


def drawn_batches(
    draw: Callable[[np.random.Generator, int], Any],
    collate: Callable[[list], Any],
    batch: int,
    seed: int,
    workers: int,
    first: int = 0,
) -> Iterator[Any]:
    """Endless batches of ``draw(rng, place in the batch)``, collated.

    Every batch has a random stream of its own, so the same seed gives the same batches with any number of workers; 0
    draws in this thread. ``first``: number of the first batch, to go on with a run. Threads, not processes: numpy and
    OpenCV compute without Python's lock, and a process forked from one that has computed already may hang.
    """

    def make(number: int) -> Any:
        rng = np.random.default_rng([seed, number])
        return collate([draw(rng, place) for place in range(batch)])

    if not workers:
        yield from map(make, count(first))
    with ThreadPoolExecutor(workers, thread_name_prefix="draw") as pool:
        numbers = count(first)
        waiting = deque(pool.submit(make, next(numbers)) for _ in range(AHEAD * workers))
        try:
            while True:
                waiting.append(pool.submit(make, next(numbers)))
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
