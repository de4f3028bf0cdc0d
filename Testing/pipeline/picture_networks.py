"""A block volume whose grey values name what they are, and networks that read them, in a temporary store.

Seven blocks of bone stand on each other in a body of soft tissue, C1 on top; a bright cuboid in C4 is the fracture. The
networks answer from the pictures themselves, so what the pipeline makes of their answers can be checked in mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.registry import register
from CSpineFractureLib.models.store import WeightsStore, save_weights
from CSpineFractureLib.volume.ct_volume import CTVolume

SPACING = (0.8, 0.8, 1.5)
HEIGHTS = (9, 17, 12, 12, 12, 12, 12)
"""Slices per level, C1 first."""
BELOW, ABOVE = 12, 10
ROWS, COLUMNS = 200, 150
BLOCK = {"j": (70, 130), "i": (45, 105)}
FRACTURE_HU, FRACTURE_J, FRACTURE_I = 1200, (90, 108), (52, 70)


def bone_hu(level: int) -> int:
    """HU of the block of level 0-6."""
    return 360 + 60 * level


def grey(hu: float) -> float:
    """The value of HU in the bone window 500/2000, 0..1."""
    return (hu + 500) / 2000


@dataclass
class BlockStudy:
    """The volume, and for each level and the fracture the block ``[(k0, k1), (j0, j1), (i0, i1)]``, ends exclusive."""

    volume: CTVolume
    levels: list[list[tuple[int, int]]] = field(default_factory=list)
    fracture: list[tuple[int, int]] = field(default_factory=list)

    def hull(self, block: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """Low and high RAS corner (mm, voxel edges) of a block."""
        ends = np.array([[block[2 - axis][n] - 0.5 for axis in range(3)] for n in (0, 1)])
        ras = self.volume.ras_of(ends)
        return ras.min(axis=0), ras.max(axis=0)


def block_study(columns: int = COLUMNS) -> BlockStudy:
    count = BELOW + sum(HEIGHTS) + ABOVE
    hu = np.full((count, ROWS, columns), -1000, np.int16)
    hu[:, 10:190, 10 : columns - 10] = 40
    matrix = np.array([[-0.8, 0, 0, 61.5], [0, -0.8, 0, 82.25], [0, 0, 1.5, -310.0], [0, 0, 0, 1]])
    study = BlockStudy(CTVolume(hu, matrix))
    top = count - ABOVE
    for level, height in enumerate(HEIGHTS):
        block = [(top - height, top), BLOCK["j"], BLOCK["i"]]
        hu[tuple(slice(*ends) for ends in block)] = bone_hu(level)
        study.levels.append(block)
        top -= height
    low, high = study.levels[3][0]
    study.fracture = [(low + 2, high - 2), FRACTURE_J, FRACTURE_I]
    hu[tuple(slice(*ends) for ends in study.fracture)] = FRACTURE_HU
    return study


def stored_otherwise(volume: CTVolume) -> CTVolume:
    """The same patient with slices, rows and columns stored the other way round."""
    matrix = volume.ijk_to_ras.copy()
    for axis in range(3):
        matrix[:3, 3] += matrix[:3, axis] * (volume.hu.shape[2 - axis] - 1)
        matrix[:3, axis] *= -1
    return CTVolume(np.ascontiguousarray(volume.hu[::-1, ::-1, ::-1]), matrix)


class PictureDetector(nn.Module):
    """Boxes the pixels of each value in ``values``, in the form of a YOLO network's raw answer; score 0.9."""

    def __init__(self, classes: int = 7, channels: int = 3, fracture: bool = False) -> None:
        super().__init__()
        of_classes = [FRACTURE_HU] if fracture else [bone_hu(level) for level in range(classes)]
        self.channels = channels
        self.values = nn.Parameter(torch.tensor([grey(hu) for hu in of_classes]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pictures = images.numpy()  # quicker for such small steps
        assert pictures.shape[1] == self.channels
        assert (pictures == pictures[:, :1]).all()
        classes = len(self.values)
        answer = torch.zeros(len(images), 4 + classes, classes)
        for n, picture in enumerate(pictures[:, 0]):
            for index, value in enumerate(self.values.tolist()):
                rows, columns = np.nonzero(np.abs(picture - value) < 0.012)
                if len(rows) >= 20:
                    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
                    box = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], np.float32)
                    answer[n, :4, index], answer[n, 4 + index, index] = torch.from_numpy(box), 0.9
        return answer


