"""The real architectures with random weights through their profiles: noise must give a valid result, not a fault."""

from __future__ import annotations

import numpy as np
import picture_networks
import pytest
import torch

from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.result_rows import result_rows
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.volume.ct_volume import CTVolume

EVERYTHING = {"vertebra_box": 0.0, "level_confidence": 0.0, "fracture_box": 0.0, "fracture": 0.0, "level_presence": 0.0}


@pytest.fixture(scope="module")
def volume():
    whole = picture_networks.block_study().volume
    return CTVolume(np.ascontiguousarray(whole.hu[46:52]), whole.ijk_to_ras)


def installed(store, task, profile, architecture, size, window="500/2000", **arguments):
    torch.manual_seed(0)
    network = create(architecture, **arguments)
    picture_networks.install(store, network, task, profile, architecture, size, window, **arguments)


@pytest.mark.parametrize(
    ("profile", "networks"),
    [
        ("vertebra-yolo", [("vertebra-detector", "yolov5n", 128, "500/2000", {"classes": 7, "channels": 3})]),
        (
            "gcvit-yolo",
            [
                ("level-presence", "level-gcvit-tiny", 224, "minmax", {}),
                ("fracture-detector", "yolov8n", 128, "minmax", {"classes": 1, "channels": 3}),
            ],
        ),
        (
            "two-stage",
            [
                ("vertebra-detector", "yolov8n", 128, "500/2000", {"classes": 7, "channels": 3}),
                ("slice-classifier", "slice-cnn", 224, "500/2000", {"fc_layers": 2}),
            ],
        ),
    ],
)
def test_noise_gives_a_valid_result(volume, profile, networks, tmp_path):
    store = WeightsStore(tmp_path / "models")
    for task, architecture, size, window, arguments in networks:
        installed(store, task, profile, architecture, size, window, **arguments)
    names = {entry.task: entry.name for entry in store.list() if not entry.bundled}
    output = Engine(store, device="cpu").run_study(volume, profile, thresholds=EVERYTHING, models=names)[1]
    assert first_fault(output.result.to_dict()) is None
    assert len(result_rows(output.result)) >= 7
    used = {model.task: model.trained_on for model in output.result.models}
    assert all(used[task] == "nothing" for task, *_ in networks)
