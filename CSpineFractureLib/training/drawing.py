"""Endless random batches, drawn by worker processes while the network learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class _Draws(IterableDataset):
    """An endless stream of collated batches; each worker has a random stream of its own."""

    def __init__(self, draw: Callable, collate: Callable, batch: int, seed: int) -> None:
        self._draw, self._collate, self._batch, self._seed = draw, collate, batch, seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        if worker is not None:
            cv2.setNumThreads(1)
            torch.set_num_threads(1)
        rng = np.random.default_rng([self._seed, 0 if worker is None else worker.id])
        while True:
            yield self._collate([self._draw(rng, n) for n in range(self._batch)])


def drawn_batches(
    draw: Callable[[np.random.Generator, int], Any], collate: Callable[[list], Any], batch: int, seed: int, workers: int
) -> Iterator[Any]:
    """Endless batches of ``draw(rng, place in the batch)``, collated; the same seed and workers give the same batches.

    ``workers`` 0 draws in this process.
    """
    context = {"multiprocessing_context": "fork", "prefetch_factor": 3} if workers else {}
    return iter(DataLoader(_Draws(draw, collate, batch, seed), batch_size=None, num_workers=workers, **context))
