"""What the beam does to a scan: beam hardening, photon starvation and metal, worked out on coarse slices.

Slices are projected and reconstructed on a coarse grid (parallel beam, filtered back-projection), and only the *error*
against an ideal scan is kept, so that it can be added to the fine image. Lengths along a ray are in mm of water of
the same attenuation. Attenuation coefficients: NIST XCOM/Hubbell and Seltzer 1995 tables (water, ICRU-44 cortical
bone, iron); the correction for water that scanners apply: Hsieh, Computed Tomography, ch. 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage, sparse

METAL_HU = 2500.0
MU_WATER = 0.0193  # 1/mm at the mean energy of a filtered 120 kV beam, about 70 keV
GRID, ANGLES = 96, 90
METAL_GRID, METAL_ANGLES = 144, 200
STARVED_BEAM_DEG = 7.0
SCATTER = 8e-5  # share of the beam that arrives however thick the body is
PHOTONS = 1.5e4  # counted on a ray through air; sets the noise of rays through metal
STREAK_HU = np.float32(1000)  # streaks level off towards this
REFERENCE_MM = 130.0  # the neck at whose middle the noise is as asked

_WEIGHTS = np.array([0.25, 0.3, 0.3, 0.15])  # of 50, 60, 80 and 100 keV: a 120 kV beam behind its filter
_WATER_CM = np.array([0.2269, 0.2059, 0.1837, 0.1707])
_BONE_CM = np.array([0.4242, 0.3148, 0.2229, 0.1855]) * 1.92
_IRON_CM = np.array([1.958, 1.205, 0.5952, 0.3717]) * 7.874
_METAL_TO_WATER = 80.0  # iron 25, amalgam and gold above 200 (80 keV)


def _relative(material: np.ndarray, at_mm: float = 150.0) -> np.ndarray:
    """Curve over energy with slope 1 behind ``at_mm`` of water, where a scanner's HU are set."""
    left = _WEIGHTS * np.exp(-MU_WATER * at_mm * _WATER_CM / (_WEIGHTS @ _WATER_CM))
    return material / (left @ material) * left.sum()


_WATER, _BONE, _IRON = (_relative(m).astype(np.float32) for m in (_WATER_CM, _BONE_CM, _IRON_CM))
_TABLE_MM = np.linspace(0.0, 1500.0, 3001)


def _intensity(water: np.ndarray, bone: np.ndarray, iron: np.ndarray | float = 0.0) -> np.ndarray:
    """Share of the beam that passes."""
    share = 0.0
    for weight, w, b, m in zip(_WEIGHTS, _WATER, _BONE, _IRON, strict=True):
        share = share + np.float32(weight) * np.exp(-np.float32(MU_WATER) * (w * water + b * bone + m * iron))
    return share


_TABLE_LOG = -np.log(_intensity(_TABLE_MM, np.float64(0)))


def _water_corrected(intensity: np.ndarray) -> np.ndarray:
    """The length of water (mm) that would pass as much."""
    return np.interp(-np.log(intensity), _TABLE_LOG, _TABLE_MM).astype(np.float32)


