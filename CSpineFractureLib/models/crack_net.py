"""CrackNet with a bidirectional LSTM: is this vertebra fractured? Document 002, sections III-D and IV; its ablations.

A U-Net with a ResNet encoder (segmentation-models-pytorch, MIT) looks at each slice of a vertebra; what its encoder and
its decoder see is pooled to one row of features per slice, two layers of a bidirectional LSTM read the rows from top to
bottom, and a linear layer gives one logit. The U-Net also draws a map of the fracture ("the final semantic segmentation
outcomes", section III-D), from which it can learn where studies tell the place of fractures. The document names these
parts and ResNet-101; how features are pooled, the LSTM's width and the dropout are this project's choice. All weights
are random here.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

MEAN, SPREAD = 0.449, 0.226
"""Grey means of ImageNet's channel means and spreads: what weights from there expect."""
LOOK_AT_ONCE = 4
"""Slices looked at together where no gradient is wanted; so 30 slices of 512 pixels stay below 2 GB."""
RARE = -4.0
"""Logit of the drawn map at the start: hardly any pixel shows a fracture."""
DEPTH = 5
"""Steps down of an encoder, each to half the size."""
ENCODERS = {
    "resnet101": ("resnet101", {}, (256, 128, 64, 32, 16), 256),
    "resnet18": (
        "tu-resnet18",
        {"channels": (24, 48, 96, 192), "stem_type": "deep", "stem_width": 12},
        (48, 24, 12, 8),
        128,
    ),
}
"""Encoder's name and arguments, channels of the decoder's blocks, width of the LSTM. ResNet-18 is three eighths as wide
as usual and its decoder ends at half the resolution, so that it can be trained on a CPU."""


class SliceFeatures(nn.Module):
    """A U-Net whose last encoder map (mean), last decoder map and drawn map (mean and highest value) become features.

    The drawn map has a logit of "fracture here" for each of its pixels.
    """

    def __init__(self, encoder: str, channels: int) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            message = f"There is no CrackNet with the encoder {encoder!r}: use {' or '.join(ENCODERS)}."
            raise ValueError(message)
        name, arguments, decoder, _ = ENCODERS[encoder]
        blocks = (*decoder, *decoder[-1:] * (DEPTH - len(decoder)))
        whole = smp.Unet(
            name, encoder_weights=None, in_channels=channels, decoder_channels=blocks, classes=1, **arguments
        )
        self.encoder, self.decoder = whole.encoder, whole.decoder
        self.decoder.blocks = self.decoder.blocks[: len(decoder)]
        self.crack = nn.Conv2d(decoder[-1], 1, 1)
        nn.init.constant_(self.crack.bias, RARE)
        self.width = self.encoder.out_channels[-1] + 2 * (decoder[-1] + 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``[n, width]`` of images ``[n, channels, s, s]``, ``s`` a multiple of 32."""
        return self.look(images)[0]

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, and the drawn map, logits ``[n, h, w]`` of a resolution of its own."""
        maps = self.encoder(images)
        last = self.decoder(maps)
        drawn = self.crack(last)
        both = torch.cat([last, drawn / -RARE], dim=1)
        return torch.cat([maps[-1].mean((2, 3)), both.mean((2, 3)), both.amax((2, 3))], dim=1), drawn[:, 0]


class SimpleFeatures(nn.Sequential):
    """Four convolutions, the simple CNN of the ablation (section IV, table II); its layers are our choice."""

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 16), (16, 32), (32, 64), (64, 128)):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU()), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.width = 128


