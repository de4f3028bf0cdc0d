"""A U-Net on sagittal slices that finds and names the cervical column, before any axial slice is read.

A sagittal slice shows the whole column at once: the network names C4 by what lies above and below it, as a reader
does, which no axial slice allows. It sees five neighbouring slices at 2 mm (3 mm apart) in two windows, and gives for
the middle one the vertebrae (background, C1-C7, thoracic) and a heat for the middle of each body (C1-C7, T1).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

NEIGHBOURS = 2
"""Slices on each side that the network sees with a slice."""
WINDOWS_HU = ((-200.0, 300.0), (0.0, 1200.0))
"""Lowest and highest HU of the two windows: soft tissue, and bone."""
CLASSES, BODIES = 9, 8
WIDTHS = (20, 40, 64, 96, 128, 160)


class SagittalNet(nn.Module):
    """``forward(slices [n, 10, k, j]) -> logits [n, 17, k, j]``; any size, padded to the next 32.

    Channels 0-8 are logits of the classes (softmax), 9-16 of the heat of the bodies' middles (sigmoid). Make the input
    with ``sagittal_input``.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        before = len(WINDOWS_HU) * (2 * NEIGHBOURS + 1)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for step, width in enumerate(widths):
            blocks = [_Residual(before, width, 2 if step else 1)]
            self.encoder.append(nn.Sequential(*blocks, *([_Residual(width, width)] if step > 1 else [])))
            before = width
        for width in reversed(widths[:-1]):
            self.decoder.append(_Residual(before + width, width))
            before = width
        self.head = nn.Conv2d(before, CLASSES + BODIES, 1)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """See the class."""
        height, width = slices.shape[2:]
        multiple = 2 ** (len(self.encoder) - 1)
        found, skips = functional.pad(slices, (0, -width % multiple, 0, -height % multiple)), []
        for stage in self.encoder:
            found = stage(found)
            skips.append(found)
        skips.pop()
        for stage in self.decoder:
            found = functional.interpolate(found, scale_factor=2.0, mode="nearest")
            found = stage(torch.cat([found, skips.pop()], dim=1))
        return self.head(found)[:, :, :height, :width]


def sagittal_input(hu: torch.Tensor) -> torch.Tensor:
    """HU ``[n, 5, k, j]`` of each slice and its neighbours, as float32 ``[n, 10, k, j]`` for the network."""
    return torch.cat([((hu.float() - low) / (high - low)).clamp(0, 1) for low, high in WINDOWS_HU], dim=1)


class _Residual(nn.Module):
    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        same = before == width and stride == 1
        shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.way_round = nn.Identity() if same else shortcut

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found = functional.relu(self.first_norm(self.first(values)), inplace=True)
        return functional.relu(self.second_norm(self.second(found)) + self.way_round(values), inplace=True)