@dataclass(frozen=True)
class Projector:
    """Parallel projections of square images of ``size`` pixels; a unit of length is one pixel.

    ``matrix`` is ``[angle * ray, pixel]``; ``angles`` (radians) is where the detector's axis points, from ``i`` to
    ``j``: at 0 the rays run along ``j`` (antero-posterior), at 90 degrees along ``i`` (lateral).
    """

    size: int
    angles: np.ndarray
    rays: int
    matrix: sparse.csr_matrix
    transposed: sparse.csr_matrix

    def forward(self, images: np.ndarray) -> np.ndarray:
        """``[n, size, size]`` to ``[n, angle, ray]``."""
        columns = np.ascontiguousarray(images.reshape(len(images), -1).T)
        return np.ascontiguousarray((self.matrix @ columns).T).reshape(len(images), len(self.angles), self.rays)

    def back(self, projections: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """``[n, angle, ray]`` to the mean over the angles (weighted) at each pixel, ``[n, size, size]``."""
        weights = np.ones(len(self.angles)) if weights is None else weights
        scaled = projections * (weights / weights.sum()).astype(np.float32)[:, None]
        columns = np.ascontiguousarray(scaled.reshape(len(scaled), -1).T)
        return np.ascontiguousarray((self.transposed @ columns).T).reshape(-1, self.size, self.size)

    def reconstruct(self, projections: np.ndarray) -> np.ndarray:
        """Filtered back-projection: ramp with a Hann window."""
        length = fft.next_fast_len(2 * self.rays, real=True)
        distance = np.arange(length)
        distance = np.minimum(distance, length - distance)
        odd = distance % 2 == 1
        ramp = np.where(odd, -1.0 / (np.pi * np.maximum(distance, 1)) ** 2, 0.0)
        ramp[0] = 0.25
        response = fft.rfft(ramp).real
        response *= 0.5 + 0.5 * np.cos(np.pi * np.arange(len(response)) / (len(response) - 1))
        spectrum = fft.rfft(projections.astype(np.float32), length, axis=2)
        filtered = fft.irfft(spectrum * response.astype(np.float32), length, axis=2)
        return np.pi * self.back(filtered[:, :, : self.rays])


@lru_cache(maxsize=2)
def projector(size: int, count: int) -> Projector:
    """The projector of images of ``size`` pixels at ``count`` angles over half a turn."""
    angles = np.arange(count) * np.pi / count
    rays = int(np.ceil(size * np.sqrt(2))) + 3
    axis = np.arange(size) - (size - 1) / 2
    j, i = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    at = (np.outer(i, np.cos(angles)) + np.outer(j, np.sin(angles)) + (rays - 1) / 2).astype(np.float32)
    low = np.floor(at).astype(np.int32)
    share = at - low.astype(np.float32)
    first = low + (np.arange(count) * rays).astype(np.int32)
    entries = np.stack([1 - share, share], axis=2).ravel()
    index = np.stack([first, first + 1], axis=2).ravel()
    starts = np.arange(0, len(entries) + 1, 2 * count, dtype=np.int32)
    transposed = sparse.csr_matrix((entries, index, starts), shape=(size * size, count * rays))
    return Projector(size, angles, rays, transposed.T.tocsr(), transposed)


def averaging(fine: int, fine_mm: float, coarse: int, coarse_mm: float, soften: bool = False) -> sparse.csr_matrix:
    """Matrix ``[coarse, fine]`` that averages fine pixels into coarse ones; both axes have the same middle."""
    edges = (np.arange(fine + 1) - fine / 2) * fine_mm
    walls = (np.arange(coarse + 1) - coarse / 2) * coarse_mm
    shared = np.minimum(walls[1:, None], edges[None, 1:]) - np.maximum(walls[:-1, None], edges[None, :-1])
    shares = np.clip(shared, 0, None) / coarse_mm
    if soften:
        shares = ndimage.convolve1d(shares, [0.25, 0.5, 0.25], axis=0)
    return sparse.csr_matrix(shares.astype(np.float32))


def spreading(fine: int, fine_mm: float, coarse: int, coarse_mm: float) -> sparse.csr_matrix:
    """Matrix ``[fine, coarse]`` of linear interpolation; both axes have the same middle."""
    at = (np.arange(fine) - (fine - 1) / 2) * fine_mm / coarse_mm + (coarse - 1) / 2
    shares = np.clip(1 - np.abs(np.clip(at, 0, coarse - 1)[:, None] - np.arange(coarse)), 0, None)
    return sparse.csr_matrix(shares.astype(np.float32))


def on_axes(images: np.ndarray, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> np.ndarray:
    """``rows @ image @ columns.T`` of each image, without BLAS: its number of threads would change the last bit."""
    n, height, _ = images.shape
    across = columns @ np.ascontiguousarray(images.transpose(2, 1, 0)).reshape(images.shape[2], -1)
    across = np.ascontiguousarray(across.reshape(-1, height, n).transpose(1, 2, 0))
    return (rows @ across.reshape(height, -1)).reshape(rows.shape[0], n, -1).transpose(1, 0, 2)


@dataclass(frozen=True)
class BeamMaps:
    """What the beam adds, on coarse slices ``at`` (positions along k): HU error, and how the noise SD is multiplied.

    ``error``, ``even`` and ``starved`` are ``[n, GRID, GRID]``; ``even`` multiplies noise without direction and
    ``starved`` the streaks. ``lateral[n]``: whether a slice's streaks run along ``i`` (else along ``j``). ``rows`` and
    ``columns`` spread a coarse slice over the fine one.
    """

    at: np.ndarray
    error: np.ndarray
    even: np.ndarray
    starved: np.ndarray
    lateral: np.ndarray
    rows: sparse.csr_matrix
    columns: sparse.csr_matrix

    def fine(self, name: str, slices: np.ndarray) -> np.ndarray:
        """The map at the given fine slices, ``[len(slices), j, i]``."""
        maps = getattr(self, name)
        place = np.interp(slices, self.at, np.arange(len(self.at)))
        low = np.minimum(place.astype(int), len(self.at) - 2) if len(self.at) > 1 else np.zeros(len(slices), int)
        share = (place - low).astype(np.float32)[:, None, None]
        mixed = maps[low] * (1 - share) + maps[np.minimum(low + 1, len(maps) - 1)] * share
        return on_axes(mixed, self.rows, self.columns)


def beam_maps(
    hu: np.ndarray, spacing_ijk_mm: tuple, strength: float, cupping_hu: float, step_mm: float = 4.0
) -> BeamMaps:
    """Beam hardening, scatter, cupping and the noise's place, from the ideal HU ``[k, j, i]``.

    Bone hardens the beam (dark bands between dense bones), and a constant floor of scatter darkens what lies between
    the shoulders. ``cupping_hu`` is the dip in the middle of 160 mm of water. ``step_mm`` lies between coarse slices.
    """
    di, dj, dk = spacing_ijk_mm
    count = max(1, int(np.ceil((hu.shape[0] - 1) * dk / step_mm)) + 1)
    at = np.unique(np.rint(np.linspace(0, hu.shape[0] - 1, count)).astype(int))
    water, bone, coarse_mm, rows, columns = _coarse(hu, at, di, dj)
    beam = projector(GRID, ANGLES)
    water, bone = (beam.forward(x) * np.float32(coarse_mm) for x in (water, bone))
    measured = _water_corrected(_intensity(water, bone) + np.float32(SCATTER))
    error = np.float32(strength) * (measured - water - bone)
    bend = cupping_hu * np.pi / (8 * 80 * 1000)
    error += np.float32(cupping_hu / 2000) * (water + bone) - np.float32(bend) * (water + bone) ** 2
    error = beam.reconstruct(error) * np.float32(1000 / coarse_mm)
    variance = _ray_variance(water + bone, strength)
    even, starved, lateral = _directions(beam, variance)
    return BeamMaps(at, np.clip(error, -400, 400), np.sqrt(even), np.sqrt(starved), lateral, rows, columns)


def _ray_variance(length: np.ndarray, strength: float) -> np.ndarray:
    """Noise variance of each ray, 1 through the middle of the reference neck.

    It grows as exp(0.75 attenuation), less than the exponent 1 of counting noise because starved projections are
    smoothed; the tube current follows the slice's usual (length-weighted mean) attenuation. Both exponents were set to
    give what a real scan shows at ``strength`` 1: SD 1.6 times the neck's at the shoulders.
    """
    usual = (length**2).sum(axis=(1, 2)) / np.maximum(length.sum(axis=(1, 2)), 1.0)
    excess = 0.75 * (length - REFERENCE_MM) - 0.5 * (usual - 0.85 * REFERENCE_MM)[:, None, None]
    return np.exp(np.clip(np.float32(strength * MU_WATER) * excess, -4, 5))


def _coarse(hu: np.ndarray, at: np.ndarray, di: float, dj: float) -> tuple:
    """Coarse slices of water and bone (attenuation, water = 1), their pixel (mm), and the matrices back."""
    _, height, width = hu.shape
    soft, hard = _water_and_bone(hu[at])
    left, right = _hidden_mm(soft[:, :, 0], dj), _hidden_mm(soft[:, :, -1], dj)
    front, back = _hidden_mm(soft[:, 0], di), _hidden_mm(soft[:, -1], di)
    sides, ends = max(left.max(), right.max()), min(max(front.max(), back.max()), 35.0)
    coarse_mm = max(width * di + 2 * sides, height * dj + 2 * ends) / GRID
    down_j, down_i = averaging(height, dj, GRID, coarse_mm), averaging(width, di, GRID, coarse_mm)
    water, bone = (np.ascontiguousarray(on_axes(part, down_j, down_i)) for part in (soft, hard))
    axis = (np.arange(GRID) - (GRID - 1) / 2) * coarse_mm
    for side, hidden in ((-1, left), (1, right)):
        _extend(water, axis * side, width * di / 2, hidden, coarse_mm)
    for side, hidden in ((-1, front), (1, back)):
        _extend(water.transpose(0, 2, 1), axis * side, height * dj / 2, np.minimum(hidden, 35.0), coarse_mm)
    return water, bone, coarse_mm, spreading(height, dj, GRID, coarse_mm), spreading(width, di, GRID, coarse_mm)


def _hidden_mm(edge: np.ndarray, mm: float) -> np.ndarray:
    """How far the body is taken to go on outside the image, by the length of its cut (the sagitta of a circle)."""
    chord = np.clip(edge - 0.3, 0, 1).sum(axis=1) * mm / 0.7
    return np.minimum(chord**2 / 200, 75.0)


def _extend(water: np.ndarray, axis: np.ndarray, border_mm: float, hidden: np.ndarray, coarse_mm: float) -> None:
    """Go on with the outermost column past the border, rounded off over the cut's length. In place."""
    inside = np.nonzero(axis < border_mm - coarse_mm)[0]
    last = inside[np.argmax(axis[inside])]
    edge = np.minimum(water[:, :, last], 1.05)
    lines = np.arange(edge.shape[1], dtype=np.float32)
    weight = np.maximum(edge.sum(axis=1), 1e-6)
    middle = (edge * lines).sum(axis=1) / weight
    from_middle = (lines - middle[:, None]) / np.maximum(0.55 * weight[:, None], 1.0)
    depth = hidden[:, None] * np.sqrt(np.clip(1 - from_middle**2, 0, 1))
    outside = axis >= axis[last] + 0.5 * coarse_mm
    reach = np.clip((depth[:, :, None] - (axis[outside] - border_mm)) / coarse_mm + 0.5, 0, 1)
    water[:, :, outside] = np.maximum(water[:, :, outside], edge[:, :, None] * reach)


def beam_share(angle: np.ndarray) -> np.ndarray:
    """How much a direction (radians from the starved beam's) belongs to the starved beam."""
    off = (angle + np.pi / 2) % np.pi - np.pi / 2
    return np.exp(-0.5 * (off / np.radians(STARVED_BEAM_DEG)) ** 2)


def _directions(beam: Projector, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split the noise variance into an even part and what the lateral (or antero-posterior) beam adds to it."""
    parts = []
    for towards in (np.pi / 2, 0.0):
        share = beam_share(beam.angles - towards)
        rest = beam.back(variance, 1 - share)
        parts.append((rest, np.maximum(beam.back(variance, share) - rest, 0)))
    lateral = parts[0][1].max(axis=(1, 2)) >= parts[1][1].max(axis=(1, 2))
    even, starved = (np.where(lateral[:, None, None], *pair) for pair in zip(*parts, strict=True))
    return even, starved, lateral


def metal_error(
    hu: np.ndarray, metal: np.ndarray, spacing_ij_mm: tuple[float, float], strength: float, rng: np.random.Generator
) -> np.ndarray:
    """HU that metal adds to its slices (``[n, j, i]``): dark and bright streaks and starvation noise.

    ``metal`` is each voxel's share of metal, float32 0-1, which attenuates 80 ``strength`` times as water. Rays through
    metal suffer from hardening, a floor of scatter and counting noise (Poisson, taken as Gaussian).
    """
    di, dj = spacing_ij_mm
    n, height, width = hu.shape
    coarse_mm = max(width * di, height * dj) / METAL_GRID
    down_j, down_i = (averaging(*axis, METAL_GRID, coarse_mm, True) for axis in ((height, dj), (width, di)))
    up_j, up_i = spreading(height, dj, METAL_GRID, coarse_mm), spreading(width, di, METAL_GRID, coarse_mm)
    beam = projector(METAL_GRID, METAL_ANGLES)
    parts = np.concatenate([*_water_and_bone(hu), metal])
    rays = beam.forward(on_axes(parts, down_j, down_i)) * np.float32(coarse_mm)
    lost = np.zeros((n, METAL_ANGLES, beam.rays), np.float32)
    for k in range(n):
        hit = rays[2 * n + k] > 0.05
        water, bone, length = rays[k][hit], rays[n + k][hit], rays[2 * n + k][hit]
        length *= np.float32(_METAL_TO_WATER * strength)
        arrived = _intensity(water, bone, length)
        counted = arrived + SCATTER + np.sqrt(arrived / PHOTONS) * rng.standard_normal(len(arrived), dtype=np.float32)
        error = _water_corrected(np.maximum(counted, SCATTER / 5)) - _water_corrected(_intensity(water, bone))
        lost[k][hit] = error - length * ((error * length).sum() / max((length * length).sum(), np.float32(1e-6)))
    streaks = beam.reconstruct(lost) * np.float32(1000 / coarse_mm)
    return on_axes(STREAK_HU * np.tanh(streaks / STREAK_HU), up_j, up_i) * (1 - metal)


def _water_and_bone(hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (water = 1) of soft tissue and of what bone adds to it."""
    soft = np.clip(hu, -1000, 150) / np.float32(1000) + np.float32(1)
    return soft, np.clip(hu - np.float32(150), 0, 1850) / np.float32(1000)
