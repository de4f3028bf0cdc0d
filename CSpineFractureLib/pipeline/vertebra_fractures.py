"""Is a vertebra fractured? The second stage of document 002: 30 slices of each vertebra through one network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.vertebra_crop import SLICES, VertebraPlace, crop_vertebra

if TYPE_CHECKING:
    import torch
    from torch import nn

    from CSpineFractureLib.models.crack_net import SliceLSTM
    from CSpineFractureLib.models.manifest import ModelEntry

VERTEBRA_FRACTURE = "vertebra-fracture"
WHOLE = "vertebra-whole"
IMAGES = ("vertebra-crop", WHOLE)
FRACTURE, SHOW_CAM = 0.5, 0.5
AT_ONCE = 2
CAM_AT_ONCE = 4
"""Vertebrae judged at once, and slices explained at once: 30 of 512 pixels together would take 7 GB."""
LEVEL_RULE = (
    "vertebra-sequence: the network's probability of each vertebra, from slices evenly through its own crop; study: the"
    " highest of its levels"
)


@dataclass
class JudgedVertebra:
    """Level ``number`` (1-7): where it was cut out, its fracture probability, and where that is high its pictures.

    ``score`` is what the network says, ``probability`` that of the calibration, where there is one. ``pictures`` is
    uint8 ``[slices, channels, s, s]``, ``cam`` float32 ``[slices, s, s]``: the Grad-CAM, 0 to the probability; both
    from top to bottom (``place.heights``).
    """

    number: int
    place: VertebraPlace
    score: float
    probability: float
    pictures: np.ndarray | None = None
    cam: np.ndarray | None = None


@dataclass(frozen=True)
class CropInput:
    """What the network sees of a vertebra: slices, edge in pixels, whether its mask is a further channel, and whether
    its slices are shown ``whole`` (document 002's ablation without cropping)."""

    slices: int
    size: int
    mask: bool
    whole: bool = False

    @classmethod
    def of(cls, entry: ModelEntry) -> CropInput:
        """As the manifest entry says. Raises ``UserError`` for images that this program cannot make."""
        sizes = set(entry.input["size"])
        if entry.image not in IMAGES or len(sizes) != 1 or entry.input.get("window", "three") != "three":
            message = (
                f"Model {entry.name!r} does not take slices of vertebrae in three bone windows ({entry.image}): choose"
                " another with --model, see 'cspine models list'."
            )
            raise UserError(message)
        mask, whole = bool(entry.input.get("mask", False)), entry.image == WHOLE
        return cls(int(entry.input.get("slices", SLICES)), int(sizes.pop()), mask, whole)

    def pictures(self, view: CanonicalView, place: VertebraPlace, labels: np.ndarray, number: int) -> np.ndarray:
        """uint8 ``[slices, channels, size, size]`` of a vertebra."""
        mask = (labels, number) if self.mask else (None, None)
        return crop_vertebra(view.hu, place, self.size, self.slices, *mask)


def judge_vertebrae(
    view: CanonicalView,
    labels: np.ndarray,
    places: dict[int, VertebraPlace],
    context: RunContext,
    probability_of: Callable[[float], float] = float,
) -> list[JudgedVertebra]:
    """The fracture probability of each place; pictures and Grad-CAM of those that are suspicious.

    ``probability_of`` makes probabilities of the network's scores.
    """
    seen = CropInput.of(context.entry(VERTEBRA_FRACTURE))
    network, _ = context.load(VERTEBRA_FRACTURE)

    def judge_batch(batch: list[int], device: str) -> list[float]:
        import torch

        network.to(device)
        crops = np.stack([seen.pictures(view, places[number], labels, number) for number in batch])
        with torch.inference_mode():
            logits = network(torch.from_numpy(crops).to(device).float() / 255)
        return torch.sigmoid(logits.float()).cpu().tolist()

    with context.stage("classify", len(places), "Looking for fractures"):
        found = context.run_batches("classify", judge_batch, list(places), AT_ONCE, "Looking for fractures")
    judged = [
        JudgedVertebra(number, place, score, float(probability_of(score)))
        for (number, place), score in zip(places.items(), found, strict=True)
    ]
    least = min(context.threshold("gradcam", SHOW_CAM), context.threshold("fracture", FRACTURE))
    suspicious = [one for one in judged if one.probability >= least]

    def explain_batch(batch: list[JudgedVertebra], device: str) -> list[None]:
        network.to(device)
        for one in batch:
            one.pictures = seen.pictures(view, one.place, labels, one.number)
            one.cam = vertebra_cam(network, one.pictures, one.probability, device)
        return [None] * len(batch)

    with context.stage("explain", len(suspicious), "Explaining suspicious vertebrae"):
        context.run_batches("explain", explain_batch, suspicious, 1, "Explaining suspicious vertebrae")
    return judged


def vertebra_cam(network: nn.Module, pictures: np.ndarray, probability: float, device: str = "cpu") -> np.ndarray:
    """Grad-CAM float32 ``[slices, s, s]`` of one vertebra's pictures (uint8 ``[slices, channels, s, s]``).

    Slices are stretched together, the brightest place of the vertebra to its fracture probability. All 0 where nothing
    speaks for a fracture.
    """
    import torch

    from CSpineFractureLib.models.crack_net import SliceLSTM

    images = torch.from_numpy(pictures).to(device).float() / 255
    cam = _cam_in_parts(network, images) if isinstance(network, SliceLSTM) else _cam_of(network, images)
    return cam * np.float32(probability / max(float(cam.max()), 1e-12))


def _cam_of(network: nn.Module, images: torch.Tensor, layer: nn.Module | None = None) -> np.ndarray:
    from CSpineFractureLib.explain.grad_cam import slice_grad_cam
    from CSpineFractureLib.models.crack_net import SlicesOfOne

    return slice_grad_cam(SlicesOfOne(network), images, batch_size=len(images), normalise=False, layer=layer)


def _cam_in_parts(network: SliceLSTM, images: torch.Tensor) -> np.ndarray:
    """As ``_cam_of``, in a fraction of its memory: few slices at a time take gradients, the rest are constants."""
    import torch
    from torch import nn

    layer, features, seen = network.last_conv, network.features, []

    class InParts(nn.Module):
        first = 0

        def forward(self, part: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():
                seen.append(features(part))
                return seen[-1]
            last = self.first + CAM_AT_ONCE
            return torch.cat([rows[: self.first], features(part[self.first : last]), rows[last:]])

    network.features = parts = InParts()
    try:
        with torch.no_grad():
            network(images[None])
        rows, maps = torch.cat(seen), []
        for parts.first in range(0, len(images), CAM_AT_ONCE):
            maps.append(_cam_of(network, images, layer))
    finally:
        network.features = features
    return np.concatenate(maps)
