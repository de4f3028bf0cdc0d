"""What the segmentation of document 002 learns, as Lightning takes it: binary cross entropy and IoU loss together."""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchmetrics.classification import MulticlassConfusionMatrix

from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.mask_pictures import Sample
from CSpineFractureLib.training.systems import System

MONITORS = ["dice", "iou", "accuracy"]


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy plus IoU loss (document 002, section IV-B) of logits ``[n, 9, h, w]``, map ``[n, h, w]``.

    Each of the nine channels is a question of its own. The cross entropy is the mean over all pixels and channels; the
    IoU loss is 1 - J of the probabilities, J taken over the whole batch for each channel, and then their mean; channels
    that the batch does not show count as 0 there (``smp.losses.JaccardLoss``).
    """
    logits = logits.float()
    wanted = nn.functional.one_hot(labels.long(), logits.shape[1]).movedim(-1, 1).float()
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
    return entropy + smp.losses.JaccardLoss("multilabel")(logits, wanted)


def mean_overlaps(confusion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dice and IoU of C1-C7, the mean of those that are there or called; 0 where none is. Rows are true."""
    confusion = confusion.double()
    both = confusion.diagonal()[1:8]
    either = confusion.sum(0)[1:8] + confusion.sum(1)[1:8]
    known = either > 0
    if not known.any():
        return torch.zeros(()), torch.zeros(())
    both, either = both[known], either[known]
    return (2 * both / either).mean().float(), (both / (either - both)).mean().float()


class SegmentationTask(Learner):
    """Learns ``network`` by the ``training`` of ``system``; logs figures once per epoch.

    Logged are ``train_loss``, ``val_loss``, ``val_dice`` and ``val_iou`` (C1-C7, over all pixels of the slices at the
    network's size), ``val_accuracy`` (of pixels) and ``learning_rate``.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        super().__init__(network, system, seed, MONITORS, "dice")
        self.confusion = MulticlassConfusionMatrix(len(CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 9, s, s]`` of images ``[n, 3, s, s]`` 0..1."""
        return self.network(images)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See ``segmentation_loss``."""
        return segmentation_loss(logits, labels)

    def training_step(self, batch: Sample, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        images, labels = batch
        loss = self.loss(self(images), labels)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Adds a batch to the figures of the epoch."""
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        self.log("val_loss", loss, on_epoch=True, batch_size=len(images), sync_dist=True)
        self.confusion.update(logits.argmax(1), labels.long())

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        confusion = self.confusion.compute()
        dice, iou = mean_overlaps(confusion)
        accuracy = confusion.diagonal().sum() / confusion.sum().clamp(min=1)
        self.log_dict({"val_dice": dice, "val_iou": iou, "val_accuracy": accuracy})
        self.confusion.reset()
