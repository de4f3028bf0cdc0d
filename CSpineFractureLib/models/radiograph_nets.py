"""The networks of document 001 for radiographs: AlexNet, GoogLeNet, and both stacked (sections 3.1 and 3.2).

Built by torchvision (BSD-3-Clause) with random weights. The document duplicates each grey picture into three channels
and resizes it to 227x227 for AlexNet and 224x224 for GoogLeNet; here pictures are made at 227 pixels, of which
GoogLeNet sees the middle 224. Classes in the order of ``volume``'s truth: normal, fracture, dislocation.
"""

from __future__ import annotations

import torch
from torch import nn

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: what torchvision's weights expect."""
ALEXNET_EDGE, GOOGLENET_EDGE = 227, 224
CLASSES = 3


class RadiographAlexNet(nn.Module):
    """AlexNet (Krizhevsky et al., 2012): images ``[n, 3 or 1, s, s]`` 0..1 to logits ``[n, 3]``; s is at least 63.

    Parameters
    ----------
    dropout
        Before the first two linear layers, in training.
    fc_width
        Width of these layers: 4096 in the original, which has 57 million weights; 256 leaves 5 million.
    batch_norm
        Normalise after each convolution (document 001, section 3.2, names it among its regularisations): without
        ImageNet weights the stack hardly learns otherwise.
    """

    def __init__(self, dropout: float = 0.5, fc_width: int = 4096, batch_norm: bool = False) -> None:
        super().__init__()
        self.backbone = _alexnet(dropout, fc_width)
        widths = [m.out_channels for m in self.backbone.features if isinstance(m, nn.Conv2d)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths) if batch_norm else None

    @property
    def last_conv(self) -> nn.Module:
        """The last convolution (after its normalisation), whose activations ``[n, 256, 13, 13]`` Grad-CAM weighs."""
        return self.norms[-1] if self.norms is not None else self.backbone.features[10]

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps ``[n, 256, 6, 6]``."""
        x, norms = _standardised(images), iter(self.norms or ())
        for layer in self.backbone.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d) and self.norms is not None:
                x = next(norms)(x)
        return self.backbone.avgpool(x)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What goes into the last layer, ``[n, fc_width]``."""
        return self.backbone.classifier[:-1](torch.flatten(self.maps(images), 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 3]``."""
        return self.backbone.classifier[-1](self.features(images))


class RadiographGoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al., 2015), with batch normalisation as torchvision has it and without auxiliary heads.

    Images ``[n, 3 or 1, s, s]`` 0..1 to logits ``[n, 3]``; of images of 227 pixels it sees the middle 224.
    ``dropout`` before the last layer, in training (0.4 in the document's table, 0.2 in torchvision).
    """

    def __init__(self, dropout: float = 0.4) -> None:
        super().__init__()
        self.backbone = _googlenet(dropout)

    @property
    def last_conv(self) -> nn.Module:
        """The last inception module, whose maps ``[n, 1024, 7, 7]`` Grad-CAM weighs."""
        return self.backbone.inception5b

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What goes into the last layer, ``[n, 1024]``, before its dropout."""
        body = self.backbone
        x = _standardised(_middle(images))
        for name, layer in body.named_children():
            if name not in ("avgpool", "dropout", "fc"):
                x = layer(x) if layer is not None else x
        return torch.flatten(body.avgpool(x), 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 3]``."""
        return self.backbone.fc(self.backbone.dropout(self.features(images)))


class RadiographStacked(nn.Module):
    """Both networks side by side, their features joined, dropout, then two linear layers (document 001, section 3.2).

    Images ``[n, 3 or 1, s, s]`` 0..1 to logits ``[n, 3]``. The document gives neither the place of the join nor the
    width of the first linear layer: here AlexNet's last hidden layer and GoogLeNet's pooled maps are joined, and
    ``hidden`` is 512. ``fc_width`` and ``batch_norm`` are AlexNet's.
    """

    def __init__(self, dropout: float = 0.5, fc_width: int = 4096, hidden: int = 512, batch_norm: bool = False) -> None:
        super().__init__()
        self.alexnet = RadiographAlexNet(dropout, fc_width, batch_norm)
        self.googlenet = RadiographGoogLeNet(dropout)
        self.alexnet.backbone.classifier[-1] = nn.Identity()
        self.googlenet.backbone.fc = nn.Identity()
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(fc_width + 1024, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)
        )
        _initialise_linear(self.head)

    @property
    def last_conv(self) -> nn.Module:
        """GoogLeNet's last inception module."""
        return self.googlenet.last_conv

    @property
    def parts(self) -> tuple[nn.Module, nn.Module]:
        """The networks that take starting weights of their own."""
        return self.alexnet, self.googlenet

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 3]``."""
        return self.head(torch.cat([self.alexnet.features(images), self.googlenet.features(images)], dim=1))


BUILDERS = {
    "radiograph-alexnet": RadiographAlexNet,
    "radiograph-googlenet": RadiographGoogLeNet,
    "radiograph-stacked": RadiographStacked,
}
"""The networks by their names in the registry."""


def _alexnet(dropout: float, fc_width: int) -> nn.Module:
    from torchvision.models import AlexNet

    with torch.device("meta"):  # its own random weights would be thrown away
        network = AlexNet(num_classes=CLASSES, dropout=dropout)
    network.features.to_empty(device="cpu")
    network.classifier = nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(256 * 6 * 6, fc_width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(fc_width, fc_width),
        nn.ReLU(),
        nn.Linear(fc_width, CLASSES),
    )
    for module in network.features:
        if isinstance(module, nn.ReLU):
            module.inplace = False  # what Grad-CAM keeps must not change under it
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    _initialise_linear(network.classifier)
    return network


def _googlenet(dropout: float) -> nn.Module:
    from torchvision.models import GoogLeNet

    network = GoogLeNet(
        num_classes=CLASSES, aux_logits=False, transform_input=False, init_weights=False, dropout=dropout
    )  # its own initialisation takes half a minute
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    _initialise_linear(nn.Sequential(network.fc))
    return network


def _initialise_linear(layers: nn.Sequential) -> None:
    """He initialisation, the last layer near zero: the first answers are then a guess."""
    linear = [module for module in layers if isinstance(module, nn.Linear)]
    for module in linear:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
    nn.init.normal_(linear[-1].weight, std=0.01)


def _middle(images: torch.Tensor) -> torch.Tensor:
    cut = ALEXNET_EDGE - GOOGLENET_EDGE
    return images[..., 1 : 1 - cut, 1 : 1 - cut] if images.shape[-1] == ALEXNET_EDGE else images


def _standardised(images: torch.Tensor) -> torch.Tensor:
    """Three channels (a grey one three times) with ImageNet's mean and spread taken off."""
    mean, spread = (torch.tensor(x, device=images.device, dtype=images.dtype)[:, None, None] for x in (MEAN, SPREAD))
    return (images.expand(-1, 3, -1, -1) - mean) / spread
