"""Vertebrae painted on the canvas: cortex, trabeculae, gaps, labels.

HU of bone: cortical shell 700-1400 HU; trabecular bone about 450 HU in the young and about 3 HU less a year, least
dense from C6 down (Schreiber et al., J Bone Joint Surg Am 2011;93:1057-1063: HU fall almost linearly with age; "Bone
density distribution in the cervical spine", Global Spine J 2022, doi 10.1177/21925682221098965: by level; Simion et
al., BMC Musculoskelet Disord 2024;25:200: cervical bone is denser than thoracic and lumbar bone).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.phantom.fractures import Broken, Fracture
from CSpineFractureLib.phantom.mimic_shapes import Mimic
from CSpineFractureLib.phantom.morphometry import Spine, Vertebra
from CSpineFractureLib.phantom.noise import TiledNoise
from CSpineFractureLib.phantom.sdf import Canvas, Points
from CSpineFractureLib.phantom.truth import LABELS
from CSpineFractureLib.phantom.vertebrae import reach, vertebra_distance

BLOOD_HU = 60.0
COARSE_MM, MARGIN_MM = 2.4, 4.2
LEVEL_DENSITY = {"C6": 0.93, "C7": 0.84, "T1": 0.78, "T2": 0.75, "T3": 0.72, "T4": 0.72, "T5": 0.72}


@dataclass
class BoneQuality:
    """Density of one person's bone: trabecular and cortical HU, and the cortex in the bodies (mm)."""

    trabecular_hu: float
    cortical_hu: float
    cortex_mm: float

    @classmethod
    def sample(cls, rng: np.random.Generator, age: float) -> BoneQuality:
        """By age: osteoporosis thins the cortex and empties the trabeculae."""
        trabecular = float(np.clip(rng.normal(450 - 3.0 * (age - 20), 60), 110, 560))
        cortical = float(np.clip(rng.normal(1150 - 2.0 * (age - 20), 130), 700, 1450))
        return cls(trabecular, cortical, float(np.clip(rng.normal(0.75 - 0.003 * (age - 20), 0.12), 0.35, 1.1)))


