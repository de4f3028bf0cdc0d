"""Every network of document 002, untrained: exported as a run does, installed and chosen by ``cspine``, it gives on a
whole CT what the profile is said to give (networks that read coded volumes do the profile's other stages)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cspine_runner import cspine_here
from exported_networks import each_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

import code_networks
from coded_phantom import coded_study, dice
from made_neck import a_neck

from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.yolo import set_class_prior
from CSpineFractureLib.training import segmentation_export, slice_export, vertebra_run
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.training.yolo_checkpoint import write_best
from CSpineFractureLib.training.yolo_fit import export_best
from CSpineFractureLib.training.yolo_start import first_network
from CSpineFractureLib.volume.ct_volume import CTVolume

SMALL = {
    "002-segmentation": {"input.size": 64},
    "002-segmentation-3d": {"input.size": 32, "input.slices": 64},
    "002-vertebra-crop": {"input.size": 64},
    "002-vertebra-fracture": {"input.size": 64, "input.slices": 6},
}
"""Quick recipes made smaller still."""
QUICK = {
    "unet-mobilenet",
    "unet-efficientnet-b5-25d",
    "resnet3d-small",
    "yolov5n",
    "cracknet-resnet18-mask",
    "vertebra-resnet50-whole",
}
ANYTHING = ("level_confidence", "vertebra_box", "fracture", "gradcam", "resolution_gate")
"""Thresholds that are put to 0, for an untrained network is sure of nothing."""


def exported(runs: Path, name: str, model: str) -> RunFolder:
    """A run with the weights of an untrained network."""
    setup = Setup(load_system(name, quick=True, overrides=SMALL[name]), model, seed=1, source="phantom")
    run = RunFolder(runs / name / model, setup)
    run.path.mkdir(parents=True)
    torch.manual_seed(1)
    if name == "002-segmentation":
        segmentation_export.export_weights(run, unsure(segmentation_export.new_network(setup)))
    elif name == "002-segmentation-3d":
        slice_export.export_weights(run, calling_all_c4(slice_export.new_network(setup)))
    elif name == "002-vertebra-fracture":
        vertebra_run.export_weights(run, vertebra_run.new_network(setup))
    else:
        network = first_network(run)
        set_class_prior(network, 0.3)
        write_best(run.checkpoints, network, epoch=0)
        export_best(run)
    return run


def unsure(network: torch.nn.Module) -> torch.nn.Module:
    """Whose answer is one half for bone and for none, unless what comes before is no number."""
    head = network.unet.segmentation_head[0]
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return network


def calling_all_c4(network: torch.nn.Module) -> torch.nn.Module:
    """Whose answer is C4 everywhere, unless what comes before is no number."""
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    network.head.bias.data[4] = 3.0
    return network


def written(volume: CTVolume, path: Path) -> Path:
    """The volume as a file."""
    lps = np.diag([-1, -1, 1, 1]) @ volume.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(volume.hu)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


def gives_segments_of_what_it_calls_bone(result: dict, segments: np.ndarray, cam: np.ndarray | None) -> None:
    """The locator names the blocks; without the network's bone there would be no segment of them."""
    assert [vertebra["level"] for vertebra in result["vertebrae"]] == list(LEVELS)
    assert (a_neck()[0].hu[segments > 0] > 200).mean() > 0.5
    assert not result["fractures"]
    assert cam is None


def gives_what_it_calls_c4(result: dict, segments: np.ndarray, cam: np.ndarray | None) -> None:
    """The names are its own, but one C4 cannot be as tall as a neck: it is divided among its neighbours."""
    levels = [vertebra["level"] for vertebra in result["vertebrae"]]
    assert "C4" in levels
    assert len(levels) < len(LEVELS)
    assert segments.any()
    assert cam is None


def gives_segments_and_level_probabilities_with_cam(result: dict, segments: np.ndarray, cam: np.ndarray | None) -> None:
    assert all(dice(segments, coded_study().labels, number) > 0.8 for number in range(1, 8))
    judged = [vertebra for vertebra in result["vertebrae"] if vertebra["fracture_assessable"] is True]
    assert {vertebra["level"] for vertebra in judged} >= {"C2", "C3", "C4", "C5", "C6"}
    assert all(0 < vertebra["fracture_probability"] < 1 for vertebra in judged)
    assert result["study"]["fracture_probability"] == max(vertebra["fracture_probability"] for vertebra in judged)
    assert len(result["fractures"]) == len(judged)
    assert cam.any()


PARTNERS = {
    "002-segmentation": {"column-locator": code_networks.install_locator},
    "002-segmentation-3d": {"column-locator": code_networks.install_locator},
    "002-vertebra-crop": {
        "segmentation": code_networks.install_segmentation,
        "vertebra-fracture": code_networks.install_vertebra_fracture,
    },
    "002-vertebra-fracture": {"segmentation": code_networks.install_segmentation},
}


GIVES = {
    "002-segmentation": gives_segments_of_what_it_calls_bone,
    "002-segmentation-3d": gives_what_it_calls_c4,
}


@pytest.mark.parametrize(("name", "model"), each_network(SMALL, QUICK))
def test_an_exported_network_runs_as_unet_cracknet_on_a_whole_ct(capfd, own, tmp_path, name, model):
    run = exported(own, name, model)
    ended = cspine_here(capfd, "models", "install", run.weights)
    assert ended.code == 0, ended.err
    partners = {task: install(WeightsStore()).name for task, install in PARTNERS[name].items()}
    chosen = {run.entry().task: run.entry().name, **partners}
    words = [word for task, network in chosen.items() for word in ("--model", f"{task}={network}")]
    words += [word for threshold in ANYTHING for word in ("--threshold", f"{threshold}=0")]
    segmented = run.entry().task == "segmentation"
    ct, out = written(a_neck()[0] if segmented else coded_study().volume, tmp_path / "ct.nrrd"), tmp_path / "out"
    ended = cspine_here(
        capfd, "run", ct, "-o", out, "--profile", "unet-cracknet", "--device", "cpu", "--no-render", *words
    )
    assert ended.code == 0, ended.err
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert first_fault(result) is None
    assert {used["task"]: used["name"] for used in result["models"]} == chosen
    segments = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "vertebrae.seg.nrrd")))
    map_file = out / "gradcam.nrrd"
    cam = sitk.GetArrayFromImage(sitk.ReadImage(str(map_file))) if map_file.is_file() else None
    GIVES.get(name, gives_segments_and_level_probabilities_with_cam)(result, segments, cam)
