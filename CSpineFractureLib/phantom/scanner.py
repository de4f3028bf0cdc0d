"""How a CT scanner sees the phantom: point spread, noise, streaks, metal, motion and calibration.

Default ranges lie around what was measured in real scans of head and neck (SD in flat muscle or brain after taking
away a 3 mm Gaussian): 5-7 HU in the neck and 7-9 HU at the skull base in 2 mm slices of a soft kernel, 8-10 HU at the
shoulders against 5-6 HU above them in 3 mm slices, streaks there along the patient's left-right axis (SD after
smoothing by 3 mm along i 1.7 times the SD after smoothing along j), neighbouring slices correlated by 0.1-0.5, a noise
power spectrum that falls to a half near 0.25/mm and to a tenth near 0.5/mm. Bone kernels in thin slices have more:
15-40 HU. Tozakidou et al., AJNR 39:385 (2018), measure 30 (iterative) and 52 HU (filtered back-projection) in the air
of cervical CT of large specimens, over all doses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from CSpineFractureLib.phantom.scanner_streaks import METAL_HU, BeamMaps, beam_maps, beam_share, metal_error

SLAB = 12
_PAD = 10  # pixels mirrored around a slice before it is blurred
_EDGE_MM = 0.9  # the blur whose difference an edge-enhancing kernel adds


@dataclass(frozen=True)
class Scanner:
    """What a scanner does to a study; plain numbers only.

    Parameters
    ----------
    blur_mm
        SD of the in-plane point spread (mm): about 0.3 sharp, 0.65 soft.
    edge_enhancement
        Gain that is added at high frequencies, 0 (soft) to about 1.2 (sharp).
    noise_hu
        SD of the noise (HU) in the middle of a 130 mm thick neck.
    noise_grain_mm
        SD (mm) of a further low-pass of the noise alone, as iterative reconstruction gives.
    slice_overlap_mm
        Width of the slice profile (mm): noise of neighbouring slices is correlated where slices lie closer.
    shoulder_strength
        Beam hardening between dense bones and starved, streaky noise along thick paths; 1 is usual, 0 none.
    metal_strength
        Attenuation of metal, 1 for 80 times that of water (iron 0.3, amalgam 2 and more); 0: no streaks.
    motion_mm
        Distance (mm) of the double contours in a few neighbouring slices; 0: the patient lies still.
    cupping_hu
        Dip (HU) in the middle of 160 mm of water.
    hu_offset, hu_gain
        Drift of the calibration: ``(hu + 1000) * hu_gain - 1000 + hu_offset``.
    low_hu, high_hu
        Range the scanner stores.
    """

    blur_mm: float = 0.45
    edge_enhancement: float = 0.3
    noise_hu: float = 15.0
    noise_grain_mm: float = 0.15
    slice_overlap_mm: float = 1.0
    shoulder_strength: float = 1.0
    metal_strength: float = 1.0
    motion_mm: float = 0.0
    cupping_hu: float = 4.0
    hu_offset: float = 0.0
    hu_gain: float = 1.0
    low_hu: int = -1024
    high_hu: int = 3071


def sample_scanner(rng: np.random.Generator, randomise: bool = False, slice_mm: float = 1.0) -> Scanner:
    """Draw a scanner: realistic by default (see the module), far wider with ``randomise`` (still a CT).

    Sharp kernels come with more noise; noise is drawn for 1 mm slices and falls with the root of ``slice_mm``.
    """
    thin = np.sqrt(1.0 / np.clip(slice_mm, 0.3, 6.0))
    sharp = rng.beta(0.9, 0.9) if not randomise else rng.random()
    if randomise:
        return Scanner(
            blur_mm=float(rng.uniform(0.2, 1.1)),
            edge_enhancement=float(rng.uniform(0.0, 1.8)),
            noise_hu=float(np.exp(rng.uniform(np.log(3), np.log(70))) * thin),
            noise_grain_mm=float(rng.uniform(0.0, 0.6)),
            slice_overlap_mm=float(rng.uniform(0.5, 3.0)),
            shoulder_strength=float(rng.uniform(0.0, 1.8)),
            metal_strength=float(rng.uniform(0.1, 1.6)),
            motion_mm=float(rng.uniform(0.5, 4.0)) if rng.random() < 0.25 else 0.0,
            cupping_hu=float(rng.uniform(-25, 40)),
            hu_offset=float(rng.normal(0, 15)),
            hu_gain=float(np.clip(rng.normal(1, 0.04), 0.88, 1.12)),
        )
    return Scanner(
        blur_mm=float(0.68 - 0.38 * sharp + rng.uniform(-0.04, 0.04)),
        edge_enhancement=float(1.1 * sharp**1.5 * rng.uniform(0.7, 1.1)),
        noise_hu=float(np.exp(np.log(9) + 1.0 * sharp + rng.normal(0, 0.28)) * thin),
        noise_grain_mm=float(rng.choice([0.0, rng.uniform(0.1, 0.4)])),
        slice_overlap_mm=float(rng.uniform(0.6, 1.5)),
        shoulder_strength=float(rng.uniform(0.6, 1.4)),
        metal_strength=float(rng.uniform(0.35, 1.3)),
        motion_mm=float(rng.uniform(0.4, 2.0)) if rng.random() < 0.12 else 0.0,
        cupping_hu=float(rng.uniform(0, 9)),
        hu_offset=float(rng.normal(0, 3)),
        hu_gain=float(np.clip(rng.normal(1, 0.008), 0.97, 1.03)),
    )


def acquire(
    hu: np.ndarray,
    spacing_ijk_mm: tuple[float, float, float],
    scanner: Scanner,
    rng: np.random.Generator,
    metal: np.ndarray | None = None,
) -> np.ndarray:
    """Scan an ideal anatomy.

    Parameters
    ----------
    hu
        Float32 HU ``[k, j, i]`` with antialiased edges; ``i`` runs left-right, ``j`` antero-posterior. Not changed.
    spacing_ijk_mm
        Voxel size along i, j, k (mm).
    metal
        Share of metal in each voxel (0-1 or bool), ``[k, j, i]``; by default every voxel above 2500 HU is metal.

    Returns
    -------
    np.ndarray
        int16 HU ``[k, j, i]``. The same rng state gives the same voxels; about one float32 copy of memory is used.
    """
    hu = np.asarray(hu, np.float32)
    spacing_ij = tuple(float(s) for s in spacing_ijk_mm[:2])
    optics = _Optics.of(hu.shape[1:], spacing_ij, scanner)
    moved = _moved_slices(hu, spacing_ijk_mm, scanner.motion_mm, rng)
    maps = None
    if scanner.shoulder_strength or scanner.cupping_hu:
        maps = beam_maps(hu, spacing_ijk_mm, scanner.shoulder_strength, scanner.cupping_hu)
    noise = _noise(len(hu), spacing_ijk_mm[2], scanner, optics, maps, rng)
    metal_rng = _branch(rng)
    result = np.empty(hu.shape, np.int16)
    for start in range(0, len(hu), SLAB):
        ks = np.arange(start, min(start + SLAB, len(hu)))
        scan = optics.blurred(np.stack([moved.get(k, hu[k]) for k in ks.tolist()]))
        if maps is not None:
            scan += maps.fine("error", ks)
        if scanner.metal_strength:
            _add_metal(scan, hu, metal, ks, spacing_ij, scanner.metal_strength, metal_rng)
        if scanner.noise_hu:
            scan += next(noise)
        scan *= np.float32(scanner.hu_gain)
        scan += np.float32(scanner.hu_offset + 1000 * (scanner.hu_gain - 1))
        np.rint(scan, out=scan)
        result[ks[0] : ks[-1] + 1] = np.clip(scan, scanner.low_hu, scanner.high_hu, out=scan)
    return result


def average_slices(fine: np.ndarray, factor: int) -> np.ndarray:
    """Thick slices from ``factor`` thin ones each (a box profile), ``[k * factor, j, i]`` to float32 ``[k, j, i]``."""
    return fine.reshape(-1, factor, *fine.shape[1:]).mean(axis=1, dtype=np.float32)


def middle_slices(fine: np.ndarray, factor: int) -> np.ndarray:
    """The same grid for labels: the middle thin slice of each thick one (of an even number the upper middle one)."""
    return np.ascontiguousarray(fine[factor // 2 :: factor])


@dataclass(frozen=True)
class _Optics:
    """Transfer of the image and of the noise over spatial frequency, on slices padded to a quick FFT length."""

    shape: tuple[int, int]
    padded: tuple[int, int]
    blur: np.ndarray
    noise: np.ndarray
    starved: dict[bool, np.ndarray]

    @classmethod
    def of(cls, shape: tuple[int, int], spacing_ij_mm: tuple[float, float], scanner: Scanner) -> _Optics:
        padded = tuple(fft.next_fast_len(n + 2 * _PAD, real=True) for n in shape)
        fj = fft.fftfreq(padded[0], spacing_ij_mm[1])[:, None]
        fi = fft.rfftfreq(padded[1], spacing_ij_mm[0])[None, :]
        f = np.hypot(fi, fj)
        low_pass = lambda sd: np.exp(-0.5 * (2 * np.pi * f * sd) ** 2)  # noqa: E731
        blur = low_pass(scanner.blur_mm) * (1 + scanner.edge_enhancement * (1 - low_pass(_EDGE_MM)))
        # Filtered back-projection: power ~ f (the ramp) times the transfer squared (Kijewski and Judy, PMB 32:565,
        # 1987), with a floor at low frequency from aliasing.
        noise = np.sqrt(f + 0.02) * blur * low_pass(scanner.noise_grain_mm)
        noise[0, 0] = 0.0
        twice = np.full(fi.shape, 2.0)
        twice[:, 0] = 1.0
        if padded[1] % 2 == 0:
            twice[:, -1] = 1.0
        power = (twice * noise**2).sum()
        # a half spectrum of independent numbers loses half the power of the columns that are their own mirror image
        noise = noise * np.where(twice == 1, np.sqrt(2), 1) * padded[0] * padded[1] / np.sqrt(2 * power)
        starved = {
            lateral: (noise * np.sqrt(beam_share(np.arctan2(fj, fi) - lateral * np.pi / 2))).astype(np.float32)
            for lateral in (True, False)
        }
        return cls(shape, padded, blur.astype(np.float32), noise.astype(np.float32), starved)

    def blurred(self, slices: np.ndarray) -> np.ndarray:
        after = [(_PAD, p - n - _PAD) for n, p in zip(self.shape, self.padded, strict=True)]
        spectrum = fft.rfft2(np.pad(slices, ((0, 0), *after), mode="symmetric"), overwrite_x=True)
        spectrum *= self.blur
        image = fft.irfft2(spectrum, self.padded, overwrite_x=True)
        return image[:, _PAD : _PAD + self.shape[0], _PAD : _PAD + self.shape[1]]

    def texture(self, white: np.ndarray, response: np.ndarray) -> np.ndarray:
        image = fft.irfft2(white * response, self.padded, overwrite_x=True)
        return image[:, : self.shape[0], : self.shape[1]]


def _noise(
    count: int, slice_mm: float, scanner: Scanner, optics: _Optics, maps: BeamMaps | None, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Noise (HU) slab by slab: even noise everywhere, streaks where a beam is starved."""
    likeness = min(0.5, max(0.0, 1 - slice_mm / scanner.slice_overlap_mm))
    angle = 0.5 * np.arcsin(2 * likeness)
    whites = [_whites(_branch(rng), optics.padded, count, float(angle)) for _ in range(2)]
    for start in range(0, count, SLAB):
        ks = np.arange(start, min(start + SLAB, count))
        noise = optics.texture(next(whites[0]), optics.noise)
        if maps is not None:
            noise *= maps.fine("even", ks)
            starved = maps.fine("starved", ks)
            white = next(whites[1])
            if starved.max() > 0.15:
                nearest = np.abs(maps.at[None, :] - ks[:, None]).argmin(axis=1)
                response = np.stack([optics.starved[bool(lateral)] for lateral in maps.lateral[nearest]])
                noise += optics.texture(white, response) * starved
        yield noise * np.float32(scanner.noise_hu)


