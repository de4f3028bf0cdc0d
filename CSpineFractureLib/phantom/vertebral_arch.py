"""Pedicles, articular pillars, laminae, spinous and transverse processes of C2-T5 as signed distance functions.

Sizes after Panjabi et al., Spine 1991;16:861-869 and 1991;16:888-901 (pedicles, processes, facets); all points in the
vertebra's own frame, folded on the right half (mm).
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.sdf import Points, ellipsoid, horn, smooth_max, smooth_min

LAMINA_Z = -6.6
"""How far (mm, mean adult) the laminae meet below the middle of the body: arches hang lower than their bodies."""


def canal_centre(v: Vertebra) -> float:
    """Anterior coordinate (mm) of the middle of the vertebral canal."""
    return -v.depth / 2 - v.canal_depth / 2 + 0.35 * v.shape["size"]


def canal(v: Vertebra, p: Points) -> np.ndarray:
    """The vertebral canal: a rounded triangle, widest in its front third, endless along S."""
    x, y, _ = p
    half = v.canal_depth / 2
    t = (y - np.float32(canal_centre(v))) / np.float32(half)
    narrowing = 1.0 - 0.42 * np.clip((0.35 - t) / 1.35, 0, 1) ** 1.4
    q = (np.abs(x) / (np.float32(v.canal_width / 2) * narrowing)) ** 2.5 + np.abs(t) ** 2.5
    return (q**0.4 - 1.0) * np.float32(half)


def pillar_centre(v: Vertebra) -> tuple[float, float]:
    """Right and anterior coordinate (mm) of the middle of the articular pillar."""
    s = v.shape["size"]
    return v.canal_width / 2 + 5.6 * s, canal_centre(v) + 0.02 * v.canal_depth - 1.5 * s


def arch(v: Vertebra, p: Points, z_shift: float = 0.0) -> np.ndarray:
    """Pedicles, articular pillars, laminae and spinous process."""
    s = v.shape["size"]
    z = p[2] - np.float32(z_shift)
    px, py = pillar_centre(v)
    back = canal_centre(v) - v.canal_depth / 2
    q = (p[0], p[1], z)
    result = horn(
        q, (v.width / 2 - 3.0 * s, -v.depth / 2 + 2 * s, 1.0 * s), (px - 0.5, py + 3.5 * s, 0.4 * s), (2.5 * s, 3.5 * s)
    )

    slope = np.float32(np.tan(np.radians(v.shape["facet_tilt"])))
    sheared = z + np.float32(1.9 * s) - (p[1] - np.float32(py)) * slope * np.float32(0.85)
    wall = (
        (np.abs(p[0] - np.float32(px)) / np.float32(6.0 * s)) ** 3
        + (np.abs(p[1] - np.float32(py)) / np.float32(6.3 * s)) ** 3
    ) ** (1 / 3) - 1.0
    pillar = smooth_max(wall * np.float32(6 * s), np.abs(sheared) - np.float32(v.pitch / 2 - 0.9), 1.4)
    result = smooth_min(result, pillar * np.float32(0.8), 2.2)

    tall = (4.9 if v.level != "C2" else 6.4) * s
    thick = 1.75 * s if v.level != "C2" else 2.2 * s
    plate = (q[0], q[1] + np.float32(0.30) * (z + np.float32(5.0 * s)), z)
    lamina = horn(
        plate,
        (px - 1.0, py - 4.2 * s, -3.6 * s),
        (0.4, back - 1.6 * s, LAMINA_Z * s),
        (thick, tall),
        (thick * 1.1, tall * 0.95),
    )
    result = smooth_min(result, lamina, 1.8)
    return smooth_min(result, spinous(v, q, back), 2.2)


def spinous(v: Vertebra, q: Points, back: float) -> np.ndarray:
    """The spinous process: forked in C2-C6, knobbed in C7 and below; it may lean to one side."""
    s = v.shape["size"]
    drop = np.radians(v.drop)
    root = (0.0, back - 0.8 * s, LAMINA_Z * s - 0.2)
    tip = (0.0, back - v.spinous * np.cos(drop), LAMINA_Z * s - 0.4 - v.spinous * np.sin(drop))
    thoracic = v.level.startswith("T")
    result = horn(q, root, tip, (2.1 * s, 5.2 * s), (2.2 * s if not thoracic else 2.6 * s, 3.4 * s))
    if v.level in ("C2", "C3", "C4", "C5", "C6"):
        spread = v.shape["bifid"] * s
        fork = (spread, tip[1] - 3.2 * s, tip[2] - 1.8 * s)
        return smooth_min(
            result, horn(q, (0.8, tip[1] + 2.5 * s, tip[2] + 0.5), fork, (1.9 * s, 2.9 * s), (2.2 * s, 2.6 * s)), 1.6
        )
    return smooth_min(result, ellipsoid(q, tip, (3.7 * s, 4.2 * s, 4.6 * s)), 2.4)


def transverse(v: Vertebra, p: Points) -> np.ndarray:
    """Transverse process of C3-C7: two bars and tubercles around the foramen, grooved above for the nerve."""
    s = v.shape["size"]
    w, d = v.width / 2, v.depth / 2
    seventh, sixth = v.level == "C7", v.level == "C6"
    out = (19.5 if seventh else 12.3) * s
    front = (w + (8.0 if seventh else 8.8) * s, 0.10 * d, -2.2 * s)
    rear = (w + out, -d - (3.4 if seventh else 1.0) * s, -3.4 * s)
    thin = (0.9 if seventh else 1.6) * s
    result = horn(p, (w - 1.5, 0.05 * d, 0.4 * s), front, (thin, 3.0 * s), (thin + 0.3 * s, 3.0 * s))
    knob = (2.9 if sixth else 1.9 if not seventh else 1.3) * s
    result = smooth_min(result, ellipsoid(p, front, (knob * 0.8, knob, knob * 1.2)), 1.2)
    result = smooth_min(
        result,
        horn(p, (w + 4.5 * s, -d - 3.4 * s, 0.0), rear, (2.2 * s, 3.8 * s), ((3.2 if seventh else 2.4) * s, 3.4 * s)),
        1.6,
    )
    result = smooth_min(
        result,
        horn(p, front, (rear[0] - (9.0 * s if seventh else 1.2 * s), rear[1] + 1.2 * s, rear[2]), (1.5 * s, 2.9 * s)),
        1.4,
    )
    middle = (w + 4.9 * s, -0.50 * d)
    radii = ((2.2 if seventh else 3.05) * s, (2.2 if seventh else 2.8) * s)
    hole = np.sqrt(
        ((p[0] - np.float32(middle[0])) / np.float32(radii[0])) ** 2
        + ((p[1] - np.float32(middle[1])) / np.float32(radii[1])) ** 2
    )
    hole = (hole - 1.0) * np.float32(min(radii)) + 0 * p[2]
    return smooth_max(result, -hole, 0.7)


def thoracic_transverse(v: Vertebra, p: Points) -> np.ndarray:
    """Thick transverse process of T1-T5, pointing back and up."""
    s = v.shape["size"]
    px, py = pillar_centre(v)
    tip = (px + 19 * s, py - 9 * s, 2.5 * s)
    result = horn(p, (px - 2, py - 1 * s, 0), tip, (3.4 * s, 4.6 * s), (3.6 * s, 4.6 * s))
    return smooth_min(result, ellipsoid(p, tip, (4.6 * s, 4.4 * s, 5.4 * s)), 2.0)
