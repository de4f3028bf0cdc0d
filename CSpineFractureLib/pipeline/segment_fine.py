"""Labels of the coarse work grid on the CT's own voxels: what lies at their rim and is no bone is peeled off."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.morphology import Place, eroded, filled_block, grown, highest_around, inside, peel

AT_ONCE = 8
"""Slices of work that are made fine together: so few that they stay in the processor's cache."""


def to_canonical(
    work: np.ndarray,
    view: CanonicalView,
    labels: np.ndarray,
    place: Place,
    step: tuple[int, int, int],
    threshold: float,
) -> None:
    """Bring uint8 ``work`` to ``place`` of ``labels``, on the canonical grid; both ``[k, j, i]``.

    ``step`` is how many voxels (k, j, i) a work voxel spans. Fine voxels at the rim must be bone themselves, above
    ``threshold`` (HU), or lie behind bone.
    """
    target, filled = labels[place], filled_block(work)
    if step == (1, 1, 1) or filled is None:
        target[:] = work if filled else 0
        return
    loose = []
    k, halo = grown(filled, (1, 0, 0), work.shape)[0], -(-max(step) // step[0])
    for first in range(k.start, k.stop, AT_ONCE):
        slices = slice(first, min(first + AT_ONCE, k.stop))
        filled = filled_block(work[max(0, slices.start - halo) : slices.stop + halo])
        if filled is None:
            continue
        own = (slices, *grown(filled[1:], (1, 1), work.shape[1:]))
        around = grown(own, (halo, 0, 0), work.shape)
        part, block = (_fine_place(one, step, target.shape) for one in (own, around))
        fine = work[around].repeat(step[0], 0).repeat(step[1], 1).repeat(step[2], 2)
        fine = fine[tuple(slice(p.stop - p.start) for p in block)]
        cut = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, block, strict=True))
        inner = eroded(fine > 0, max(step))[cut]
        fine = np.where(fine > 0, fine, highest_around(fine, tuple(s // 2 for s in step)))[cut]
        is_bone = view.hu[inside(place, part)] > np.floor(threshold).astype(np.int16)
        target[part] = fine
        loose.append(np.argwhere((fine > 0) & ~inner & ~is_bone) + [p.start for p in part])
    if loose:
        peel(target, np.concatenate(loose), max(step))


def _fine_place(place: Place, step: tuple[int, int, int], shape: tuple[int, ...]) -> Place:
    return tuple(slice(p.start * s, min(p.stop * s, n)) for p, s, n in zip(place, step, shape, strict=True))
