"""The outlines of head, neck and shoulders: half widths of the skin over muscle, without the fat of the person.

Traced from axial CT of adults; the neck in its own frame per level (columns: mm in front of the bodies' middles), the
head in the head frame (columns: mm in front of C1's anterior arch).
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.sdf import smooth_max, smooth_min
from CSpineFractureLib.phantom.shapes import Outline

NECK_COLUMNS = [-130, -95, -85, -75, -65, -55, -45, -30, -15, 0, 15, 30, 45, 55, 65, 75, 95, 130]
NECK = {
    "C0": [-80, -60, -45, -20, 18, 32, 40, 46, 48, 44, 30, 10, -10, -25, -40, -55, -75, -120],
    "C1": [-80, -55, -40, -14, 22, 36, 44, 50, 52, 48, 36, 18, 0, -15, -30, -45, -70, -110],
    "C3": [-80, -45, -30, -8, 26, 41, 49, 54, 55, 53, 46, 35, 20, 4, -12, -30, -60, -100],
    "C4": [-80, -45, -30, -6, 27, 42, 50, 55, 56, 53, 46, 36, 22, 10, -8, -26, -60, -100],
    "C5": [-80, -40, -25, -4, 29, 44, 52, 57, 58, 55, 47, 35, 19, 9, -10, -26, -60, -100],
    "C6": [-75, -32, -15, 10, 38, 52, 60, 65, 64, 58, 48, 34, 17, 4, -12, -28, -60, -100],
    "C7": [-70, -22, 2, 32, 56, 74, 84, 86, 79, 66, 53, 38, 20, 3, -12, -28, -55, -95],
    "T1": [-60, -8, 24, 58, 88, 116, 134, 138, 122, 95, 70, 48, 27, 8, -8, -22, -50, -85],
    "T2": [-50, 8, 50, 98, 140, 163, 174, 178, 173, 152, 120, 82, 48, 26, 2, -14, -40, -75],
    "T3": [-40, 22, 72, 120, 162, 184, 192, 196, 194, 184, 164, 130, 92, 62, 28, 2, -25, -60],
    "T6": [-20, 60, 110, 150, 180, 200, 208, 212, 212, 208, 196, 178, 150, 130, 106, 78, 20, -40],
}
HEAD_COLUMNS = [-115, -105, -95, -85, -75, -60, -40, -20, 0, 20, 40, 55, 64, 72, 80, 90, 100, 120]
HEAD = {
    -62: [-99, -90, -80, -70, -60, -50, -30, -20, -12, -8, -8, -12, -20, -30, -40, -55, -70, -90],
    -52: [-99, -90, -80, -70, -60, -45, -25, -5, 8, 18, 17, 9, 0, -12, -25, -45, -60, -90],
    -44: [-99, -90, -80, -68, -55, -35, -10, 15, 34, 38, 34, 25, 17, 7, -10, -32, -55, -90],
    -36: [-99, -90, -75, -55, -35, -10, 20, 40, 50, 49, 42, 31, 22, 12, -2, -25, -50, -90],
    -26: [-99, -85, -60, -35, -10, 20, 44, 56, 58, 54, 46, 35, 26, 16, 2, -20, -48, -90],
    -16: [-95, -75, -45, -15, 12, 40, 57, 63, 63, 58, 48, 37, 28, 17, 3, -18, -46, -88],
    -4: [-90, -60, -28, 4, 28, 50, 64, 67, 66, 60, 51, 40, 31, 21, 8, -14, -42, -85],
    6: [-85, -48, -14, 16, 37, 56, 67, 70, 68, 62, 53, 42, 33, 22, 9, -14, -42, -85],
    16: [-75, -34, -2, 26, 45, 61, 70, 72, 70, 64, 55, 43, 32, 20, 8, -10, -38, -80],
    26: [-65, -24, 10, 34, 51, 65, 72, 74, 72, 66, 57, 44, 30, 17, 11, 4, -16, -75],
    36: [-55, -12, 18, 40, 55, 67, 74, 75, 73, 67, 58, 44, 28, 15, 10, 5, -12, -75],
    48: [-48, -6, 23, 44, 58, 69, 75, 76, 74, 68, 59, 44, 25, 11, 7, -3, -28, -80],
    62: [-45, 0, 27, 47, 60, 70, 76, 77, 75, 68, 57, 41, 20, 7, -10, -28, -50, -90],
    85: [-45, 0, 27, 47, 60, 71, 77, 77, 74, 65, 50, 32, 12, -8, -22, -42, -62, -95],
    110: [-60, -10, 20, 40, 54, 65, 70, 70, 67, 57, 40, 18, -2, -20, -35, -55, -75, -99],
    130: [-90, -50, -15, 10, 30, 46, 55, 55, 50, 38, 15, -8, -25, -40, -55, -70, -85, -99],
    150: [-99, -90, -70, -50, -30, -15, -5, -3, -8, -20, -40, -60, -75, -85, -92, -95, -99, -110],
}


def neck_outline(f: Frames, rng: np.random.Generator) -> np.ndarray:
    """Distance to the deep fascia of neck and shoulders (mm), over the whole canvas."""
    person = f.person
    drop = float(rng.normal(0, 7)) * f.size
    rows, table = [], []
    for name, widths in NECK.items():
        shift = drop if name[0] == "T" else drop * 0.4 if name == "C7" else 0.0
        rows.append(f.level[name] + shift)
        w = np.array(widths, float)
        if name[0] == "C" and name not in ("C0", "C1"):
            w = np.where(w > 0, w * (0.94 + 0.5 * (person.bulk - 0.94)), w)
        if name in ("C4", "C5") and not person.male:
            w = np.where(np.array(NECK_COLUMNS) > 40, w - 6, w)
        table.append(w * f.size)
    order = np.argsort(rows)
    columns = [c * f.size for c in NECK_COLUMNS]
    outline = Outline(list(np.array(rows)[order]), columns, np.array(table)[order])
    x = f.u * (1 + np.float32(person.uneven) * np.sign(f.u))
    return outline.distance(x, f.v, f.heights.astype(np.float32)[:, None, None])


def head_outline(f: Frames, rng: np.random.Generator) -> np.ndarray:
    """Distance to the skin of a lean head (mm), over the whole canvas."""
    table = np.array(list(HEAD.values()), float)
    broad = float(np.clip(rng.normal(1.0, 0.03), 0.93, 1.07))
    outline = Outline(list(HEAD), HEAD_COLUMNS, np.where(table > 0, table * broad, table))
    x, y, z = f.head
    x = x * (1 + np.float32(f.person.uneven) * np.sign(x))
    ears = _ears(x, y, z, rng)
    return smooth_min(outline.distance(x, y, z), ears, 3.0) * np.float32(f.size)


def _ears(x: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Auricles: bent shells that stand off the head behind the ear canals."""
    near = np.abs(x) - np.float32(74.0)
    stand = near + (y + np.float32(14)) * np.float32(rng.uniform(0.35, 0.8))
    disc = np.sqrt(((y + np.float32(19)) / np.float32(15)) ** 2 + ((z - np.float32(24)) / np.float32(29)) ** 2)
    shell = np.abs(stand) - np.float32(1.7) - np.float32(1.2) * np.clip((disc - 0.7) / 0.3, 0, 1)
    return smooth_max(smooth_max(shell, (disc - 1) * np.float32(15), 2.0), np.abs(near - 3) - np.float32(14), 2.0)


def body_outlines(f: Frames, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (mm) to the skin, to the deep fascia of the neck, and to the head's skin."""
    person = f.person
    fascia = neck_outline(f, rng)
    head = head_outline(f, rng)
    behind = np.clip(-f.v / np.float32(50 * f.size), 0.0, 1.0)
    ahead = np.clip(f.v / np.float32(40 * f.size), 0.0, 1.0)
    low = np.clip((np.float32(f.level["C4"]) - f.heights.astype(np.float32)) / 60, 0, 1)[:, None, None]
    fat = np.float32(person.fat_mm) * (0.45 + 0.55 * behind + 0.15 * ahead) * (1 + 0.35 * low) + np.float32(1.6)
    fat *= 1 + np.float32(0.12) * np.clip(f.broad, -1.5, 1.5)
    neck_skin = fascia - fat
    head_skin = head - np.float32(0.28 * person.fat_mm)
    return smooth_min(neck_skin, head_skin, 16.0), fascia, head_skin