class BonePainter:
    """Paints vertebrae one after another; ``labels`` and ``gaps`` (uint8) grow with each, ``[k, j, i]``."""

    def __init__(self, canvas: Canvas, quality: BoneQuality, rng: np.random.Generator) -> None:
        self.canvas, self.quality, self.rng = canvas, quality, rng
        self.noise = TiledNoise(rng)
        self.labels = np.zeros(canvas.hu.shape, np.uint8)
        self.gaps = np.zeros(canvas.hu.shape, np.uint8)
        self.owner = np.full(canvas.hu.shape, 1e3, np.float16)

    def paint(self, spine: Spine, fractures: list[Fracture], mimics: list[Mimic]) -> None:
        """All vertebrae of a spine from above downwards."""
        for number, v in enumerate(spine.vertebrae):
            broken = next((f for f in fractures if f.level == v.level), None)
            self._paint(v, broken, [m for m in mimics if m.level == v.level], 3.1 * number)

    def _paint(self, v: Vertebra, broken: Fracture | None, mimics: list[Mimic], shift: float) -> None:
        half, ahead, behind, tall = reach(v)
        low = (v.centre[0] - half, v.centre[1] - behind, v.centre[2] - tall)
        high = (v.centre[0] + half, v.centre[1] + ahead, v.centre[2] + tall)
        found = self.canvas.window(low, high)
        if found is None:
            return
        index, axes = found
        near = self._near(v, axes, MARGIN_MM + (abs(broken.shift_mm) if broken else 0.0), mimics)
        if not near.any():
            return
        k, j, i = np.nonzero(near)
        world = (axes[0].ravel()[i], axes[1].ravel()[j], axes[2].ravel()[k])
        flat = np.ravel_multi_index((k + index[0].start, j + index[1].start, i + index[2].start), self.canvas.hu.shape)
        local = to_local(v, world)
        warped = self.noise.warp(local, 0.55, 3.6, shift)

        bone = (
            Broken.intact(distance_with(v, mimics), warped)
            if broken is None
            else broken.apply(distance_with(v, mimics), warped)
        )
        rough = 0.22 * self.noise(local, 1.0, shift + 5)
        hu = self._density(v, bone.source, bone.depth + rough, shift)
        for mimic in mimics:
            hu = mimic.density(bone.source, bone.depth, hu)
        self._write(v, flat, bone.distance + rough, bone.gap, broken, hu)

    def _near(self, v: Vertebra, axes: Points, margin: float, mimics: list[Mimic]) -> np.ndarray:
        """Voxels of the window that may hold bone, found on a coarse grid."""
        steps = [max(1, round(COARSE_MM / s)) for s in self.canvas.spacing]
        coarse = (axes[0][..., :: steps[0]], axes[1][:, :: steps[1]], axes[2][:: steps[2]])
        local = to_local(v, coarse)
        near = distance_with(v, mimics)(local) < margin
        for axis, step in enumerate((steps[2], steps[1], steps[0])):
            near = np.repeat(near | np.roll(near, -1, axis), step, axis)
        shape = (axes[2].size, axes[1].size, axes[0].size)
        return near[: shape[0], : shape[1], : shape[2]]

    def _density(self, v: Vertebra, local: Points, distance: np.ndarray, shift: float) -> np.ndarray:
        q = self.quality
        x, y, z = local
        arch = np.clip((-y - np.float32(v.depth / 2 - 1)) / 4, 0, 1) if v.level != "C1" else np.float32(0.8)
        cortex = np.float32(q.cortex_mm) * (1 + 0.75 * arch) * (1 + 0.25 * self.noise(local, 2.6, shift + 1))
        fine = self.noise((x, y, z * np.float32(0.45)), 0.62, shift + 2)
        patchy = self.noise(local, 2.4, shift + 3)
        sponge = (
            q.trabecular_hu * LEVEL_DENSITY.get(v.level, 1.0) * (1 + 0.22 * arch) * (1 + 0.20 * fine + 0.14 * patchy)
        )
        hard = q.cortical_hu * (1 + 0.07 * patchy)
        depth = -distance - cortex
        return sponge + (hard - sponge) * np.where(depth < 0, 1.0, np.exp(-np.maximum(depth, 0) / np.float32(0.65)))

    def _write(self, v: Vertebra, flat, distance, gap, broken, hu) -> None:
        """Blend into the canvas with partial volume; a gap holds blood; the nearest vertebra owns a voxel."""
        owner, ct = self.owner.reshape(-1), self.canvas.hu.reshape(-1)
        pixel = np.float32(min(self.canvas.spacing))
        others = owner[flat].astype(np.float32)
        cover = np.clip(0.5 - distance / pixel, 0.0, 1.0) * np.clip((others - distance) / 0.6 + 0.5, 0.0, 1.0)
        mine = (distance < 0) & (distance < others)
        if gap is not None:
            open_share = np.clip(0.5 - gap / pixel, 0.0, min(1.0, broken.gap_mm / float(pixel)))
            hu = hu + open_share * (BLOOD_HU - hu)
            torn = mine & (gap < max(0.4, 0.5 * float(pixel)))
            self.gaps.reshape(-1)[flat[torn]] = LABELS[v.level]
        ct[flat] += cover * (hu - ct[flat])
        self.labels.reshape(-1)[flat[mine]] = LABELS[v.level]
        owner[flat] = np.minimum(others, distance)


def distance_with(v: Vertebra, mimics: list[Mimic]) -> Callable[[Points], np.ndarray]:
    """The signed distance (mm) of an unbroken vertebra with its mimics, as a function of local points."""

    def distance(p: Points) -> np.ndarray:
        was = p
        for mimic in mimics:
            was = mimic.sunk(was)
        result = vertebra_distance(v, was)
        for mimic in mimics:
            result = mimic.shape(p, result)
        return result

    return distance


def to_local(v: Vertebra, p: Points) -> Points:
    """Points (RAS mm) in the vertebra's own frame: right, anterior, superior of its centre."""
    x, y, z = (q - np.float32(c) for q, c in zip(p, v.centre, strict=True))
    m = v.axes.astype(np.float32)
    return tuple(m[n, 0] * x + m[n, 1] * y + m[n, 2] * z for n in range(3))
