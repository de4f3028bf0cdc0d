"""Which mimics a study has: what commercial systems call a fracture and is none.

The list follows the false positives reported for cervical fracture detectors: osteophytes, degenerative and fused
levels, nutrient foramina, calcified ligaments, unfused apophyses, chronic fractures (Small et al., AJNR 2021;42:1341;
Voter et al., AJNR 2021;42:1550).
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.mimic_shapes import Bridge, Channel, Cleft, HealedWedge, Mimic, Pit, Plain, Plate
from CSpineFractureLib.phantom.morphometry import Spine, Vertebra
from CSpineFractureLib.phantom.vertebral_arch import LAMINA_Z, canal_centre

KINDS = (
    "osteophyte",
    "vessel-channel",
    "unfused-apophysis",
    "healed-fracture",
    "calcified-ligament",
    "fused-levels",
    "schmorl-node",
)
CERVICAL = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")


def sample_mimics(rng: np.random.Generator, spine: Spine, rate: float, taken: set[str]) -> list[Mimic]:
    """One to three mimics with probability ``rate``, none in the levels ``taken`` by fractures.

    Levels are drawn first and dropped when taken, so that the kinds are drawn alike with and without fractures.
    """
    if rng.random() >= rate:
        return []
    count = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    found: list[Mimic] = []
    free = [level for level in CERVICAL if level not in taken]
    for _ in range(count):
        kind = str(rng.choice(KINDS, p=[0.2, 0.22, 0.18, 0.12, 0.12, 0.06, 0.1]))
        allowed = [level for level in free if fits(kind, level)]
        if not allowed:
            continue
        level = str(rng.choice(allowed))
        found += make_mimic(rng, spine, level, kind)
        free = [other for other in free if other != level]
    return found


def make_mimic(rng: np.random.Generator, spine: Spine, level: str, kind: str) -> list[Mimic]:
    """The shapes of one mimic (``kind`` of ``KINDS``); an osteophyte also changes the vertebra itself."""
    v = spine[level]
    return _MAKERS[kind](rng, spine, v)


def fits(kind: str, level: str) -> bool:
    """Whether a kind of mimic can lie in a level."""
    if level == "C1":
        return kind in ("unfused-apophysis",)
    if level == "C2":
        return kind in ("vessel-channel", "unfused-apophysis", "calcified-ligament")
    return not (kind == "fused-levels" and level == "C7")


def _osteophyte(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    v.shape["osteophyte"] = float(rng.uniform(2.6, 4.4))
    return [Plain(v.level, "osteophyte")]


def _channel(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    s, d, h = v.shape["size"], v.depth / 2, v.height / 2
    side, radius = float(rng.choice([-1, 1])), float(rng.uniform(0.45, 0.85))
    if rng.random() < 0.65:
        z = rng.uniform(-0.4, 0.4) * h
        nodes = (
            (side * rng.uniform(0.1, 0.5) * v.width / 2, -d - 2, z),
            (side * rng.uniform(0, 0.2) * v.width / 2, -0.2 * d, z + rng.normal(0, 1)),
            (side * rng.uniform(0.3, 0.8) * v.width / 2, d + 2, z + rng.normal(0, 2)),
        )
        keep = nodes if rng.random() < 0.5 else nodes[:2]
    else:
        back = canal_centre(v) - v.canal_depth / 2
        x = side * rng.uniform(5, 9) * s
        keep = ((x, back + 4, LAMINA_Z + 2 - rng.uniform(0, 2)), (x + rng.normal(0, 1), back - 6, LAMINA_Z))
    return [Channel(v.level, "vessel-channel", tuple(tuple(float(c) for c in n) for n in keep), radius)]


def _unfused(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    s, d, h = v.shape["size"], v.depth / 2, v.height / 2
    width = float(rng.uniform(0.8, 2.0))
    side = float(rng.choice([-1, 1]))
    if v.level == "C1":
        if rng.random() < 0.75:
            return [
                Cleft("C1", "unfused-apophysis", (rng.normal(0, 1.0), -43 * s, 0), (1.0, 0.0, 0.0), width + 1, 12 * s)
            ]
        return [Cleft("C1", "unfused-apophysis", (rng.normal(0, 0.8), 0.5 * s, 0), (1.0, 0.0, 0.0), width, 8 * s)]
    if v.level == "C2":
        z = h + rng.uniform(4.0, 8.5) * s
        return [Cleft("C2", "unfused-apophysis", (0, -0.5 * s, z), (0.0, 0.0, 1.0), width, 9 * s)]
    back = canal_centre(v) - v.canal_depth / 2
    drop = np.radians(v.drop)
    where = rng.random()
    if where < 0.4:
        along = 0.78 * v.spinous
        point = (0.0, back - along * np.cos(drop), LAMINA_Z - 0.4 - along * np.sin(drop))
        return [Cleft(v.level, "unfused-apophysis", point, (0.0, float(np.cos(drop)), float(np.sin(drop))), width, 9.0)]
    if where < 0.75:
        up = float(rng.choice([-1, 1]))
        normal = np.array([0.0, 1.0, 0.8 * up]) / np.hypot(1, 0.8)
        point = (rng.normal(0, 2), 0.72 * d, up * 0.68 * h)
        return [Cleft(v.level, "unfused-apophysis", point, tuple(float(c) for c in normal), width, 10.0)]
    x = side * (v.width / 2 + (15.5 if v.level == "C7" else 8.5) * s)
    return [Cleft(v.level, "unfused-apophysis", (x, -0.6 * d, -2.5), (side, 0.0, 0.0), width, 7.0)]


def _healed(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    return [
        HealedWedge(v.level, "healed-fracture", float(rng.uniform(0.15, 0.38) * v.height), v.depth / 2, v.height / 2)
    ]


def _ligament(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    d, h, hu = v.depth / 2, v.height / 2, float(rng.uniform(450, 1000))
    where = rng.random()
    if where < 0.4:
        y = d + rng.uniform(1.3, 2.2)
        span = (-h - rng.uniform(3, 9), h * rng.uniform(-0.5, 0.9))
        start, end = (rng.normal(0, 2), y + 0.5, span[0]), (rng.normal(0, 2), y, span[1])
        return [Plate(v.level, "calcified-ligament", start, end, rng.uniform(0.8, 1.6), rng.uniform(3, 6), hu)]
    if where < 0.7:
        y = -d - rng.uniform(1.2, 1.8)
        start, end = (rng.normal(0, 1), y, -h - 3), (rng.normal(0, 1), y, h * 0.8)
        return [Plate(v.level, "calcified-ligament", start, end, rng.uniform(0.8, 1.5), rng.uniform(2.5, 4.5), hu)]
    back = canal_centre(v) - v.canal_depth / 2 - v.spinous - rng.uniform(5, 12)
    z = LAMINA_Z - v.spinous * np.sin(np.radians(v.drop))
    start, end = (rng.normal(0, 1), back, z - rng.uniform(2, 6)), (rng.normal(0, 1), back - 1, z + rng.uniform(2, 5))
    return [Plate(v.level, "calcified-ligament", start, end, rng.uniform(1.2, 2.4), rng.uniform(1.2, 2.0), hu)]


def _fused(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    gap = v.pitch - v.height
    centre = (0.0, rng.uniform(-0.1, 0.35) * v.depth, -v.height / 2 - gap / 2)
    radii = (0.42 * v.width, rng.uniform(0.2, 0.45) * v.depth, gap * 0.9 + 2.0)
    return [Bridge(v.level, "fused-levels", centre, tuple(float(r) for r in radii))]


def _schmorl(rng: np.random.Generator, spine: Spine, v: Vertebra) -> list[Mimic]:
    up = float(rng.choice([-1, 1]))
    centre = (rng.uniform(-0.25, 0.25) * v.width, rng.uniform(-0.25, 0.2) * v.depth, up * v.height / 2)
    radii = (rng.uniform(1.5, 3.2), rng.uniform(1.5, 3.2), rng.uniform(1.6, 3.2))
    return [Pit(v.level, "schmorl-node", tuple(float(c) for c in centre), tuple(float(r) for r in radii))]


_MAKERS = {
    "osteophyte": _osteophyte,
    "vessel-channel": _channel,
    "unfused-apophysis": _unfused,
    "healed-fracture": _healed,
    "calcified-ligament": _ligament,
    "fused-levels": _fused,
    "schmorl-node": _schmorl,
}