class SliceLSTM(nn.Module):
    """Slices ``[n, slices, channels, s, s]`` 0..1, from top to bottom, to logits ``[n]`` of a fracture.

    The LSTM's outputs are pooled over the slices (mean and highest value), for a fracture may lie in few of them.

    Parameters
    ----------
    features
        Gives ``[n, width]`` of images ``[n, channels, s, s]``.
    hidden
        Width of the LSTM in each direction.
    dropout
        Between the layers of the LSTM and before the last layer, in training.
    """

    def __init__(self, features: nn.Module, hidden: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.features = features
        self.lstm = nn.LSTM(features.width, hidden, 2, batch_first=True, bidirectional=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * hidden, 1)

    @property
    def last_conv(self) -> nn.Module:
        """Gives the last feature map of each slice, ``[n * slices, c, h, w]``, which Grad-CAM weighs."""
        simple = isinstance(self.features, SimpleFeatures)
        return self.features[-4] if simple else self.features.decoder.blocks[-1]

    @property
    def draws(self) -> bool:
        """Whether it gives a map of the fracture, too."""
        return isinstance(self.features, SliceFeatures)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits ``[n]`` of ``[n, slices, channels, s, s]``."""
        images = (crops.flatten(0, 1) - MEAN) / SPREAD
        at_once = len(images) if torch.is_grad_enabled() else LOOK_AT_ONCE
        rows = torch.cat([self.features(part) for part in images.split(at_once)])
        return self._read(rows.view(*crops.shape[:2], -1))

    def draw(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``[n]`` as of ``forward``, and those of the drawn maps, ``[n, slices, h, w]``; where it ``draws``."""
        rows, maps = self.features.look((crops.flatten(0, 1) - MEAN) / SPREAD)
        return self._read(rows.view(*crops.shape[:2], -1)), maps.view(*crops.shape[:2], *maps.shape[1:])

    def _read(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits ``[n]`` of the slices' features ``[n, slices, width]``."""
        # cuDNN's LSTM gives no gradients outside of training, which Grad-CAM needs
        with torch.backends.cudnn.flags(enabled=self.training or not torch.is_grad_enabled()):
            read, _ = self.lstm(rows)
        return self.head(self.dropout(torch.cat([read.mean(1), read.amax(1)], dim=1)))[:, 0]


class WholeSliceNet(nn.Module):
    """ResNet-50 on one whole slice through the vertebra: no crop, no sequence (section IV, table II).

    Takes ``[n, slices, channels, s, s]`` as the others do, and gives the mean logit of the slices, ``[n]``.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet50", pretrained=False, in_chans=channels, num_classes=1)

    @property
    def last_conv(self) -> nn.Module:
        """Gives the last feature map, which Grad-CAM weighs."""
        return self.backbone.layer4[-1]

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits ``[n]``."""
        count, slices = crops.shape[:2]
        return self.backbone((crops.flatten(0, 1) - MEAN) / SPREAD).view(count, slices).mean(1)


class SlicesOfOne(nn.Module):
    """A network of vertebrae as one of slices, for ``explain.grad_cam.slice_grad_cam``: its maps are of every slice.

    Takes the slices of ONE vertebra, ``[slices, channels, s, s]``, in one batch; gives ``[slices, 2]`` of which
    column 1 sums to the logit.
    """

    def __init__(self, network: SliceLSTM | WholeSliceNet) -> None:
        super().__init__()
        self.network = network

    @property
    def last_conv(self) -> nn.Module:
        """Of the network."""
        return self.network.last_conv

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """``[slices, 2]``."""
        share = self.network(slices[None]).expand(len(slices)) / len(slices)
        return torch.stack([torch.zeros_like(share), share], dim=1)


def crack_net(encoder: str = "resnet101", channels: int = 3, dropout: float = 0.2) -> SliceLSTM:
    """CrackNet with a bidirectional LSTM. ``channels``: 3 windows, 4 with the vertebra's mask.

    ``encoder`` is one of ``ENCODERS``; raises ``ValueError`` otherwise. Sizes are multiples of 32 pixels.
    """
    features = SliceFeatures(encoder, channels)
    return SliceLSTM(features, ENCODERS[encoder][3], dropout)


def cnn_lstm(channels: int = 3, dropout: float = 0.2) -> SliceLSTM:
    """The simple CNN with an LSTM that the document compares with."""
    return SliceLSTM(SimpleFeatures(channels), 64, dropout)


def whole_slice_net(channels: int = 3) -> WholeSliceNet:
    """ResNet-50 on whole slices, which the document compares with."""
    return WholeSliceNet(channels)
