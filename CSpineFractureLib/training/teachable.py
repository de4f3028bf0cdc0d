"""The slice CNN of document 000 while it learns: with batch normalisation, which goes into the convolutions at the end.

The document's stack of convolution, ReLU and max-pooling has none, and learns nothing from whole slices that way: its
loss stays that of a guess. The normalisation after each convolution is an affine map per channel once training has
ended, so the exported network is the document's plain one with the same logits.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from CSpineFractureLib.models.slice_cnn import SliceCNN


class TeachableCNN(nn.Module):
    """``network`` with batch normalisation after each convolution; images ``[n, 1, h, w]`` to logits ``[n, 2]``."""

    def __init__(self, network: SliceCNN) -> None:
        super().__init__()
        self.network = network
        self.norms = nn.ModuleList(nn.BatchNorm2d(m.out_channels) for m in self._convolutions())

    def _convolutions(self) -> list[nn.Conv2d]:
        return [m for m in self.network.features if isinstance(m, nn.Conv2d)]

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head takes, and the activations of the last convolution ``[n, 160, h / 32, w / 32]``."""
        x, norms, last = self.network.standardised(images), iter(self.norms), images
        for layer in self.network.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                x = last = next(norms)(x)
        return x, last.relu()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 2]``."""
        return self.network.head(self.features(images)[0])

    @torch.no_grad()
    def match_norms(self, images: torch.Tensor) -> None:
        """Set the normalisation so that on these images a trained network stays what it is."""
        x, norms = self.network.standardised(images), iter(self.norms)
        for layer in self.network.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                norm = next(norms)
                mean, spread = x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3)) + 1e-3
                norm.weight.copy_(spread)
                norm.bias.copy_(mean)
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(spread**2)

    @torch.no_grad()
    def folded(self) -> SliceCNN:
        """The network alone, in evaluation mode, giving the same logits; in place."""
        self.eval()
        for convolution, norm in zip(self._convolutions(), self.norms, strict=True):
            plain = fuse_conv_bn_eval(convolution, norm)
            convolution.weight.copy_(plain.weight)
            convolution.bias.copy_(plain.bias)
        return self.network


def teachable(network: nn.Module) -> nn.Module:
    """``network`` as it learns best: a slice CNN with normalisation, any other as it is."""
    return TeachableCNN(network) if isinstance(network, SliceCNN) else network


def plain(network: nn.Module) -> nn.Module:
    """What is exported of a network made by ``teachable``: a copy with the same logits, in evaluation mode."""
    network = copy.deepcopy(network).eval()
    return network.folded() if isinstance(network, TeachableCNN) else network
