"""What lies in and between the vertebrae: cord, cerebrospinal fluid, epidural fat, discs and joint cartilage.

Cord 13 x 7 mm at C5 and less above and below (Sherman et al., AJNR 1990;11:369-372); the thecal sac is some 3 mm
narrower than the canal. In the discs the annulus is about 13 HU brighter than the nucleus.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.bone import to_local
from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.shapes import superellipse

LIGAMENT_HU = 62.0
# half width, half depth of the cord in mm
CORD = {
    "C0": (6.6, 5.2),
    "C1": (5.9, 4.2),
    "C2": (5.8, 3.8),
    "C3": (6.1, 3.6),
    "C5": (6.6, 3.5),
    "C6": (6.4, 3.4),
    "C7": (5.6, 3.3),
    "T1": (4.9, 3.2),
    "T3": (4.4, 3.2),
    "T6": (4.2, 3.1),
}


def paint_between_bones(f: Frames) -> None:
    """Ligaments and cartilage in the gaps of the column: soft tissue within 2.5 mm of bone."""
    near = f.bone < 2.5
    k, j, i = np.nonzero(near)
    share = np.clip((2.5 - f.bone[k, j, i]) / 1.5, 0, 1)
    f.canvas.hu[k, j, i] += share * (LIGAMENT_HU + 5 * f.middle[k, j, i] - f.canvas.hu[k, j, i])


def paint_canal(f: Frames) -> None:
    """Epidural fat with veins, thecal sac with CSF, cord."""
    s = f.size
    top, bottom = f.from_head((0, -26, 14))[2], f.heights[0]
    inside = (f.heights <= top + 2) & (f.heights >= bottom)
    if not inside.any():
        return
    r, a = f.canal_r[inside], f.canal_a[inside]
    rim = 20 * s
    index = f.box((r.min() - rim, a.min() - rim, bottom), (r.max() + rim, a.max() + rim, top), 0)
    if index is None:
        return
    ks = index[0]
    column = lambda q: q[ks].astype(np.float32)[:, None, None]  # noqa: E731
    _, axes = f.canvas.window((-1e3,) * 3, (1e3,) * 3)
    x = axes[0][..., index[2]] - column(f.canal_r)
    y = axes[1][:, index[1]] - column(f.canal_a)
    turn = column(f.turn)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wide, deep = column(f.canal_half[0]), column(f.canal_half[1])
    canal = np.maximum(superellipse(x, y, wide, deep, 2.3), column(f.heights) - np.float32(top))
    fat = -78 + 38 * np.clip((y + 1) / deep + 0.6, 0, 1) + 8 * f.middle[index]
    f.paint(index, canal, fat)
    sac_wide, sac_deep = wide - np.float32(1.9 * s), deep - np.float32(1.1 * s)
    forward = np.float32(0.5 * s)
    sac = np.maximum(superellipse(x, y - forward, sac_wide, sac_deep, 2.0), column(f.heights) - np.float32(top))
    f.paint(index, sac, np.float32(f.person.csf_hu))
    _mark(f, s)
    cord_wide, cord_deep = f.along({k: np.array(v) * s for k, v in CORD.items()}, index)
    shift = np.float32(0.7 * s)
    narrow = np.minimum(cord_wide, sac_wide - 1.2), np.minimum(cord_deep, sac_deep - 1.0)
    f.paint(index, superellipse(x, y - shift, *narrow), np.float32(f.person.cord_hu))


def _mark(f: Frames, s: float) -> None:
    for level in ("C1", "C2", "C3", "C5", "C7", "T1"):
        r, a, turn = (float(np.interp(f.level[level], f.heights, q)) for q in (f.canal_r, f.canal_a, f.turn))
        f.mark("cord", (r, a + 0.7 * s, f.level[level]))
        if level == "C1":
            wide = float(np.interp(f.level[level], f.heights, f.canal_half[0]))
            for side in (-1, 1):
                out = side * (5.9 * s + wide - 1.9 * s) / 2
                f.mark("csf", (r + out * np.cos(turn), a + out * np.sin(turn), f.level[level]))


def paint_discs(f: Frames) -> None:
    """A soft body between the end-plates of consecutive vertebrae, C2/3 to T4/5."""
    pairs = zip(f.spine.vertebrae[1:-1], f.spine.vertebrae[2:], strict=True)
    for above, below in pairs:
        top = above.centre - above.axes[2] * above.height * 0.42
        bottom = below.centre + below.axes[2] * below.height * 0.42
        middle = (top + bottom) / 2
        wide, deep = (above.width + below.width) / 4, (above.depth + below.depth) / 4
        reach = max(wide, deep) + 5
        index = f.box(middle - reach, middle + reach, 0)
        f.mark("disc", middle)
        if index is None:
            continue
        _, axes = f.canvas.window(tuple(middle - reach), tuple(middle + reach))
        x, y, _ = to_local(below, axes)
        x, y = x, y - np.float32((middle - below.centre) @ below.axes[1])
        high = to_local(above, axes)[2] + np.float32(above.height * 0.42)
        low = -(to_local(below, axes)[2] - np.float32(below.height * 0.42))
        ring = superellipse(x, y, np.float32(wide + 0.4), np.float32(deep + 0.7), 2.4)
        d = np.maximum(ring, np.maximum(high, low))
        core = np.clip((-ring - 3.0) / 2.0, 0, 1)
        f.paint(index, d, f.person.disc_hu + 13 * (1 - core) + 2 * f.middle[index])