class PictureClassifier(nn.Module):
    """Calls a picture fractured when it shows pixels as bright as the fracture; looks at nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.last_conv = nn.Conv2d(1, 1, 1)
        nn.init.constant_(self.last_conv.weight, 40.0)
        nn.init.constant_(self.last_conv.bias, -30.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = torch.relu(self.last_conv(images)).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 0.1 * bright - 6], dim=1)


class PlaceReader(nn.Module):
    """Tells the levels from the metadata alone: a level shows from ``first`` to ``last`` mm below the highest slice."""

    def __init__(self, first: list[float], last: list[float], length: float) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(torch.tensor(first)), nn.Parameter(torch.tensor(last))
        self.length = nn.Parameter(torch.tensor(length))

    def forward(self, images: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        assert float(images.min()) == 0
        assert torch.allclose(images.amax(dim=(1, 2, 3)), torch.ones(len(images)))  # stretched slice by slice
        below, share = metadata[:, :1], metadata[:, 1]
        assert torch.allclose(share * self.length, below[:, 0], atol=1e-3)
        return torch.where((below >= self.first) & (below <= self.last), 6.0, -6.0)


register("picture-detector", PictureDetector)
register("picture-classifier", PictureClassifier)
register("place-reader", PlaceReader)


def install(
    store: WeightsStore,
    module: nn.Module,
    task: str,
    profile: str,
    architecture: str,
    size: int,
    window: str = "500/2000",
    **arguments: object,
) -> ModelEntry:
    """Put a network for whole slices into the store, named after its task and profile."""
    entry = ModelEntry(
        name=f"{task}-{profile}-test",
        version="1",
        task=task,
        profiles=[profile],
        architecture=architecture,
        arguments=arguments,
        licence="Apache-2.0",
        trained_on="nothing",
        input={"image": "slice", "window": window, "windows": [], "size": [size, size], "spacing_mm": [None, None]},
    )
    path = store.user.parent / f"{entry.name}.safetensors"
    save_weights(module, path, torch.float32)
    return store.install(path, entry)


def install_vertebra_detector(store: WeightsStore, profile: str, size: int = 256) -> ModelEntry:
    return install(store, PictureDetector(), "vertebra-detector", profile, "picture-detector", size, channels=3)


def install_fracture_detector(store: WeightsStore, profile: str, size: int = 256) -> ModelEntry:
    module = PictureDetector(1, 1, fracture=True)
    arguments = {"classes": 1, "channels": 1, "fracture": True}
    return install(store, module, "fracture-detector", profile, "picture-detector", size, **arguments)


def install_slice_classifier(store: WeightsStore, profile: str = "two-stage", size: int = 224) -> ModelEntry:
    return install(store, PictureClassifier(), "slice-classifier", profile, "picture-classifier", size)


def install_place_reader(store: WeightsStore, study: BlockStudy, overlap_mm: float = 4.0) -> ModelEntry:
    """Each level's range begins where its block does and ends ``overlap_mm`` below its block, as arches hang."""
    top = len(study.volume.hu) - 1
    first = [(top - (block[0][1] - 1)) * SPACING[2] - 0.1 for block in study.levels]
    last = [(top - block[0][0]) * SPACING[2] + overlap_mm + 0.1 for block in study.levels]
    length = top * SPACING[2]
    module = PlaceReader(first, last, length)
    arguments = {"first": first, "last": last, "length": length}
    return install(store, module, "level-presence", "gcvit-yolo", "place-reader", 224, "minmax", **arguments)
