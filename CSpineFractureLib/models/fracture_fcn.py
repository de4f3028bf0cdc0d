"""A small 3D network that tells where in a neck bone is torn: one logit for each cube of 3.2 mm.

Axial slices hardly show a break that lies in their own plane (the dens, a wedge, a teardrop); this network sees the
same bone in all directions. It is fully convolutional (Long et al., CVPR 2015), so that it learns from small blocks and
looks at a whole neck at once, and its coarse and fine features are joined as in a feature pyramid (Lin et al., CVPR
2017). Its widths are so small that it adds half a megabyte to the weights.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

VOXEL_MM = 0.8
CELL = 4
"""Voxels along the edge of a cube that has one logit."""
WIDTHS = (20, 36, 64)
LOWEST_HU, HIGHEST_HU = -500.0, 1500.0
MIDDLE_HU, SPREAD_HU = 300.0, 500.0
RARE = -4.0
"""Logit at the start: hardly any cube holds a break."""


class FractureFCN(nn.Module):
    """``forward(hu [n, 1, k, j, i]) -> logits [n, k / 4, j / 4, i / 4]``.

    ``hu`` as ``fcn_input`` makes it, of cubic voxels of 0.8 mm: k towards superior, j towards posterior, i towards
    left; sizes are multiples of 8.
    """

    def __init__(self, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        first, second, third = widths
        self.fine = nn.Sequential(_Stage(1, first, 2), _Stage(first, first))
        self.middle = nn.Sequential(_Stage(first, second, 2), _Stage(second, second))
        self.coarse = nn.Sequential(_Stage(second, third, 2), _Stage(third, third))
        self.joined = nn.Sequential(_Stage(second + third, second, size=1), _Stage(second, second))
        self.dropout = nn.Dropout3d(0.1)
        self.out = nn.Conv3d(second, 1, 1)
        nn.init.constant_(self.out.bias, RARE)

    def forward(self, hu: torch.Tensor) -> torch.Tensor:
        """See the class."""
        middle = self.middle(self.fine(hu))
        wide = functional.interpolate(self.coarse(middle), size=middle.shape[2:], mode="trilinear", align_corners=False)
        return self.out(self.dropout(self.joined(torch.cat([middle, wide], dim=1))))[:, 0]

    def for_inference(self) -> None:
        """Put the normalisation into the convolutions, and their kernels where the CPU reads them fastest."""
        self.eval()
        for stage in [part for part in self.modules() if isinstance(part, _Stage)]:
            stage.convolution = fuse_conv_bn_eval(stage.convolution, stage.norm)
            stage.norm = nn.Identity()
        self.to(memory_format=torch.channels_last_3d)


class _Stage(nn.Module):
    def __init__(self, before: int, width: int, stride: int = 1, size: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(before, width, size, stride, size // 2, bias=False)
        self.norm = nn.BatchNorm3d(width)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.convolution(values)), inplace=True)


def fcn_input(hu: torch.Tensor) -> torch.Tensor:
    """HU ``[n, k, j, i]`` as the network wants them, float32 ``[n, 1, k, j, i]`` with channels last."""
    values = (hu.float().clamp(LOWEST_HU, HIGHEST_HU) - MIDDLE_HU) / SPREAD_HU
    return values[:, None].contiguous(memory_format=torch.channels_last_3d)
