"""A 3D residual U-Net on volumes: the 3D ResNet that document 002 compares with (table I), and a small one for the CPU.

The network sees a whole neck at once, so it knows C4 from C5 by counting, which no single slice can.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

STAGES = {
    "small": ((16, 32, 48, 64, 96), (1, 1, 2, 2, 2), False),
    "18": ((64, 64, 128, 256, 512), (1, 2, 2, 2, 2), False),
    "101": ((64, 256, 512, 1024, 2048), (1, 3, 4, 23, 3), True),
}
"""Widths, residual blocks and whether those have bottlenecks, at 1, 1/2, 1/4, 1/8 and 1/16 of the resolution."""
GROUPS = 8
BACKGROUND, BONE = 3.0, -4.0
"""Logits at the start, as those of the U-Nets."""


class ResNet3D(nn.Module):
    """``forward(volumes [n, channels, k, j, i]) -> logits [n, classes, k, j, i]``; any size, padded to the next 16.

    Parameters
    ----------
    kind
        ``small``, ``18`` or ``101``: the encoder.
    classes
        Outputs: background, C1-C7, thoracic.
    channels
        Inputs.
    """

    def __init__(self, kind: str = "small", classes: int = 9, channels: int = 2) -> None:
        super().__init__()
        widths, depths, bottleneck = STAGES[kind]
        narrow = [min(width, 32 * 2**step) for step, width in enumerate(widths)]  # of the decoder
        self.encoder, before = nn.ModuleList(), channels
        for step, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = [_Residual(before, width, 2 if step else 1, bottleneck)]
            blocks += [_Residual(width, width, 1, bottleneck) for _ in range(depth - 1)]
            self.encoder.append(nn.Sequential(*blocks))
            before = width
        self.decoder = nn.ModuleList()
        for step in range(len(widths) - 2, -1, -1):
            self.decoder.append(_Residual(before + widths[step], narrow[step], 1, False))
            before = narrow[step]
        self.head = nn.Conv3d(before, classes, 1)
        with torch.no_grad():  # what is rare begins as rare, else the first epochs only learn that
            self.head.bias.fill_(BONE)
            self.head.bias[0] = BACKGROUND

    @property
    def last_conv(self) -> nn.Module:
        """The deepest layer with all of the context."""
        return self.encoder[-1]

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """See the class."""
        shape = volumes.shape[2:]
        multiple = 2 ** (len(self.encoder) - 1)
        pad = [part for size in reversed(shape) for part in (0, -size % multiple)]
        found, skips = functional.pad(volumes, pad), []
        for stage in self.encoder:
            found = stage(found)
            skips.append(found)
        skips.pop()
        for stage in self.decoder:
            found = functional.interpolate(found, scale_factor=2.0, mode="nearest")
            found = stage(torch.cat([found, skips.pop()], dim=1))
        return self.head(found)[:, :, : shape[0], : shape[1], : shape[2]]


class _Residual(nn.Module):
    """Two convolutions of 3x3x3 (or 1, 3, 1 with a bottleneck) and a way round them."""

    def __init__(self, before: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            inner = width // 4
            layers = [(before, inner, 1, 1), (inner, inner, 3, stride), (inner, width, 1, 1)]
        else:
            layers = [(before, width, 3, stride), (width, width, 3, 1)]
        parts = []
        for inputs, outputs, kernel, step in layers:
            parts += [nn.Conv3d(inputs, outputs, kernel, step, kernel // 2, bias=False), _norm(outputs), nn.ReLU(True)]
        self.body = nn.Sequential(*parts[:-1])
        same = before == width and stride == 1
        shortcut = nn.Sequential(nn.Conv3d(before, width, 1, stride, bias=False), _norm(width))
        self.way_round = nn.Identity() if same else shortcut

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(values) + self.way_round(values), inplace=True)


def _norm(width: int) -> nn.Module:
    return nn.GroupNorm(min(GROUPS, width), width)
