from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.registry import architectures, create, prepare_for_inference
from CSpineFractureLib.models.yolo import VARIANTS

ROOT = Path(__file__).resolve().parents[2]


def test_slice_cnn_and_every_yolo_variant_are_known():
    assert set(architectures()) >= {"slice-cnn", *VARIANTS}


def test_the_networks_that_the_documents_compare_are_known():
    slices = {"slice-resnet50", "slice-densenet121"}
    levels = {"gcvit-tiny", "resnet152", "vgg19", "densenet121", "convnext", "inceptionv3", "vit", "swin"}
    assert set(architectures()) >= slices | {f"level-{one}" for one in levels}


def test_listing_and_making_a_small_network_imports_no_other_networks():
    script = (
        "import sys; from CSpineFractureLib.models.registry import architectures, create; architectures()\n"
        "assert 'torch' not in sys.modules; create('slice-cnn'); assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for name in ("slice_backbones", "level_presence"):
        monkeypatch.delitem(sys.modules, f"CSpineFractureLib.models.{name}", raising=False)
    with pytest.raises(UserError, match="package timm: install"):
        create("slice-resnet50")


def test_arguments_reach_the_network():
    assert create("slice-cnn", fc_layers=1).head[-1].in_features == 160 * 3 * 3
    assert create("yolov8n", classes=1, channels=1).model[-1].nc == 1


@pytest.mark.parametrize(("wrong", "near"), [("yolo8n", "yolov8n"), ("SliceCNN", "slice-cnn"), ("yolov8x", "yolov8")])
def test_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"did you mean .*{near}"):
        create(wrong)


def test_name_far_from_all_is_answered_with_the_list():
    with pytest.raises(ValueError, match="known are"):
        create("???")


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"slice-cnn.*colour"):
        create("slice-cnn", colour="red")


def test_prepared_network_is_in_evaluation_mode_fused_and_frozen():
    model = prepare_for_inference(create("yolov8n", classes=1, channels=1))
    assert not model.training
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    kernels = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
