"""The segmentation network of a run: made, started from given weights, and exported with what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import as_metadata
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.starting_weights import start_from
from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.models.weights_file import save_weights
from CSpineFractureLib.training.mask_pictures import CHANNELS
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.slice_export import SHIPPED, network_arguments, start_from_installed
from CSpineFractureLib.volume.slice_stack import NEIGHBOURS


def window_of(setup: Setup) -> str:
    """How the run's model sees a slice: its own ``window``, else the system's."""
    return str(setup.system.model(setup.model).get("window") or setup.system.input["window"])


def spacing_of(setup: Setup) -> float | None:
    """Pixels of squares around the column in mm, ``None`` for whole slices. Raises ``UserError`` for other sizes."""
    sizes = setup.system.input.get("spacing_mm") or [None]
    size = sizes[0]
    if size is None and set(sizes) == {None}:
        return None
    if len(set(sizes)) != 1 or isinstance(size, bool) or not isinstance(size, (int, float)) or size <= 0:
        message = f"input.spacing_mm is {sizes}: use twice the same number of mm, or null for whole slices."
        raise UserError(message)
    return float(size)


def input_of(setup: Setup) -> dict[str, Any]:
    """What the manifest will say of the images that the run's model takes."""
    window = window_of(setup)
    found = {**setup.input, "window": window}
    if window.startswith(NEIGHBOURS):
        centre, _, width = window.removeprefix(NEIGHBOURS).partition("/")
        found["windows"] = [[float(centre), float(width)]]
    return found


def new_network(setup: Setup) -> nn.Module:
    """The run's network with the weights it starts from, in training mode.

    Raises ``UserError`` where it cannot take images of the system's size or does not give nine classes, and where the
    weights are of another network.
    """
    model, arguments, size = setup.system.model(setup.model), network_arguments(setup), setup.size
    try:
        network = create(model["architecture"], **arguments).eval()
        with torch.no_grad():
            given = network(torch.zeros(1, CHANNELS, size, size)).shape
        if given != (1, len(CLASSES), size, size):
            message = f"it gives {' x '.join(map(str, given))} values"
            raise ValueError(message)
    except (ValueError, RuntimeError) as error:
        cause = str(error).splitlines()[0].rstrip(".")
        message = f"Model {setup.model} cannot segment images of {size} x {size} pixels ({cause}): change input.size."
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
