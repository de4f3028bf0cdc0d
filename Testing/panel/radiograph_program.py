"""A worker for radiographs with one small network of random weights: ``python radiograph_program.py [DELAY]``."""

from __future__ import annotations

import sys
import time

import torch

from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.radiograph_nets import BUILDERS
from CSpineFractureLib.panel.radiograph_worker import main

ENTRY = ModelEntry(
    name="tiny",
    version="0.1.0",
    task="radiograph",
    profiles=["radiograph"],
    architecture="radiograph-alexnet",
    licence="Apache-2.0",
    trained_on="synthetic radiographs",
    input={"image": "radiograph", "windows": [], "size": [96, 96], "spacing_mm": [None, None]},
    sha256="0" * 64,
)


class Store:
    """What ``WeightsStore`` offers, with that network alone."""

    def __init__(self, delay: float) -> None:
        self._delay = delay

    def list(self):
        return [ENTRY]

    def find(self, *_what):
        return ENTRY

    def load(self, entry, _device):
        time.sleep(self._delay)
        torch.manual_seed(0)
        network = BUILDERS["radiograph-alexnet"](fc_width=16, batch_norm=True)
        return network.eval().requires_grad_(False), entry.info


if __name__ == "__main__":
    main("cpu", Store(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
