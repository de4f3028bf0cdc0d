"""Training of the vertebra classifiers (document 002, stage 2): the functions of ``tasks``.

``fit`` goes on from the run's last checkpoint when it is called again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import default_collate

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.batches import run_batches
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.manifest import as_metadata
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.starting_weights import start_from
from CSpineFractureLib.models.weights_file import load_weights, save_weights
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_fit import fit_lightning, one_sentence, telling
from CSpineFractureLib.training.lightning_keep import BEST
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.slice_export import (
    SHIPPED,
    check_network,
    exported_network,
    network_arguments,
    start_from_installed,
)
from CSpineFractureLib.training.teachable import plain
from CSpineFractureLib.training.vertebra_images import make_images
from CSpineFractureLib.training.vertebra_pictures import Shown, VertebraPictures, input_of, vertebra_data
from CSpineFractureLib.training.vertebra_report import measure, write_answers
from CSpineFractureLib.training.vertebra_task import VertebraTask

__all__ = ["check", "fit", "look", "make_images", "measure"]

PREDICT_BATCH = 4


def check(setup: Setup) -> None:
    """Raise ``UserError`` where the model cannot take crops of its size, or not start from the weights."""
    check_network(setup, new_network)


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """Train the network of a run, or go on with it, and export the weights of its best epoch.

    A run that has its weights is left as it is. Raises ``UserError`` where the crops or starting weights do not serve,
    the checkpoints are of another network, or memory or disk space are short; ``KeyboardInterrupt`` goes through, and
    the last checkpoint stays.
    """
    if run.weights.is_file():
        return
    with one_sentence(run):
        data = vertebra_data(run, options.workers)
        data.read_all(telling(on_event, "pictures", "Reading the crops"))
        lightning.seed_everything(run.setup.seed, workers=True, verbose=False)
        module = VertebraTask(new_network(run.setup), run.setup.system, data.training.targets, run.setup.seed)
        fit_lightning(run, module, data, options, on_event)
        export_weights(run, load_weights(plain(module.network), run.checkpoints / BEST, run.remedy))


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's exported network look at a set; returns ``predictions-<set>.csv`` (see ``write_answers``).

    Raises ``UserError`` where weights or crops are missing or damaged.
    """
    network = exported_network(run)
    split = "val" if set_name == "val" else "test"
    pictures = VertebraPictures(run.images_of(set_name), split, replace(Shown.of(run.setup), cracks=False))

    @torch.inference_mode()
    def look_at(batch: Sequence[int], where: str) -> torch.Tensor:
        crops = default_collate([pictures[index][0] for index in batch])
        return torch.sigmoid(network.to(where)(crops.to(where)).float()).cpu()

    tell = telling(on_event, "predict", f"Looking at the vertebrae of {set_name}")
    found = run_batches(look_at, range(len(pictures)), PREDICT_BATCH, choose_device(str(device)), tell)
    write_answers(run.predictions(set_name), pictures.rows, [float(one) for one in found])
    return run.predictions(set_name)


def new_network(setup: Setup) -> nn.Module:
    """The run's network with the weights it starts from, in training mode.

    Raises ``UserError`` where it cannot take crops of the system's size and channels or does not give one logit, and
    where the weights are of another network.
    """
    model, arguments, shown = setup.system.model(setup.model), network_arguments(setup), Shown.of(setup)
    try:
        network = create(model["architecture"], **arguments).eval()
        with torch.no_grad():
            given = tuple(network(torch.zeros(1, 1, shown.channels, shown.size, shown.size)).shape)
        if given != (1,):
            message = f"it gives {' x '.join(map(str, given))} values"
            raise ValueError(message)
    except (ValueError, RuntimeError) as error:
        cause = str(error).splitlines()[0].rstrip(".")
        message = (
            f"Model {setup.model} cannot judge crops of {shown.size} x {shown.size} pixels in {shown.channels} channels"
            f" ({cause}): change input.size or the model."
        )
        raise UserError(message) from error
    if setup.start == SHIPPED:
        start_from_installed(network, setup, arguments)
    elif setup.start:
        start_from(network, setup.start)
    return network.train()


def export_weights(run: RunFolder, network: nn.Module) -> None:
    """Write the run's weights with all that is needed to install them. Raises ``UserError`` where that fails."""
    entry = replace(run.entry(), arguments=network_arguments(run.setup), input=input_of(run.setup))
    save_weights(network, run.weights, metadata=as_metadata(entry))
