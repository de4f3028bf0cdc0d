"""The network a YOLO run begins with: random, from weights on this computer, or from a file; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.weights_file import load_weights
from CSpineFractureLib.models.yolo import set_class_prior
from CSpineFractureLib.training.run_folder import RunFolder

SHIPPED = "shipped"


def first_network(run: RunFolder, store: WeightsStore | None = None) -> nn.Module:
    """The network of ``run.setup``, its random weights drawn from the seed, with what ``start`` gives put over them.

    ``start``: empty; ``shipped``, the newest weights of the task and architecture in ``store``; or a file of weights,
    as ``models.starting_weights.start_from`` reads it. Class scores of other classes are left out and begin at the
    prior. Raises ``UserError`` where the weights do not fit or the system's model cannot be made.
    """
    entry, start = run.entry(), run.setup.start
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.setup.seed)
        model = _made(entry)
    set_class_prior(model)
    if start == SHIPPED:
        _take_over(model, shipped_weights(entry, store or WeightsStore()))
    elif start:
        from CSpineFractureLib.models.starting_weights import start_from

        start_from(model, Path(start))
    return model


def shipped_weights(entry: ModelEntry, store: WeightsStore) -> nn.Module:
    """The first network in the store with the task, the architecture and the channels of ``entry``.

    Raises ``UserError`` where there is none: it tells of the channels where only these are others.
    """
    of_task = [other for other in store.list() if other.task == entry.task]
    alike = [other for other in of_task if other.architecture == entry.architecture]
    for other in alike:
        if _channels(other) == _channels(entry):
            store.verify(other)
            return load_weights(_made(other), other.path)
    if alike:
        message = (
            f"The weights of a {entry.architecture} for the {entry.task} on this computer have other arguments "
            f"(channels={_channels(alike[0])}, wanted channels={_channels(entry)}): start from a file of weights with "
            f"--start FILE, or leave --start out."
        )
        raise UserError(message)
    there = ", ".join(sorted({other.architecture for other in of_task})) or "none"
    message = (
        f"No weights of a {entry.architecture} for the {entry.task} are on this computer (there: {there}): train"
        " another model, or from random weights or a file."
    )
    raise UserError(message)


def _channels(entry: ModelEntry) -> int:
    """Of its input; three, where nothing is said."""
    return int(entry.arguments.get("channels", 3))


def _take_over(model: nn.Module, other: nn.Module) -> None:
    """Put the weights that both networks have, in the same shape, into ``model``."""
    own = model.state_dict()
    shared = {name: value for name, value in other.state_dict().items() if own[name].shape == value.shape}
    model.load_state_dict(shared, strict=False)


def _made(entry: ModelEntry) -> nn.Module:
    try:
        return create(entry.architecture, **entry.arguments)
    except ValueError as error:
        message = f"The system's model {entry.architecture} cannot be made: {str(error).rstrip('.')}."
        raise UserError(message) from error
