"""The networks that document 000 compares its slice classifier with (section IV, table 2): ResNet50 and DenseNet121.

Built by timm (Apache-2.0) with random weights. The document does not say how it changed them for grey slices and two
classes: here the first convolution takes one channel and the last layer gives two logits.
"""

from __future__ import annotations

import timm
import torch
from torch import nn

MEAN, SPREAD = 0.449, 0.226
"""Grey means of ImageNet's channel means and spreads: what weights from there expect."""

_LAST_CONVOLUTION = {"resnet50": "layer4.2", "densenet121": "features.norm5"}
"""What gives the last feature map, after its ReLU; the layer after it only averages."""


class SliceBackbone(nn.Module):
    """ResNet50 or DenseNet121: images ``[n, 1, h, w]`` 0..1 (224x224 in the document) to logits ``[n, 2]``.

    Index 1 is "fracture". The weights' names are timm's, after ``backbone.``.

    Parameters
    ----------
    kind
        ``resnet50`` or ``densenet121``.
    dropout
        Dropout before the last layer, in training.
    """

    def __init__(self, kind: str, dropout: float = 0.0) -> None:
        super().__init__()
        if kind not in _LAST_CONVOLUTION:
            message = f"There is no slice classifier {kind!r}: use {' or '.join(_LAST_CONVOLUTION)}."
            raise ValueError(message)
        self.kind = kind
        self.backbone = timm.create_model(kind, pretrained=False, in_chans=1, num_classes=2, drop_rate=dropout)

    @property
    def last_conv(self) -> nn.Module:
        """Gives the last feature map (7x7 for images of 224 pixels), which Grad-CAM weighs."""
        return self.backbone.get_submodule(_LAST_CONVOLUTION[self.kind])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 2]`` of images ``[n, 1, h, w]`` 0..1."""
        return self.backbone((images - MEAN) / SPREAD)
