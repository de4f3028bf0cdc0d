"""The samples of a run in batches; a training that goes on inside an epoch goes on with those it has not yet seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import lightning
import torch
from torch.utils.data import DataLoader, DistributedSampler

from CSpineFractureLib.datasets.part_folder import Progress, no_progress


class Samples(Protocol):
    """A torch data set; asked for ``(epoch, index)`` it augments the sample, by ``seed``, the epoch and the index."""

    seed: int

    def __len__(self) -> int: ...

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, ...]: ...

    def read_all(self, on_progress: Progress = no_progress) -> Any:
        """Read all samples into memory, unless too many. Raises ``UserError`` for a missing or damaged one."""


class EpochSampler(DistributedSampler):
    """Shuffled ``(epoch, index)``, the same for a seed and an epoch; ``skip`` samples are left out of the first pass.

    With several processes each gets its share.
    """

    def __init__(
        self, samples: Samples, processes: int = 1, rank: int = 0, seed: int = 0, epoch: int = 0, skip: int = 0
    ) -> None:
        super().__init__(samples, num_replicas=processes, rank=rank, shuffle=True, seed=seed)
        self.set_epoch(epoch)
        self._skip = skip

    def __iter__(self) -> Iterator[tuple[int, int]]:
        skip, self._skip = self._skip, 0
        yield from [(self.epoch, index) for index in super().__iter__()][skip:]


class EpochData(lightning.LightningDataModule):
    """Training and validation samples of a run; the order of the former follows from their seed and the epoch.

    ``batch`` samples are learned from at a time, ``watched`` (as many, if not given) are validated at a time. A last
    batch of a single sample is left out, for batch normalisation cannot learn from one, unless ``alone`` says that it
    can. ``join`` makes a batch of a list of samples; torch's own way stacks them.
    """

    def __init__(
        self,
        training: Samples,
        validation: Samples,
        batch: int,
        workers: int = 0,
        *,
        watched: int | None = None,
        alone: bool = False,
        join: Callable[[list], Any] | None = None,
    ) -> None:
        super().__init__()
        self.training, self.validation = training, validation
        self._batch, self._watched, self._workers = batch, watched or batch, workers
        self._alone, self._join = alone, join

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """Read the samples of both sets into memory, as far as they fit. Raises ``UserError`` for a damaged one."""
        self.training.read_all(on_progress)
        self.validation.read_all(on_progress)

    def setup(self, stage: str) -> None:
        """In each process."""
        self.read_all()

    def train_dataloader(self) -> DataLoader:
        """From where the checkpoint was written, where that was inside an epoch."""
        trainer, fit = self.trainer, self.trainer.fit_loop
        seen = self._batch * fit.epoch_loop.batch_progress.current.processed if fit.restarting else 0
        place = (trainer.world_size, trainer.global_rank)
        sampler = EpochSampler(self.training, *place, self.training.seed, trainer.current_epoch, seen)
        lonely = len(sampler) % self._batch == 1 and len(sampler) > 1
        return self._loader(self.training, self._batch, sampler=sampler, drop_last=lonely and not self._alone)

    def val_dataloader(self) -> DataLoader:
        """In the order of the table."""
        return self._loader(self.validation, self._watched)

    def _loader(self, samples: Samples, batch: int, **more: Any) -> DataLoader:
        steady = {"num_workers": self._workers, "persistent_workers": self._workers > 0}
        pinned = torch.cuda.is_available()
        return DataLoader(samples, batch, collate_fn=self._join, pin_memory=pinned, **steady, **more)
