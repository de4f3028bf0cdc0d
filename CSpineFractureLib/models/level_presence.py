"""Which of C1-C7 an axial slice shows: the networks of document 004 (section 2.5, figure 5, table 1).

All take images ``[n, 1, h, w]`` 0..1, which are repeated to the three channels that the backbones of timm (Apache-2.0)
have, and ``metadata`` ``[n, 2]`` (mm below the highest slice; 0 at the top to 1 at the bottom), and give logits
``[n, 7]``, one for each level by itself.

``freeze`` keeps the weights of the parts that the document keeps. It makes sense only after ``start_from``: with
random weights everything must be trained. Which parts those are follows from the parameters that table 1 counts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import timm
import torch
from torch import nn

LEVELS = 7
METADATA_SCALE = (100.0, 1.0)
"""What the metadata are divided by: the position in mm becomes decimetres, the ratio stays."""

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_BATCH_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Backbone:
    """How one network of table 1 is built.

    Attributes
    ----------
    timm_name
        The nearest network of timm; ``difference`` says where it is not the document's.
    mean_spread
        Of the images that its ImageNet weights were trained on.
    head
        Widths of the layers before the seven logits; ``normalised``: each layer after a batch normalisation.
    trained
        First parts of the names of the weights that ``freeze`` leaves trainable.
    classes
        Outputs of the backbone: 0 for its features, 1000 for ImageNet's classes.
    least, step
        Images must be at least so many pixels wide, and a multiple of ``step``.
    """

    timm_name: str
    mean_spread: tuple[tuple[float, ...], tuple[float, ...]]
    trained: tuple[str, ...]
    head: tuple[int, ...] = (256,)
    normalised: bool = False
    classes: int = 0
    least: int = 64
    step: int = 1
    difference: str = ""


BACKBONES: dict[str, Backbone] = {
    "gcvit-tiny": Backbone(
        "gcvit_tiny",
        _IMAGENET,
        ("stages.3.global_block.", "stages.3.blocks.", "stages.3.norm."),
        head=(96,),
        step=32,
    ),
    "resnet152": Backbone(
        "resnetv2_152",
        _HALF,
        ("stages.3.blocks.1.conv3.", "stages.3.blocks.2.", "norm."),
        difference="ResNet152V2 of Keras has biases in some convolutions (51,776 parameters more); timm offers no"
        " ImageNet weights for it, only for level-resnet152v1.",
    ),
    "resnet152v1": Backbone(
        "resnet152",
        _IMAGENET,
        ("layer4.1.conv3.", "layer4.1.bn3.", "layer4.2."),
        difference="The older ResNet152, with batch normalisation after the convolutions, instead of ResNet152V2.",
    ),
    "vgg19": Backbone(
        "vgg19",
        _IMAGENET,
        ("features.28.", "features.30.", "features.32.", "features.34."),
        difference="Not in table 1. Its features are averaged instead of going through 120 million weights of fully"
        " connected layers; the frozen part is this project's choice.",
    ),
    "densenet121": Backbone(
        "densenet121",
        _IMAGENET,
        ("features.denseblock4.", "features.norm5."),
        difference="Not in table 1, and the document does not say which DenseNet; the frozen part is this project's"
        " choice.",
    ),
    "convnext": Backbone(
        "convnext_small",
        _IMAGENET,
        ("stages.3.blocks.1.gamma", "stages.3.blocks.1.mlp.", "stages.3.blocks.2.", "head.norm."),
    ),
    "inceptionv3": Backbone(
        "inception_v3",
        _HALF,
        ("Mixed_7c.branch_pool.bn.bias",),
        least=75,
        difference="Its batch normalisations have scales that those of Keras lack (17,216 frozen parameters more).",
    ),
    "vit": Backbone(
        "vit_base_patch32_224",
        _HALF,
        (*(f"blocks.{n}." for n in range(4, 12)), "norm."),
        head=(256, 128),
        normalised=True,
        step=32,
        difference="The document's count is met at 256 pixels; at 224 there are 11,520 frozen parameters fewer.",
    ),
    "swin": Backbone(
        "swin_small_patch4_window7_224",
        _IMAGENET,
        ("",),
        head=(256, 128),
        normalised=True,
        classes=1000,
        step=32,
    ),
}

STATED_PARAMETERS: dict[str, tuple[int, int]] = {
    "level-gcvit-tiny": (13_080_663, 14_683_998),
    "level-vit": (56_937_479, 30_764_544),
    "level-convnext": (9_686_535, 39_966_816),
    "level-inceptionv3": (526_535, 21_802_592),
    "level-resnet152": (6_045_703, 52_812_288),
    "level-swin": (49_899_081, 2_768),
}
"""Trainable and other parameters in table 1, by the name in the registry. The table has no VGG19 and no DenseNet."""


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Trainable and other parameters, counted as Keras does, and so the document: the running means and variances of
    batch normalisation are among the others."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    for module in model.modules():
        if isinstance(module, _BATCH_NORM) and module.track_running_stats:
            frozen += module.running_mean.numel() + module.running_var.numel()
    return trainable, frozen


class LevelBaseline(nn.Module):
    """One of the networks of table 1 that take the image only.

    The head is a linear layer of 256, ReLU and the logits; that of ViT and Swin has layers of 256 and 128 with batch
    normalisation before each (a training batch then needs two images at least), and Swin keeps its 1000 outputs:
    with these heads the parameters are the document's, to the last one for ViT, Swin and ConvNeXt.

    Parameters
    ----------
    kind
        A key of ``BACKBONES``.
    image_size
        Height and width of the images; 224 in timm's ImageNet weights, less for quick training on a CPU.

    Raises ValueError for a kind or a size that cannot be.
    """

    def __init__(self, kind: str, image_size: int = 224) -> None:
        super().__init__()
        if kind not in BACKBONES:
            message = f"There is no level network {kind!r}: use one of {', '.join(BACKBONES)}."
            raise ValueError(message)
        self.design = BACKBONES[kind]
        self.image_size = _checked_size(kind, self.design, image_size)
        self.backbone = _backbone(self.design, image_size)
        self.head = _head(self.design.classes or self.backbone.num_features, self.design)

    def freeze(self) -> None:
        """Train only the parts of the backbone that the document trains, and the head."""
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name.startswith(self.design.trained))
        self.train(self.training)

    def train(self, mode: bool = True) -> LevelBaseline:
        """As usual, but a batch normalisation without trainable weights keeps its averages, as Keras does."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BATCH_NORM) and not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The backbone's answer ``[n, c]`` to images ``[n, 1, h, w]`` 0..1; ValueError for those of another size."""
        wanted = (1, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != wanted:
            message = f"The network takes images of {list(wanted)}, not {list(images.shape[1:])}."
            raise ValueError(message)
        mean, spread = (images.new_tensor(one).view(1, 3, 1, 1) for one in self.design.mean_spread)
        return self.backbone((images - mean) / spread)

    def forward(self, images: torch.Tensor, metadata: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``[n, 7]``; ``metadata`` is taken for the sake of one call for all, and ignored."""
        return self.head(self.features(images))


class LevelPresenceNet(LevelBaseline):
    """The proposed network: GCViT-tiny on the image, linear layers on the metadata, both together into the head.

    The text has three layers for the metadata, the caption of figure 5 two; here three. The document gives no widths:
    2 -> 80 -> 50 -> 10 and 522 -> 96 -> 7 are one choice of several with which the parameters are table 1's
    (13,080,663 trainable, 14,683,998 frozen: the stem, the first three stages and the step down to the fourth).
    """

    def __init__(self, image_size: int = 224) -> None:
        super().__init__("gcvit-tiny", image_size)
        widths = (len(METADATA_SCALE), 80, 50, 10)
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
        self.metadata = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.head = _head(self.backbone.num_features + widths[-1], self.design)

    def forward(self, images: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 7]`` of images ``[n, 1, h, w]`` and their metadata ``[n, 2]`` (mm, ratio)."""
        scaled = metadata / metadata.new_tensor(METADATA_SCALE)
        return self.head(torch.cat([self.features(images), self.metadata(scaled)], dim=1))


def _checked_size(kind: str, design: Backbone, size: int) -> int:
    if size < design.least or size % design.step:
        steps = f" and be a multiple of {design.step}" if design.step > 1 else ""
        message = f"Images for {kind} must be at least {design.least} pixels wide{steps}, not {size}."
        raise ValueError(message)
    return size


def _backbone(design: Backbone, size: int) -> nn.Module:
    """timm's network; its transformers are built for one image size (windows and positions follow from it)."""
    arguments = {"img_size": size} if design.step > 1 else {}
    if design.timm_name != "vgg19":
        return timm.create_model(design.timm_name, pretrained=False, num_classes=design.classes, **arguments)
    network = timm.create_model("vgg19", pretrained=False, num_classes=0, mlp_ratio=1 / 4096)
    network.pre_logits = nn.Identity()
    network.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return network


def _head(inputs: int, design: Backbone) -> nn.Sequential:
    """Linear layers with ReLU between them, down to a logit per level."""
    layers: list[nn.Module] = []
    for width in (*design.head, LEVELS):
        layers += [nn.ReLU()] if layers else []
        layers += [nn.BatchNorm1d(inputs)] if design.normalised else []
        layers.append(nn.Linear(inputs, width))
        inputs = width
    return nn.Sequential(*layers)
