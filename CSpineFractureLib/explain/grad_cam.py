"""Grad-CAM of the slice classifier's last convolution, with pytorch-grad-cam.

Document 000, formulas 4 and 5 (after Selvaraju et al., IJCV 2019): with ``y`` the logit of a class and ``A^k`` the
``k``-th activation map of the layer, ``alpha_k`` is the mean of ``dy/dA^k`` over the map, and the localisation map is
``ReLU(sum_k alpha_k A^k)``, enlarged to the size of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import cv2
import numpy as np
import torch
from torch import nn

_alone = Lock()
"""Hooks and gradients belong to the network, whichever thread they serve."""


def slice_grad_cam(
    model: nn.Module,
    images: torch.Tensor,
    target_class: int = 1,
    batch_size: int = 16,
    normalise: bool = True,
    layer: nn.Module | None = None,
) -> np.ndarray:
    """Grad-CAM of every image: float32 ``[n, h, w]`` for images ``[n, c, h, w]``; needs no gradient mode of the caller.

    Of several threads that call it, one after another gets its turn.

    Parameters
    ----------
    model
        A classifier with logits ``[n, classes]``. Its mode, its weights' gradients and whether they take any are as
        before afterwards; no hook stays behind.
    images
        On any device; each batch is moved to the model's.
    target_class
        The class to explain; 1 is "fracture" in ``SliceCNN``.
    batch_size
        Images per forward and backward pass; the maps do not depend on it.
    normalise
        True: each map is stretched to 0..1 by itself, as pytorch-grad-cam does, also that of a healthy slice: see
        ``scale_by_probability``. False: the values of formula 5, comparable between slices.
    layer
        The layer to explain; ``model.last_conv`` by default.
    """
    layer = model.last_conv if layer is None else layer
    if len(images) == 0:
        return np.zeros((0, *images.shape[-2:]), np.float32)
    size = max(1, int(batch_size))
    with (
        _alone,
        torch.inference_mode(False),
        torch.enable_grad(),
        _left_as_found(model, layer),
        _library_cam(model, layer) as cam,
    ):
        return np.concatenate([_maps(cam, part, target_class, normalise) for part in images.split(size)])


def scale_by_probability(cams: np.ndarray, probabilities: np.ndarray | torch.Tensor | float) -> np.ndarray:
    """Maps ``[n, h, w]`` 0..1 times their slices' fracture probabilities ``[n]``, so that a healthy slice stays dark.

    float32. Raises ValueError when there is not one probability per map (a single number counts for all).
    """
    if isinstance(probabilities, torch.Tensor):
        probabilities = probabilities.detach().cpu().numpy()
    probabilities = np.clip(np.asarray(probabilities, np.float32), 0, 1)
    if probabilities.ndim > 0 and probabilities.shape != (len(cams),):
        message = f"There are {len(cams)} maps, but probabilities of shape {probabilities.shape}."
        raise ValueError(message)
    return np.asarray(cams, np.float32) * probabilities.reshape(-1, 1, 1)


def _maps(cam, images: torch.Tensor, target_class: int, normalise: bool) -> np.ndarray:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    images = images.detach().clone()  # a tensor made in inference mode cannot take part in a backward pass
    stretched = cam(images, targets=[ClassifierOutputTarget(target_class)] * len(images))
    cam.outputs = None  # lets go of the graph
    if normalise:
        return np.asarray(stretched, np.float32)
    height, width = images.shape[-2:]
    small = np.maximum(cam.values, 0).astype(np.float32)
    return np.stack([cv2.resize(one, (width, height)) for one in small])


@contextmanager
def _library_cam(model: nn.Module, layer: nn.Module) -> Iterator:
    """pytorch-grad-cam's GradCAM that also keeps the values of formula 5 (before the ReLU) as ``values`` [n, h, w].

    Its own context manager is not used: it prints, and swallows, an IndexError.
    """
    from pytorch_grad_cam import GradCAM  # imported late: it brings matplotlib and scikit-learn

    class KeepingGradCAM(GradCAM):
        values: np.ndarray

        def get_cam_image(self, *arguments, **options) -> np.ndarray:
            self.values = super().get_cam_image(*arguments, **options)
            return self.values

    cam = KeepingGradCAM(model, [layer])
    try:
        yield cam
    finally:
        cam.outputs = None
        cam.activations_and_grads.release()


@contextmanager
def _left_as_found(model: nn.Module, layer: nn.Module) -> Iterator[None]:
    """Take gradients only from ``layer`` on, which is cheap; restore mode, gradients and what takes them."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _, _ in parameters:
            parameter.grad = None
            parameter.requires_grad_(False)
        layer.requires_grad_(True)
        yield
    finally:
        for parameter, takes_gradient, gradient in parameters:
            parameter.requires_grad_(takes_gradient)
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
