"""The U-Nets of document 002."""

from __future__ import annotations

import pytest
import torch

from CSpineFractureLib.models.unet import CLASSES, VARIANTS, build_unet
from CSpineFractureLib.models.weights_file import load_weights, save_weights


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return build_unet("unet-mobilenet").eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_names_every_pixel(variant):
    network = build_unet(variant).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 64, 96))
    assert logits.shape == (1, len(CLASSES), 64, 96)
    assert logits.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_norms_know_their_images_after_a_short_training(variant):
    norms = [module for module in build_unet(variant).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    left = [(1 - norm.momentum) ** 40 for norm in norms]  # of the start, after 40 steps
    assert max(left) < 0.02


def test_an_untrained_network_takes_pixels_for_background(small):
    with torch.no_grad():
        share = (small(torch.rand(2, 3, 64, 64)).argmax(1) == 0).float().mean()
    assert share > 0.9


def test_the_document_s_encoder_is_an_efficientnet_b5():
    count = sum(weight.numel() for weight in build_unet("unet-efficientnet-b5").unet.encoder.parameters())
    assert count == pytest.approx(28.3e6, rel=0.01)  # 30.4 million of timm's efficientnet_b5 without its last layer


def test_the_small_network_fits_in_ten_megabytes(small, tmp_path):
    assert save_weights(small, tmp_path / "small.safetensors").stat().st_size < 10e6


def test_weights_written_and_read_give_the_same_logits(small, tmp_path):
    images = torch.rand(1, 3, 64, 64)
    save_weights(small, tmp_path / "small.safetensors", dtype=torch.float32)
    other = load_weights(build_unet("unet-mobilenet"), tmp_path / "small.safetensors").eval()
    with torch.no_grad():
        assert torch.equal(other(images), small(images))


def test_a_size_that_is_no_multiple_of_32_is_refused(small):
    with pytest.raises(ValueError, match="60 x 64 pixels are no multiples of 32"):
        small(torch.rand(1, 3, 60, 64))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="unet-efficientnet-b5"):
        build_unet("unet-b9")
