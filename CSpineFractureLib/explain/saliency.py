"""Saliency maps: where small changes of the picture change the answer most (document 001, section "Results").

The document shows the gradient of the class with regard to the picture (Simonyan et al., 2014). One such gradient is
noise to the eye; here it is the mean over a few copies with noise added (SmoothGrad, Smilkov et al., 2017), blurred.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

COPIES, NOISE, BLUR = 16, 0.08, 2.0
"""Number of noisy copies, standard deviation of the noise (pictures are 0..1), and of the blur in pixels."""
WHOLE = 99.5
"""The percentile of a map that becomes 1."""
PANEL, GAP, TITLE = 480, 8, 34
"""Pixels: height of a panel, the line between two, height of the title."""


def input_saliency(model: nn.Module, image: torch.Tensor, target_class: int, seed: int = 0) -> np.ndarray:
    """The saliency map of one picture: float32 ``[h, w]`` 0..1 for ``image`` ``[c, h, w]`` 0..1.

    ``model`` gives logits ``[n, classes]``; it is used in evaluation mode and left as it was, without gradients. The
    same seed gives the same map. Works wherever ``image`` and ``model`` are, and in any gradient mode of the caller.
    """
    modes = [(module, module.training) for module in model.modules()]
    generator = torch.Generator().manual_seed(seed)
    total = np.zeros(tuple(image.shape[-2:]), np.float32)
    try:
        model.eval()
        with torch.inference_mode(False), torch.enable_grad():
            for _ in range(COPIES):
                noise = NOISE * torch.randn(image.shape, generator=generator).to(image)
                copy = (image.detach().clone() + noise).requires_grad_(True)
                (gradient,) = torch.autograd.grad(model(copy[None])[0, target_class], copy)
                total += gradient.abs().amax(dim=0).float().cpu().numpy()
    finally:
        for module, training in modes:
            module.training = training
    found = cv2.GaussianBlur(total, (0, 0), BLUR)
    return np.clip(found / max(float(np.percentile(found, WHOLE)), 1e-12), 0, 1).astype(np.float32)


def write_saliency_picture(path: Path, pixels: np.ndarray, maps: dict[str, np.ndarray], title: str) -> None:
    """Write a PNG: the picture, and to its right the same under each of ``maps``, coloured and named.

    ``pixels`` and the maps are float ``[j, i]`` 0..1 of one shape. Raises ``OSError`` when it cannot be written.
    """
    from pytorch_grad_cam.utils.image import show_cam_on_image  # imported late: it brings torch and matplotlib

    grey = np.repeat(np.clip(pixels, 0, 1).astype(np.float32)[:, :, None], 3, axis=2)
    panels = {"Radiograph": np.rint(grey * 255).astype(np.uint8)}
    for name, one in maps.items():
        panels[name] = show_cam_on_image(grey, np.clip(one, 0, 1).astype(np.float32), use_rgb=True)
    width = max(60, round(PANEL * pixels.shape[1] / pixels.shape[0]))
    page = Image.new("RGB", (len(panels) * (width + GAP) - GAP, PANEL + 2 * TITLE), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    draw.text((8, TITLE // 2), title, "black", font, anchor="lm")
    for n, (name, panel) in enumerate(panels.items()):
        left = n * (width + GAP)
        shrinks = panel.shape[0] > PANEL
        fitted = cv2.resize(panel, (width, PANEL), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        page.paste(Image.fromarray(fitted), (left, TITLE))
        draw.text((left + 8, PANEL + TITLE + TITLE // 2), name, "black", font, anchor="lm")
    page.save(path, format="PNG")
