"""U-Nets that draw the vertebrae in axial slices: document 002, section III-C, and smaller ones for the CPU.

Built by segmentation-models-pytorch (MIT) with random weights, as the document trains its own.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch import nn

CLASSES = ("background", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "thoracic")
"""The nine channels of document 002: 8 stands for every thoracic vertebra."""
MEAN, SPREAD = 0.45, 0.225
"""Of ImageNet's grey values: what encoder weights from there expect."""
VARIANTS = {
    "unet-efficientnet-b5": ("efficientnet-b5", (256, 128, 64, 32, 16)),
    "unet-efficientnet-b0": ("efficientnet-b0", (256, 128, 64, 32, 16)),
    "unet-efficientnetv2-s": ("tu-tf_efficientnetv2_s", (256, 128, 64, 32, 16)),
    "unet-mobilenet": ("tu-mobilenetv3_large_075", (96, 64, 32, 16, 16)),
}
"""Name in the registry, then encoder and channels of the decoder; 002 uses the first and compares with the third."""
STEP = 32
"""How much smaller the deepest features are than the image."""
_BACKGROUND, _BONE = 3.0, -4.0
"""Logits at the start: about 95 % of the pixels are background, 2 % belong to a class."""
_MOMENTUM = 0.1
"""Least of the batch norms. EfficientNet's 0.01 takes several hundred steps to know the images of a short training."""


class SegmentationNet(nn.Module):
    """A U-Net: images ``[n, channels, h, w]`` 0..1 to logits ``[n, classes, h, w]``; h and w are multiples of 32.

    Channel 0 is background, 1-7 are C1-C7, 8 is every thoracic vertebra. Each channel has a sigmoid of its own while it
    learns; in use the highest wins. Raises ``ValueError`` for images of another size.

    Parameters
    ----------
    encoder
        Name in segmentation-models-pytorch, such as ``efficientnet-b5``.
    decoder
        Channels of the five steps up.
    """

    def __init__(
        self,
        encoder: str = "efficientnet-b5",
        classes: int = 9,
        channels: int = 3,
        decoder: tuple[int, ...] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__()
        self.unet = smp.Unet(
            encoder, encoder_weights=None, in_channels=channels, classes=classes, decoder_channels=tuple(decoder)
        )
        with torch.no_grad():  # what is rare begins as rare, else the first epochs only learn that
            self.unet.segmentation_head[0].bias.fill_(_BONE)
            self.unet.segmentation_head[0].bias[0] = _BACKGROUND
        for module in self.unet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = max(module.momentum, _MOMENTUM)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, classes, h, w]``."""
        height, width = images.shape[-2:]
        if height % STEP or width % STEP:
            message = f"images of {height} x {width} pixels are no multiples of {STEP}"
            raise ValueError(message)
        return self.unet((images - MEAN) / SPREAD)


def build_unet(variant: str, classes: int = 9, channels: int = 3) -> SegmentationNet:
    """A network of ``VARIANTS``. Raises ``ValueError`` for another name."""
    if variant not in VARIANTS:
        message = f"There is no segmentation network {variant!r}: use {', '.join(VARIANTS)}."
        raise ValueError(message)
    encoder, decoder = VARIANTS[variant]
    return SegmentationNet(encoder, classes, channels, decoder)
