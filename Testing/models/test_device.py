from __future__ import annotations

import pytest
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.device import choose_device, describe_device

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has CUDA")
without_gpu = pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this computer has a GPU"
)


def test_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_gives_a_device_that_works():
    torch.zeros(2, device=choose_device("auto"))


@without_gpu
def test_auto_is_the_cpu_without_a_gpu():
    assert choose_device().type == "cpu"


@without_cuda
def test_cuda_without_cuda_is_refused_with_a_way_out():
    with pytest.raises(UserError, match=r"--device cuda .*--device cpu"):
        choose_device("cuda")


@without_gpu
def test_mps_without_an_apple_gpu_is_refused():
    with pytest.raises(UserError, match="Apple GPU"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "cpu:1", "auto:0"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(UserError, match="auto, cpu, cuda"):
        choose_device(name)


def test_description_is_one_line_that_names_the_device():
    line = describe_device("cpu")
    assert line.startswith("cpu: ")
    assert "\n" not in line


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_chosen_described_and_counted():
    assert choose_device("auto").type == "cuda"
    assert "GiB free" in describe_device("cuda:0")
    with pytest.raises(UserError, match="counted from cuda:0"):
        choose_device("cuda:99")