def _branch(rng: np.random.Generator) -> np.random.Generator:
    """A generator of its own for a part whose number of draws varies."""
    return np.random.default_rng(rng.integers(0, 2**32, 4))


def _whites(rng: np.random.Generator, padded: tuple[int, int], count: int, angle: float) -> Iterator[np.ndarray]:
    """White complex spectra of the slices, slab by slab; each slice shares sin(2 angle) / 2 with the next."""
    shape = (padded[0], padded[1] // 2 + 1)
    last = _white(rng, 1, shape) if angle else None
    for start in range(0, count, SLAB):
        white = _white(rng, min(SLAB, count - start), shape)
        if angle:
            chain = np.concatenate([last, white])
            last = white[-1:].copy()
            white = np.float32(np.cos(angle)) * chain[1:] + np.float32(np.sin(angle)) * chain[:-1]
        yield white


def _white(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal((count, *shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def _moved_slices(
    hu: np.ndarray, spacing_ijk_mm: tuple, motion_mm: float, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Slices that show the patient twice, half the distance to either side of where the truth has it."""
    moved: dict[int, np.ndarray] = {}
    if not motion_mm:
        return moved
    di, dj, dk = spacing_ijk_mm
    for _ in range(int(rng.integers(1, 3))):
        middle, half = rng.uniform(0, len(hu) - 1), rng.uniform(2.0, 8.0) / dk
        towards, share = rng.uniform(0, np.pi), rng.uniform(0.35, 0.65)
        for k in range(max(0, int(np.ceil(middle - half))), min(len(hu) - 1, int(middle + half)) + 1):
            size = motion_mm * np.cos(np.pi / 2 * (k - middle) / max(half, 1.0))
            step = np.array([np.sin(towards) / dj, np.cos(towards) / di]) * size
            one = ndimage.shift(hu[k], share * step, order=1, mode="nearest")
            other = ndimage.shift(hu[k], (share - 1) * step, order=1, mode="nearest")
            moved[k] = (1 - share) * one + share * other
    return moved


def _add_metal(
    scan: np.ndarray,
    hu: np.ndarray,
    metal: np.ndarray | None,
    ks: np.ndarray,
    spacing_ij_mm: tuple[float, float],
    strength: float,
    rng: np.random.Generator,
) -> None:
    """Add the streaks of the slices that hold metal. In place."""
    share = (hu[ks] > METAL_HU if metal is None else metal[ks]).astype(np.float32)
    with_metal = share.any(axis=(1, 2))
    if with_metal.any():
        scan[with_metal] += metal_error(hu[ks[with_metal]], share[with_metal], spacing_ij_mm, strength, rng)
