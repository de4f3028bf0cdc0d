"""Every network of documents 000, 003 and 004, untrained: exported as a run does, installed and chosen by ``cspine``,
it gives on a whole CT what its profile is said to give (networks that read pictures do the profile's other stages)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from cspine_runner import cspine_here
from exported_networks import each_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

import picture_networks

from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.yolo import set_class_prior
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.slice_export import export_weights, new_network
from CSpineFractureLib.training.systems import load_system, system_names
from CSpineFractureLib.training.yolo_checkpoint import write_best
from CSpineFractureLib.training.yolo_fit import export_best
from CSpineFractureLib.training.yolo_start import first_network

STUDY = picture_networks.block_study()
ANYTHING = ("vertebra_box", "level_confidence", "level_presence", "fracture_box", "fracture", "gradcam")
"""Thresholds that are put to 0, for an untrained network is sure of nothing."""
SYSTEMS = [name for name in system_names() if name.startswith(("000-", "003-", "004-"))]
QUICK = {"slice-resnet50", "level-densenet121", "yolov8n", "yolov5n", "yolov5s"}


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    """Blocks of known place for C1-C7 and a fracture in that of C4."""
    image, matrix = sitk.GetImageFromArray(STUDY.volume.hu), STUDY.volume.ijk_to_ras
    image.SetSpacing(picture_networks.SPACING)
    image.SetOrigin((-matrix[0, 3], -matrix[1, 3], matrix[2, 3]))
    path = tmp_path_factory.mktemp("ct") / "ct.nrrd"
    sitk.WriteImage(image, str(path))
    return path


def exported(runs: Path, name: str, model: str) -> RunFolder:
    """A run with the weights of an untrained network, for small pictures where it takes them."""
    size = 192 if model.startswith("slice-cnn") else 64
    changes = {} if name == "004-level-presence" else {"input.size": size}
    setup = Setup(load_system(name, quick=True, overrides=changes), model, seed=1, source="phantom")
    run = RunFolder(runs / name / model, setup)
    run.path.mkdir(parents=True)
    torch.manual_seed(1)
    if setup.system.trainer == "ultralytics":
        network = first_network(run)
        set_class_prior(network, 0.3)
        write_best(run.checkpoints, network, epoch=0)
        export_best(run)
    else:
        export_weights(run, unsure(new_network(setup), setup))
    return run


def unsure(network: torch.nn.Module, setup: Setup) -> torch.nn.Module:
    """Whose answer is one half for every level, unless what comes before is no number: below 0.05 nothing is told.

    In a slice, what the last layer sees speaks for a fracture: an untrained network may see nothing that does.
    """
    if setup.system.task == "level-presence":
        torch.nn.init.zeros_(network.head[-1].weight)
    elif setup.system.task == "slice-classifier":
        last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
        last.weight.data.abs_()
    return network


def install_partners(task: str, profile: str) -> dict[str, str]:
    """Networks for the other stages of the profile of ``task``; their names by task."""
    store, found = WeightsStore(), {}
    if profile == "gcvit-yolo":
        found["level-presence"] = lambda: picture_networks.install_place_reader(store, STUDY)
        found["fracture-detector"] = lambda: picture_networks.install_fracture_detector(store, profile)
    elif profile == "two-stage":
        found["vertebra-detector"] = lambda: picture_networks.install_vertebra_detector(store, profile)
        found["slice-classifier"] = lambda: picture_networks.install_slice_classifier(store)
    return {other: install().name for other, install in found.items() if other != task}


@pytest.mark.parametrize(("name", "model"), each_network(SYSTEMS, QUICK))
def test_an_exported_network_runs_as_its_profile_on_a_whole_ct(capfd, own, ct, name, model):
    run = exported(own, name, model)
    task, (profile,) = run.setup.system.task, run.setup.system.profiles
    ended = cspine_here(capfd, "models", "install", run.weights)
    assert ended.code == 0, ended.err
    chosen = {task: run.entry().name, **install_partners(task, profile)}
    words = [word for other, network in chosen.items() for word in ("--model", f"{other}={network}")]
    words += [word for threshold in ANYTHING for word in ("--threshold", f"{threshold}=0")]
    out = own / "out"
    ended = cspine_here(capfd, "run", ct, "-o", out, "--profile", profile, "--device", "cpu", "--no-render", *words)
    assert ended.code == 0, ended.err
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert first_fault(result) is None
    assert {used["task"]: used["name"] for used in result["models"]} == chosen
    GIVES[task, profile](result, out)


def gives_slice_probabilities_cam_boxes_and_segments(result: dict, out: Path) -> None:
    shown = slice(STUDY.levels[-1][0][0], STUDY.levels[0][0][1])
    assert all(row["fracture_probability"] is not None for row in result["slices"][shown])
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(out / "gradcam.nrrd"))).any()
    assert [vertebra["level"] for vertebra in result["vertebrae"]] == list(LEVELS)
    assert all(len(vertebra["box_ras"]) == 2 for vertebra in result["vertebrae"])
    segments = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "vertebrae.seg.nrrd")))
    assert segments.shape[:3] == STUDY.volume.hu.shape
    assert segments.any()


def gives_boxes_of_all_seven_in_the_slices(result: dict, out: Path) -> None:
    """Untrained, it sees all levels in every slice of the body, so that no column can be made of them."""
    assert {level for row in result["slices"] for level in row["vertebrae"]} == set(LEVELS)
    assert len([row for row in result["slices"] if row["vertebrae"]]) > len(STUDY.volume.hu) / 2
    assert (out / "boxes.mrk.json").is_file()


def gives_levels_of_slices_beside_the_fracture(result: dict, out: Path) -> None:
    assert all(set(row["vertebrae"]) == set(LEVELS) for row in result["slices"])
    first, last = STUDY.fracture[0]
    assert result["slices"][(first + last) // 2]["fracture_probability"] == pytest.approx(0.9)


def gives_fracture_boxes(result: dict, out: Path) -> None:
    assert [vertebra["level"] for vertebra in result["vertebrae"]] == list(LEVELS)
    assert result["fractures"]
    assert all(len(fracture["box_ras"]) == 2 for fracture in result["fractures"])
    assert (out / "boxes.mrk.json").is_file()


GIVES = {
    ("slice-classifier", "two-stage"): gives_slice_probabilities_cam_boxes_and_segments,
    ("vertebra-detector", "two-stage"): gives_boxes_of_all_seven_in_the_slices,
    ("vertebra-detector", "vertebra-yolo"): gives_boxes_of_all_seven_in_the_slices,
    ("level-presence", "gcvit-yolo"): gives_levels_of_slices_beside_the_fracture,
    ("fracture-detector", "gcvit-yolo"): gives_fracture_boxes,
}
"""What DESIGN.md's table of profiles lists, by the stage that the network does."""
