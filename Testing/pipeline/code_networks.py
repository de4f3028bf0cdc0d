"""Networks that read coded volumes (``coded_phantom``, ``made_neck``), in a weights store, for the other stages of the
``unet-cracknet`` profile."""

from __future__ import annotations

import coded_phantom
import torch
from made_neck import ReadsHU

from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.registry import register
from CSpineFractureLib.models.store import WeightsStore, save_weights


class StoredLocator(ReadsHU):
    """``ReadsHU`` with a weight, for a file of weights holds at least one."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))


register("code-reader", coded_phantom.CodeReader)
register("gap-reader", coded_phantom.GapReader)
register("stored-locator", StoredLocator)


def install(store: WeightsStore, network: torch.nn.Module, architecture: str, entry: ModelEntry) -> ModelEntry:
    """Put a network into the store under its own architecture."""
    told = {**vars(entry), "architecture": architecture, "arguments": {}, "sha256": ""}
    path = store.user.parent / f"{entry.name}.safetensors"
    save_weights(network, path, torch.float32)
    return store.install(path, ModelEntry(**told))


def install_segmentation(store: WeightsStore) -> ModelEntry:
    return install(store, *_named(coded_phantom.segmentation(), "code-reader"))


def install_vertebra_fracture(store: WeightsStore) -> ModelEntry:
    return install(store, *_named(coded_phantom.fractures(), "gap-reader"))


def install_locator(store: WeightsStore) -> ModelEntry:
    return install(store, StoredLocator(), "stored-locator", coded_phantom.entry_of("column-locator", 64, "sagittal"))


def _named(made: tuple[torch.nn.Module, ModelEntry], architecture: str) -> tuple[torch.nn.Module, str, ModelEntry]:
    network, entry = made
    return network, architecture, entry
