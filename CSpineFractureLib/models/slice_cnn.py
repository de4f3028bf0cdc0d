"""The slice classifier that document 000 proposes (Yaseen et al., IEEE Access 2024, section III-C-1, formulas 1-3)."""

from __future__ import annotations

import torch
from torch import nn

CHANNELS = (16, 32, 64, 96, 128, 160)
MEAN, SPREAD = 0.3, 0.2
"""Of column crops in the bone window; soft tissue lies at 0.27."""


class SliceCNN(nn.Module):
    """Convolution + ReLU + max-pool stack, flatten, linear 512 -> 128 -> 2.

    Input ``[n, 1, 224, 224]`` 0..1 (bone window 500/2000), output logits ``[n, 2]``; index 1 is "fracture". The
    document gives kernel size and number of channels only in general terms: six 3x3 stages are used here.

    Parameters
    ----------
    fc_layers
        Number of linear layers, 1, 2 or 3: the document's ablation (table 4); 3 is the proposed model.
    dropout
        Dropout before each linear layer, in training (0 in the document).
    """

    def __init__(self, fc_layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        if fc_layers not in (1, 2, 3):
            message = f"fc_layers must be 1, 2 or 3, not {fc_layers}."
            raise ValueError(message)
        stages, width = [], 1
        for channels in CHANNELS:
            # ReLU after the pool gives the same, also in gradients, at a quarter of its cost
            stages += [nn.Conv2d(width, channels, 3, padding=1), _HalvingPool(), nn.ReLU()]
            width = channels
        self.features = nn.Sequential(*stages)
        sizes = {1: (2,), 2: (512, 2), 3: (512, 128, 2)}[fc_layers]
        head, width = [nn.Flatten()], CHANNELS[-1] * 3 * 3
        for n, size in enumerate(sizes):
            head += [nn.Dropout(dropout), nn.Linear(width, size)]
            head += [nn.ReLU()] if n + 1 < len(sizes) else []
            width = size
        self.head = nn.Sequential(*head)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation (He et al., ICCV 2015): without batch normalisation the stack does not learn otherwise."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head[-1].weight, std=0.01)

    @property
    def last_conv(self) -> nn.Conv2d:
        """The last convolution, whose activations ``[n, 160, 7, 7]`` Grad-CAM weighs."""
        return [m for m in self.features if isinstance(m, nn.Conv2d)][-1]

    @staticmethod
    def standardised(images: torch.Tensor) -> torch.Tensor:
        """Images 0..1 with the mean and spread of column crops taken off; what ``features`` expects."""
        return (images - MEAN) / SPREAD

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 2]`` of images ``[n, 1, 224, 224]``."""
        return self.head(self.features(self.standardised(images)))


class _HalvingPool(nn.MaxPool2d):
    """The highest of 2 x 2 values, which on the CPU are compared in half the time where nobody asks which one it is."""

    def __init__(self) -> None:
        super().__init__(2, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``[n, c, h, w]`` to ``[n, c, h // 2, w // 2]``."""
        if values.requires_grad or values.shape[2] % 2 or values.shape[3] % 2:
            return super().forward(values)
        rows = torch.maximum(values[:, :, ::2], values[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])
