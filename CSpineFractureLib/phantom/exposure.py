"""From line integrals to a grey image: scatter, quanta, detector, and the processing of computed radiography.

Scatter: Ohnesorge et al., Eur Radiol 1999;9:563-569 (its source is ``-P ln P`` of the primary beam, spread by a broad
kernel). Quantum noise is Poisson; the phosphor blurs quanta and noise alike. Processing: Prokop et al., J Thorac
Imaging 2003;18:147-164 (histogram of the body, latitude lowered by subtracting the broad parts, edges enhanced, sigmoid
curve). Air is black and bone bright.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LETTERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}
BODY_FROM, THICK, LEAD = 0.7, 2.6, 4.0


@dataclass(frozen=True)
class Exposure:
    """How one radiograph is taken and shown; lengths in mm on the detector.

    ``quanta``: mean number detected per pixel behind the middle of the neck; ``scatter``: scattered over primary quanta
    there; ``blur_mm``: sigma of the phosphor; ``latitude``: 0-1, how much of the broad differences is taken away;
    ``sharpen``: edge enhancement; ``contrast``: slope of the sigmoid curve; ``dark``, ``bright``: percentiles of the
    body shown as black and white; ``inset``: share of the image the collimator covers at each edge (top, bottom, left,
    right) and ``lean_deg`` its turn; ``shutter``: the covered part is blackened, otherwise it stays white as exposed;
    ``marker``: ``L``, ``R`` or none, at a corner (row, column: 0 or 1).
    """

    quanta: float = 4000.0
    scatter: float = 0.3
    blur_mm: float = 0.25
    latitude: float = 0.4
    sharpen: float = 0.6
    contrast: float = 3.0
    dark: float = 2.0
    bright: float = 98.5
    inset: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    lean_deg: float = 0.0
    shutter: bool = True
    marker: str | None = None
    marker_corner: tuple[int, int] = (1, 0)


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """A random technique, from a thin to a generous exposure; depends on nothing but ``rng``."""
    return Exposure(
        quanta=float(np.exp(rng.uniform(np.log(1000), np.log(10000)))),
        scatter=float(rng.uniform(0.1, 0.6)),
        blur_mm=float(rng.uniform(0.15, 0.45)),
        latitude=float(rng.uniform(0.45, 0.8)),
        sharpen=float(rng.uniform(0.4, 2.0)) if rng.random() < 0.9 else 0.0,
        contrast=float(rng.uniform(2.0, 4.0)),
        dark=float(rng.uniform(0.5, 4)),
        bright=float(rng.uniform(97.5, 99.7)),
        inset=tuple(float(x) for x in np.clip(rng.normal(0.03, 0.04, 4), 0, 0.12)),
        lean_deg=float(rng.normal(0, 1.0)),
        shutter=bool(rng.random() < 0.7),
        marker=str(rng.choice(["L", "R"])) if rng.random() < 0.55 else None,
        marker_corner=(int(rng.random() < 0.7), int(rng.random() < 0.5)),
    )


def expose(integrals: np.ndarray, rng: np.random.Generator, exposure: Exposure, pixel_mm: float = 0.6) -> np.ndarray:
    """The finished image, uint8 ``[row, column]``, of line integrals ``[row, column]``."""
    field = _field(integrals.shape, exposure)
    lead = _marker(integrals.shape, exposure, pixel_mm)
    quanta, open_beam = detect(integrals + lead, field, rng, exposure, pixel_mm)
    density = -np.log(np.maximum(quanta, 0.5) / open_beam)
    return _shown(density, field, exposure, pixel_mm)


def detect(
    integrals: np.ndarray, field: np.ndarray, rng: np.random.Generator, exposure: Exposure, pixel_mm: float
) -> tuple[np.ndarray, float]:
    """Detected quanta per pixel ``[row, column]``, with noise, and their number in the open beam.

    ``field`` is the collimator's transmission; the tube's output is set by the median of the body in the
    middle of the image, as automatic exposure control does.
    """
    primary = np.exp(-integrals) * field
    body = _metered(integrals, field)
    spread = [30.0 / pixel_mm] * 2
    scattered = ndimage.gaussian_filter(primary * np.maximum(integrals, 0), spread, mode="constant")
    median = float(np.median(primary[body]))
    scattered *= exposure.scatter * median / max(float(np.median(scattered[body])), 1e-12)
    open_beam = exposure.quanta / (median * (1 + exposure.scatter))
    quanta = rng.poisson(open_beam * (primary + scattered)).astype(np.float32)
    return ndimage.gaussian_filter(quanta, exposure.blur_mm / pixel_mm), open_beam


def _shown(density: np.ndarray, field: np.ndarray, exposure: Exposure, pixel_mm: float) -> np.ndarray:
    """Grey levels of log attenuation: black air, bright bone."""
    inside = field > 0.5
    air = density < BODY_FROM
    middle = float(np.median(density[_metered(density, field)]))
    body = inside & ~air & (density < middle + THICK)
    if not body.any():
        body = inside
    broad = _smooth_within(np.where(air, middle, density), inside, 18.0 / pixel_mm)
    fine = density - ndimage.gaussian_filter(density, 1.6 / pixel_mm)
    image = density - exposure.latitude * (broad - middle) + exposure.sharpen * np.clip(fine, -0.4, 0.4)
    low, high = np.percentile(image[body], [exposure.dark, exposure.bright])
    level = np.clip((image - low) / max(float(high - low), 1e-3), -0.3, 1.3)
    c = exposure.contrast
    curve = lambda x: 1 / (1 + np.exp(-c * (x - 0.5)))  # noqa: E731
    grey = (curve(level) - curve(-0.12)) / (curve(1.08) - curve(-0.12))
    grey = np.where(inside, grey, 0.0 if exposure.shutter else 0.97)
    return np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)


def _metered(integrals: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Pixels of the body over the exposure meter, in the middle of the image."""
    rows, columns = integrals.shape
    cell = np.zeros(integrals.shape, bool)
    cell[rows * 3 // 10 : rows * 7 // 10, columns * 3 // 10 : columns * 7 // 10] = True
    for chosen in (cell & (integrals > BODY_FROM) & (field > 0.5), field > 0.5):
        if chosen.any():
            return chosen
    return np.ones(integrals.shape, bool)


def _smooth_within(values: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over the pixels inside the collimated field alone."""
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    return ndimage.gaussian_filter(np.where(inside, values, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)


def _field(shape: tuple[int, int], exposure: Exposure) -> np.ndarray:
    """Transmission of the collimator: 1 inside a rectangle with soft edges, nearly 0 outside."""
    rows, columns = shape
    top, bottom, left, right = exposure.inset
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    t = np.radians(exposure.lean_deg)
    y, x = (
        (y - rows / 2) * np.cos(t) - (x - columns / 2) * np.sin(t),
        (x - columns / 2) * np.cos(t) + (y - rows / 2) * np.sin(t),
    )
    edges = []
    for at, size, before, after in ((y, rows, top, bottom), (x, columns, left, right)):
        for sign, inset in ((-1, before), (1, after)):
            if inset > 0:
                edges.append(size * (0.5 - inset) - sign * at)
    if not edges:
        return np.ones(shape, np.float32)
    return np.clip(np.min(edges, axis=0) / 1.5 + 0.5, 0.004, 1.0).astype(np.float32)


def _marker(shape: tuple[int, int], exposure: Exposure, pixel_mm: float) -> np.ndarray:
    """Line integral of a lead letter of about 15 mm near a corner of the image."""
    result = np.zeros(shape, np.float32)
    if exposure.marker is None:
        return result
    letter = np.array([[float(c) for c in row] for row in LETTERS[exposure.marker]], np.float32)
    cell = round(2.2 / pixel_mm)
    letter = ndimage.gaussian_filter(np.kron(np.pad(letter, 1), np.ones((cell, cell), np.float32)), 0.4 * cell) > 0.48
    row, column = (round(n * (0.8 if far else 0.14)) for n, far in zip(shape, exposure.marker_corner, strict=True))
    there = result[row : row + letter.shape[0], column : column + letter.shape[1]]
    there += LEAD * letter[: there.shape[0], : there.shape[1]]
    return ndimage.gaussian_filter(result, 0.5)
