"""Sizes of the cervical spine and their variation, in mm and degrees.

Sources (means of adults, both sexes): Panjabi et al., Spine 1991;16:861-869 (C2-C7 bodies, canal, pedicles, spinous
processes); Doherty & Heggeness, Spine 1994;19:2497-2500 (atlas) and 1995;20:513-516 (axis); Gilad & Nissan, Spine
1986;11:154-157 (body heights); Katz et al., Am J Phys Anthropol 1975;43:319-326 (bodies are deeper than high);
Shin et al., Surg Neurol Int 2024;15:196 (CT of 1000 young adults: discs 2.6 mm high in front, 4.1 mm in the middle, 1.8
mm behind; 23 CT marked by hand lie between them and the 5.2-5.6 mm of Gilad & Nissan, 17-18 mm from body to body);
Parihar et al., J Neurosci Rural Pract (CT of the canal, C2-C7); Yukawa et al., Eur Spine J 2012;21:1492-1498
(lordosis). Body sizes are those of the smooth outline; rounding and waist take about 2 mm of the width and 1 mm of the
rest (the tests measure what is left). ``DISC_BELOW`` is the gap between the rims; concave end-plates add about 2 mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3", "T4", "T5")

BODY_WIDTH = {
    "C2": 20.0,
    "C3": 20.2,
    "C4": 20.9,
    "C5": 21.9,
    "C6": 23.7,
    "C7": 26.7,
    "T1": 29.7,
    "T2": 29.0,
    "T3": 29.0,
    "T4": 28.5,
    "T5": 28.5,
}
BODY_DEPTH = {
    "C2": 16.1,
    "C3": 16.3,
    "C4": 16.3,
    "C5": 16.6,
    "C6": 17.3,
    "C7": 17.8,
    "T1": 17.8,
    "T2": 17.5,
    "T3": 18.5,
    "T4": 20.0,
    "T5": 21.0,
}
BODY_HEIGHT = {
    "C2": 24.0,
    "C3": 14.7,
    "C4": 14.4,
    "C5": 13.9,
    "C6": 13.8,
    "C7": 15.1,
    "T1": 16.4,
    "T2": 17.5,
    "T3": 18.0,
    "T4": 18.5,
    "T5": 19.0,
}
DISC_BELOW = {
    "C2": 4.0,
    "C3": 3.6,
    "C4": 3.5,
    "C5": 3.6,
    "C6": 3.4,
    "C7": 3.4,
    "T1": 3.4,
    "T2": 3.4,
    "T3": 3.4,
    "T4": 3.4,
    "T5": 3.4,
}
CANAL_WIDTH = {
    "C2": 24.0,
    "C3": 23.0,
    "C4": 23.3,
    "C5": 24.0,
    "C6": 24.8,
    "C7": 24.0,
    "T1": 21.5,
    "T2": 19.0,
    "T3": 18.5,
    "T4": 17.5,
    "T5": 17.5,
}
CANAL_DEPTH = {
    "C2": 18.5,
    "C3": 15.6,
    "C4": 15.3,
    "C5": 15.2,
    "C6": 15.2,
    "C7": 15.0,
    "T1": 15.5,
    "T2": 15.5,
    "T3": 15.5,
    "T4": 15.5,
    "T5": 15.5,
}
SPINOUS_LENGTH = {
    "C2": 15.0,
    "C3": 9.0,
    "C4": 9.0,
    "C5": 12.0,
    "C6": 19.0,
    "C7": 29.0,
    "T1": 32.0,
    "T2": 32.0,
    "T3": 32.0,
    "T4": 32.0,
    "T5": 32.0,
}
SPINOUS_DROP = {
    "C2": 20.0,
    "C3": 25.0,
    "C4": 25.0,
    "C5": 25.0,
    "C6": 22.0,
    "C7": 18.0,
    "T1": 25.0,
    "T2": 38.0,
    "T3": 45.0,
    "T4": 50.0,
    "T5": 55.0,
}


@dataclass
class Vertebra:
    """Where a vertebra lies and how large it is.

    ``centre`` (RAS mm) is the middle of the body, for C1 of the anterior arch; ``axes`` has the local right,
    anterior and superior unit vectors as rows.
    """

    level: str
    centre: np.ndarray
    axes: np.ndarray
    width: float = 0.0
    depth: float = 0.0
    height: float = 0.0
    pitch: float = 19.0
    canal_width: float = 24.0
    canal_depth: float = 15.5
    spinous: float = 12.0
    drop: float = 25.0
    shape: dict[str, float] = field(default_factory=dict)


@dataclass
class Spine:
    """A posed column: vertebrae from C1 down, the size factor and the age (years) of the person."""

    vertebrae: list[Vertebra]
    size: float
    extension_deg: float
    age: float = 50.0

    def __getitem__(self, level: str) -> Vertebra:
        return next(v for v in self.vertebrae if v.level == level)


def sample_spine(rng: np.random.Generator) -> Spine:
    """A random adult spine: size, lordosis (-15 to 40 degrees, C2-C7), T1 slope, lateral bend, rotation, disc loss."""
    size = float(np.clip(rng.normal(1.0, 0.08), 0.82, 1.2))
    tall = size * float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15))
    lordosis = float(np.clip(rng.normal(18, 13), -15, 45))
    t1_slope = float(np.clip(rng.normal(20, 8), 3, 42))
    bend, twist, lean = rng.normal(0, 4), rng.normal(0, 7), rng.normal(0, 2.5)
    jitter = lambda table, level, sd=0.06: table[level] * float(np.clip(rng.normal(1, sd), 0.8, 1.2))  # noqa: E731
    age = float(rng.uniform(18, 92))
    ageing = float(np.clip((age - 30) / 62 * rng.uniform(0.3, 1.2), 0, 1))

    vertebrae: list[Vertebra] = []
    centre = np.zeros(3)
    column = LEVELS[1:]
    tilt = np.interp(
        np.arange(len(column)), [0, 5, 8, 10], [t1_slope - lordosis, t1_slope - 3, t1_slope + 8, t1_slope + 10]
    )
    tilt = tilt + rng.normal(0, 1.5, len(column))
    previous_half = None
    for n, level in enumerate(column):
        share = max(1 - n / 6, -0.33)
        axes = _axes(tilt[n], lean + bend * share, twist * share)
        height = tall * jitter(BODY_HEIGHT, level)
        if previous_half is not None:
            above = vertebrae[-1]
            loss = 1 - (ageing * rng.uniform(0, 0.8) if level in ("C5", "C6", "C7") else ageing * rng.uniform(0, 0.3))
            gap = tall * DISC_BELOW[above.level] * loss * float(np.clip(rng.normal(1, 0.1), 0.7, 1.3))
            mean_up = above.axes[2] + axes[2]
            mean_up /= np.linalg.norm(mean_up)
            centre = above.centre - above.axes[2] * previous_half - mean_up * gap - axes[2] * height / 2
            above.pitch = float(np.linalg.norm(above.centre - centre)) if above.level != "C2" else above.height
        vertebrae.append(
            Vertebra(
                level,
                centre.copy(),
                axes,
                size * jitter(BODY_WIDTH, level),
                size * jitter(BODY_DEPTH, level),
                height,
                tall * 19.0,
                size * jitter(CANAL_WIDTH, level),
                size * jitter(CANAL_DEPTH, level, 0.08),
                size * jitter(SPINOUS_LENGTH, level, 0.12),
                float(rng.normal(SPINOUS_DROP[level], 6)),
                _shape(rng, size, ageing),
            )
        )
        previous_half = height / 2
    vertebrae.insert(0, _atlas(rng, vertebrae[0], size, tall))
    return Spine(vertebrae, size, float(rng.normal(3, 8)), age)


def _axes(tilt_deg: float, roll_deg: float, yaw_deg: float) -> np.ndarray:
    """Rows right, anterior, superior: ``tilt`` leans up forwards, ``roll`` bends sideways, ``yaw`` turns."""
    t, r, y = np.radians([tilt_deg, roll_deg, yaw_deg])
    yaw = np.array([[np.cos(y), np.sin(y), 0], [-np.sin(y), np.cos(y), 0], [0, 0, 1]])
    roll = np.array([[np.cos(r), 0, -np.sin(r)], [0, 1, 0], [np.sin(r), 0, np.cos(r)]])
    lean = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    return yaw @ lean @ roll


def _shape(rng: np.random.Generator, size: float, ageing: float) -> dict[str, float]:
    return {
        "size": size,
        "bifid": float(rng.uniform(2.0, 5.0)),
        "uncus": float(rng.uniform(2.2, 4.5)),
        "waist": float(rng.uniform(0.06, 0.16)),
        "facet_tilt": float(rng.normal(42, 6)),
        "vein": float(rng.uniform(-1.5, 2.6)),
        "phase": float(rng.uniform(0, 6.28)),
        "skew": float(rng.normal(0, 0.05)),
        "uneven": float(rng.normal(0, 0.025)),
        "osteophyte": float(ageing * rng.uniform(0, 4.0)),
        "ageing": float(ageing),
    }


def _atlas(rng: np.random.Generator, axis: Vertebra, size: float, tall: float) -> Vertebra:
    """C1 on the dens: its anterior arch in front of the dens, its lower edge at the base of the dens."""
    axes = _axes(
        np.degrees(np.arcsin(np.clip(axis.axes[2][1], -1, 1))) + rng.normal(-3, 4),
        np.degrees(np.arcsin(np.clip(axis.axes[2][0], -1, 1))) + rng.normal(0, 2),
        np.degrees(np.arctan2(axis.axes[0][1], axis.axes[0][0])) + rng.normal(0, 7),
    )
    height = tall * float(rng.normal(11.5, 1.0))
    dens_axis = axis.centre + axis.axes[2] * (axis.height / 2 + height / 2 + tall * rng.normal(0, 1.0))
    centre = dens_axis + axes[1] * size * (5.5 + 1.6 + 3.0)
    return Vertebra("C1", centre, axes, size * 78, size * 46, height, shape=_shape(rng, size, 0.3))
