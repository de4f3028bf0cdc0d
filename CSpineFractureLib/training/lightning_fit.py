"""Training with Lightning: what the networks of all tasks share.

``fit_lightning`` goes on from the run's last checkpoint when it is called again.
"""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.batches import is_out_of_memory
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.lightning_keep import Keep, SafeFiles, checkpoint_of
from CSpineFractureLib.training.lightning_log import EpochTable, OnEvent, Progress, quiet_lightning
from CSpineFractureLib.training.run_folder import RunFolder


def fit_lightning(
    run: RunFolder, module: Learner, data: lightning.LightningDataModule, options: FitOptions, on_event: OnEvent
) -> None:
    """Train ``module`` to its last epoch; with several processes it is left as it was, its best weights are a file.

    Writes ``checkpoints/`` (``BEST`` holds the weights of the epoch with the highest ``module.monitor``),
    ``logs/metrics.csv`` (a row per epoch) and ``logs/tensorboard``. Call it inside ``one_sentence``. Raises
    ``UserError`` where the checkpoints are of another network; ``KeyboardInterrupt`` goes through, and the last
    checkpoint stays.
    """
    with _events_of_all(on_event, options.devices) as tell:
        trainer = lightning.Trainer(
            **_hardware(options),
            precision=options.precision if options.precision != "32" else "32-true",
            max_epochs=int(run.setup.system.training["epochs"]),
            logger=[EpochTable(run.logs), TensorBoardLogger(run.logs, name="", version="tensorboard")],
            callbacks=[Progress(tell), Keep(run.checkpoints)],
            plugins=[SafeFiles(), LightningEnvironment()],
            default_root_dir=run.path,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        before = signal.getsignal(signal.SIGINT)
        try:
            resumed = checkpoint_of(run.checkpoints, module)
            trainer.fit(module, datamodule=data, ckpt_path=resumed)
        except SystemExit as error:  # how Lightning ends on Ctrl+C
            raise KeyboardInterrupt from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)


def _hardware(options: FitOptions) -> dict[str, Any]:
    """Lightning's words for the device. Raises ``UserError`` where it is not there."""
    device = choose_device(options.device)
    if options.devices == 1:
        devices: int | list[int] = [device.index or 0] if device.type == "cuda" else 1
        return {"accelerator": device.type, "devices": devices}
    count = torch.cuda.device_count() if device.type == "cuda" else options.devices
    if count < options.devices:
        message = f"--gpus {options.devices} cannot be used: this computer has {count}."
        raise UserError(message)
    return {"accelerator": device.type, "devices": options.devices, "strategy": "ddp_spawn"}


@contextlib.contextmanager
def _events_of_all(on_event: OnEvent, processes: int) -> Iterator[OnEvent]:
    """What the trainer calls for ``on_event``; with several processes a thread here passes their events on."""
    if processes == 1:
        yield on_event
        return
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()

    def pass_on() -> None:
        for event in iter(queue.get, None):
            on_event(event)

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield queue.put
    finally:
        queue.put(None)
        thread.join()


@contextlib.contextmanager
def one_sentence(run: RunFolder) -> Iterator[None]:
    """Turn what a user can put right into ``UserError``, and keep Lightning quiet."""
    try:
        with quiet_lightning():
            yield
    except torch.multiprocessing.ProcessRaisedException as error:
        known = re.search(r"^\S*UserError: (.+)$", str(error), re.MULTILINE)
        if known is None:
            raise
        raise UserError(known[1]) from error
    except OSError as error:
        full = "there is no space left" if error.errno == errno.ENOSPC else error.strerror or error
        message = f"'{run.path}' cannot be written ({full}): free some space; the same command then goes on."
        raise UserError(message) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        message = "The memory does not suffice for a batch: lower training.batch with --set, or use another --device."
        raise UserError(message) from error


def telling(on_event: OnEvent, stage: str, message: str) -> Callable[[int, int], None]:
    """Progress of a stage, as events."""
    return lambda done, total: on_event({"stage": stage, "done": done, "total": total, "message": message})
