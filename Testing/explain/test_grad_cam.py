from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from CSpineFractureLib.explain.grad_cam import scale_by_probability, slice_grad_cam
from CSpineFractureLib.models.slice_cnn import SliceCNN


@pytest.fixture
def model() -> SliceCNN:
    """Random weights, large enough for maps well above zero."""
    torch.manual_seed(3)
    model = SliceCNN(dropout=0.3).eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    """Texture everywhere, for flat areas give ties in max pooling, which batches may break in another way."""
    blobs = 0.2 + 0.2 * torch.rand(3, 1, 224, 224, generator=torch.Generator().manual_seed(1))
    blobs[0, :, 40:80, 40:80] += 0.6
    blobs[1, :, 120:190, 30:60] += 0.5
    blobs[2] *= 2
    return blobs


def formulas_4_and_5(model: SliceCNN, image: torch.Tensor, target_class: int) -> np.ndarray:
    """Grad-CAM by hand: [7, 7], before it is enlarged."""
    activations = (
        model.features[:-2](model.standardised(image[None])).detach().requires_grad_(True)
    )  # up to the last convolution
    logit = model.head(model.features[-2:](activations))[0, target_class]
    (gradient,) = torch.autograd.grad(logit, activations)
    alpha = gradient.sum(dim=(2, 3)) / (7 * 7)
    return torch.relu((alpha[:, :, None, None] * activations).sum(dim=1))[0].detach().numpy()


def state_of(model):
    return [
        (name, p.requires_grad, None if p.grad is None else p.grad.clone(), p.detach().clone())
        for name, p in model.named_parameters()
    ]


@pytest.mark.parametrize("target_class", [0, 1])
def test_values_are_those_of_formulas_4_and_5(model, images, target_class):
    raw = slice_grad_cam(model, images, target_class, normalise=False)
    by_hand = [cv2.resize(formulas_4_and_5(model, image, target_class), (224, 224)) for image in images]
    assert min(one.max() for one in by_hand) > 0.01
    np.testing.assert_allclose(raw, by_hand, rtol=1e-4, atol=1e-7)


def test_normalised_maps_are_the_same_maps_stretched_to_0_to_1(model, images):
    cams = slice_grad_cam(model, images)
    assert cams.shape == (3, 224, 224)
    assert cams.dtype == np.float32
    for cam, image in zip(cams, images, strict=True):
        small = formulas_4_and_5(model, image, 1)
        large = cv2.resize(small - small.min(), (224, 224))
        np.testing.assert_allclose(cam, (large - large.min()) / (large.max() - large.min()), atol=1e-3)
        assert cam.min() == 0
        assert cam.max() == pytest.approx(1, abs=1e-3)


def test_a_batch_gives_what_its_slices_give_one_at_a_time(model, images):
    together = slice_grad_cam(model, images, batch_size=8)
    np.testing.assert_allclose(slice_grad_cam(model, images, batch_size=1), together, atol=1e-4)
    np.testing.assert_allclose(slice_grad_cam(model, images, batch_size=2), together, atol=1e-4)


def test_no_slices_give_no_maps(model):
    assert slice_grad_cam(model, torch.zeros(0, 1, 224, 224)).shape == (0, 224, 224)


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_as_it_was_found(model, images, training):
    model.train(training)
    model.features.eval()
    model(images[:1])[0, 0].backward()
    model.head[-1].weight.requires_grad_(False)
    before = state_of(model)
    slice_grad_cam(model, images)
    assert model.training is training
    assert model.head.training is training
    assert model.features.training is False
    for was, now in zip(before, state_of(model), strict=True):
        assert was[:2] == now[:2]
        torch.testing.assert_close(was[2], now[2], rtol=0, atol=0)
        torch.testing.assert_close(was[3], now[3], rtol=0, atol=0)


def test_hooks_are_gone_afterwards(model, images):
    slice_grad_cam(model, images)
    assert all(not m._forward_hooks and not m._backward_hooks for m in model.modules())


def test_hooks_are_gone_and_the_error_is_heard_when_it_fails(model, images):
    with pytest.raises(IndexError):
        slice_grad_cam(model, images, target_class=7)
    assert all(not m._forward_hooks for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_works_for_frozen_weights_inside_no_grad_and_inference_mode(model, images):
    expected = slice_grad_cam(model, images)
    model.requires_grad_(False)
    with torch.no_grad():
        np.testing.assert_allclose(slice_grad_cam(model, images), expected, atol=1e-6)
    with torch.inference_mode():
        np.testing.assert_allclose(slice_grad_cam(model, images * 1.0), expected, atol=1e-6)


def test_nothing_is_printed(model, images, capfd):
    slice_grad_cam(model, images)
    assert capfd.readouterr() == ("", "")


def test_a_model_trained_on_a_bright_spot_is_explained_by_that_spot():
    torch.manual_seed(0)
    truth = torch.tensor([0, 0, 1, 1])
    pictures = 0.2 + torch.rand(4, 1, 224, 224) * 0.2
    pictures[2, :, 40:72, 150:182] = 0.9
    pictures[3, :, 150:182, 40:72] = 0.9
    trained = SliceCNN()
    optimiser = torch.optim.AdamW(trained.parameters(), lr=1e-3)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(trained(pictures), truth)
        if loss < 0.05:  # learnt; a saturated network has no gradients to show
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    cams = slice_grad_cam(trained.eval(), pictures[2:])
    for cam, (row, column) in zip(cams, [(56, 166), (166, 56)], strict=True):
        peak = np.unravel_index(cam.argmax(), cam.shape)
        assert np.hypot(peak[0] - row, peak[1] - column) < 40


def test_scaling_keeps_a_healthy_slice_dark():
    cams = np.ones((3, 4, 4), np.float32)
    scaled = scale_by_probability(cams, torch.tensor([0.0, 0.25, 1.0]))
    assert scaled.dtype == np.float32
    assert scaled.max(axis=(1, 2)).tolist() == [0.0, 0.25, 1.0]
    assert scale_by_probability(cams, 0.5).max() == 0.5


def test_scaling_refuses_another_number_of_probabilities():
    with pytest.raises(ValueError, match="3 maps"):
        scale_by_probability(np.ones((3, 4, 4)), np.array([0.1, 0.2]))
