"""Domain randomisation of slices: what scanners, kernels, doses and voxels do to the same anatomy."""

from __future__ import annotations

import cv2
import numpy as np

COARSE_MM = (1.0, 4.5)


def randomise_hu(hu: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Vary contrast, bone density, sharpness, voxel size and noise of float32 HU images ``[c, h, w]``."""
    hu = hu.astype(np.float32)
    hu = np.where(hu > 150, 150 + (hu - 150) * rng.uniform(1 - 0.45 * strength, 1 + 0.35 * strength), hu)
    if rng.random() < 0.5:
        hu = hu + rng.normal(0, 25 * strength)
    if rng.random() < 0.35:
        factor = rng.uniform(1.3, 1 + 2.6 * strength)
        size = hu.shape[-1]
        small = max(24, int(size / factor))
        hu = np.stack(
            [cv2.resize(cv2.resize(c, (small, small), interpolation=cv2.INTER_AREA), (size, size)) for c in hu]
        )
    elif rng.random() < 0.5:
        sigma = rng.uniform(0.3, 1.3 * strength)
        hu = np.stack([cv2.GaussianBlur(c, (0, 0), sigma) for c in hu])
    elif rng.random() < 0.4:
        soft = np.stack([cv2.GaussianBlur(c, (0, 0), 1.2) for c in hu])
        hu = hu + rng.uniform(0.3, 1.2) * (hu - soft)
    if rng.random() < 0.8:
        noise = rng.standard_normal(hu.shape, dtype=np.float32) * rng.gamma(2.0, 22.0 * strength)
        if rng.random() < 0.6:
            noise = np.stack([cv2.GaussianBlur(c, (0, 0), 0.8) for c in noise]) * 2
        hu = hu + noise
    if rng.random() < 0.15:
        hu = np.where(_outside(hu.shape[-1], rng), -1024, hu)
    return hu


def coarsen(hu: np.ndarray, rng: np.random.Generator, pixel_mm: float) -> np.ndarray:
    """What a scan of coarse pixels, 1 to 4.5 mm, leaves of float32 HU images ``[c, h, w]`` of ``pixel_mm``.

    Radiotherapy plans have such pixels. The grid lies anywhere between the image's own pixels.
    """
    size = hu.shape[-1]
    small = max(8, round(size * pixel_mm / rng.uniform(*COARSE_MM)))
    step = size / small
    move = np.float32([[1, 0, rng.uniform(-step / 2, step / 2)], [0, 1, rng.uniform(-step / 2, step / 2)]])
    return np.stack([_through(c.astype(np.float32), move, small) for c in hu])


def _through(image: np.ndarray, move: np.ndarray, small: int) -> np.ndarray:
    size = image.shape[::-1]
    image = cv2.warpAffine(image, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), size)
    move = move * np.float32([[1, 1, -1], [1, 1, -1]])
    return cv2.warpAffine(image, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _outside(size: int, rng: np.random.Generator) -> np.ndarray:
    """A mask of what a cropped field of view would miss: a half plane or the outside of a circle."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        return x * np.cos(angle) + y * np.sin(angle) > rng.uniform(0.3, 0.5)
    return x * x + y * y > rng.uniform(0.4, 0.6) ** 2
