"""The network of a run: made, started from given weights, exported, and read back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.level_regressor import BLOCK
from CSpineFractureLib.models.manifest import as_metadata, from_metadata
from CSpineFractureLib.models.neck_block import LEAST_BLOCK
from CSpineFractureLib.models.registry import create, prepare_for_inference
from CSpineFractureLib.models.sagittal_net import WINDOWS_HU
from CSpineFractureLib.models.starting_weights import start_from
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.weights_file import load_weights, read_metadata, save_weights
from CSpineFractureLib.training.learner import check_plan
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.systems import load_system, system_names
from CSpineFractureLib.training.tasks import use_of

SHIPPED = "shipped"


def network_arguments(setup: Setup) -> dict[str, Any]:
    """Arguments of the run's network; those of document 004 are built for the size of their images."""
    system = setup.system
    arguments = dict(system.model(setup.model)["arguments"])
    return {"image_size": setup.size, **arguments} if system.task == "level-presence" else arguments


def new_network(setup: Setup) -> nn.Module:
    """The run's network with the weights it starts from, in training mode.

    Those of a file or of an installed network (``shipped``); a level-presence network then keeps frozen what document
    004 keeps frozen. Raises ``UserError`` where the network cannot take images of the system's size, or the weights
    are of another network.
    """
    model, arguments, size = setup.system.model(setup.model), network_arguments(setup), setup.size
    try:
        network = create(model["architecture"], **arguments).eval()
        with torch.no_grad():
            network(*_nothing(setup))
    except (ValueError, RuntimeError) as error:
        # torch's own words (of a RuntimeError) tell of matrices, not of pictures
        cause = f" ({str(error).splitlines()[0].rstrip('.')})" if isinstance(error, ValueError) else ""
        usual = load_system(setup.system.name).size if setup.system.name in system_names() else 224
        message = (
            f"Model {setup.model} cannot take images of {size} x {size} pixels{cause}: use --set input.size={usual}, or"
            f" another model."
        )
        raise UserError(message) from error
    if setup.start == SHIPPED:
        start_from_installed(network, setup, arguments)
    elif setup.start:
        start_from(network, setup.start)
    if setup.start and setup.system.task == "level-presence":
        network.freeze()
    return network.train()


def check_network(setup: Setup, make: Callable[[Setup], nn.Module] = new_network) -> None:
    """Raise ``UserError`` as ``make`` does, and for an optimiser or a schedule that there is not; where no weights are
    given, that takes neither memory nor much time."""
    check_plan(setup.system)
    with contextlib.nullcontext() if setup.start else torch.device("meta"):
        make(setup)


def export_weights(run: RunFolder, network: nn.Module) -> None:
    """Write the run's weights with all that is needed to install them. Raises ``UserError`` where that fails."""
    entry = replace(run.entry(), arguments=network_arguments(run.setup))
    save_weights(network, run.weights, metadata=as_metadata(entry))


def exported_network(run: RunFolder) -> nn.Module:
    """The run's network ready for use, on the CPU. Raises ``UserError`` where it is missing or damaged."""
    if not run.weights.is_file():
        message = f"'{run.path}' holds no weights yet ({run.weights.name}): train it to the end first."
        raise UserError(message)
    remedy = f"delete it, and 'cspine train {run.setup.system.name}' makes it again from the run's checkpoints"
    try:
        entry = from_metadata(read_metadata(run.weights), run.weights)
    except UserError as error:
        message = f"'{run.weights}' is damaged: {remedy}."
        raise UserError(message) from error
    try:
        network = create(entry.architecture, **entry.arguments)
    except ValueError as error:
        message = f"'{run.weights}' needs another version of this program ({error}) Train it again."
        raise UserError(message) from error
    if entry.architecture != run.entry().architecture:
        message = f"'{run.weights}' holds another network ({entry.architecture}): {remedy}."
        raise UserError(message)
    return prepare_for_inference(load_weights(network, run.weights, remedy))


def start_from_installed(network: nn.Module, setup: Setup, arguments: dict[str, Any]) -> None:
    """Fill ``network`` from the first installed weights of its task and architecture."""
    task, architecture = use_of(setup.system.task), setup.system.model(setup.model)["architecture"]
    store = WeightsStore()
    entries = [entry for entry in store.list() if (entry.task, entry.architecture) == (task, architecture)]
    if not entries:
        message = (
            f"--start {SHIPPED} finds no weights of {architecture} for the {task} on this computer: "
            f"start from a file, or leave it out."
        )
        raise UserError(message)
    try:
        network.load_state_dict(store.load(entries[0])[0].state_dict())
    except RuntimeError as error:
        message = (
            f"--start {SHIPPED}: weights '{entries[0].name}' were made with the arguments {entries[0].arguments}, "
            f"{setup.model} has {arguments}; start from a file, or leave it out."
        )
        raise UserError(message) from error


def _nothing(setup: Setup) -> tuple[torch.Tensor, ...]:
    """An empty input of the network's shape."""
    if setup.system.task == "level-regressor":
        return (torch.zeros(1, len(WINDOWS_HU), *BLOCK),)
    if setup.system.task == "volume-segmentation":
        return (torch.zeros(1, len(WINDOWS_HU), *LEAST_BLOCK),)  # it takes any size
    channels = 10 if setup.system.task == "column-locator" else 1
    metadata = (torch.zeros(1, 2),) if setup.system.task == "level-presence" else ()
    return torch.zeros(1, channels, setup.size, setup.size), *metadata
