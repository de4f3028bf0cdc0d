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
    "C1": [-80, -55, -40, -8, 30, 41, 47, 51, 52, 48, 36, 18, 0, -15, -30, -45, -70, -110],
    "C3": [-80, -45, -30, 4, 34, 46, 52, 56, 56, 53, 46, 35, 20, 4, -12, -30, -60, -100],
    "C4": [-80, -45, -28, 8, 37, 48, 54, 57, 57, 54, 47, 37, 23, 11, -8, -26, -60, -100],
    "C5": [-80, -40, -22, 14, 39, 50, 56, 59, 58, 55, 48, 37, 22, 11, -10, -26, -60, -100],
    "C6": [-75, -32, -10, 28, 48, 58, 64, 67, 65, 59, 50, 37, 20, 6, -12, -28, -60, -100],
    "C7": [-70, -22, 16, 46, 66, 80, 88, 88, 80, 68, 56, 41, 22, 4, -12, -28, -55, -95],
    "T1": [-60, -8, 24, 58, 88, 116, 134, 138, 122, 95, 70, 48, 27, 8, -8, -22, -50, -85],
    "T2": [-50, 8, 50, 98, 140, 163, 174, 178, 173, 152, 120, 82, 48, 26, 2, -14, -40, -75],
    "T3": [-40, 22, 72, 120, 162, 184, 192, 196, 194, 184, 165, 134, 100, 72, 38, 6, -25, -60],
    "T6": [-20, 60, 110, 150, 180, 200, 208, 212, 212, 208, 199, 186, 168, 150, 126, 92, -40, -90],
}
HEAD_COLUMNS = [-126, -116, -105, -93, -80, -61, -40, -20, 0, 20, 40, 55, 64, 72, 80, 90, 100, 120]
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


def neck_outlines(f: Frames, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distances (mm) to the deep fascia of neck and shoulders and to the skin over it, on the whole canvas."""
    person = f.person
    drop = float(rng.normal(0, 5)) * f.size
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
    fascia = Outline(list(np.array(rows)[order]), columns, np.array(table)[order])
    skin = fascia.grown(_fat_table(f, fascia))
    x = f.u * (1 + np.float32(person.uneven) * np.sign(f.u))
    z = f.heights.astype(np.float32)[:, None, None]
    return fascia.distance(x, f.v, z), skin.distance(x, f.v, z)


def _fat_table(f: Frames, fascia: Outline) -> np.ndarray:
    """Thickness (mm) of skin and fat on the neck: most behind, more towards the shoulders, least at the sides."""
    rows, columns = fascia.table.shape
    z = fascia.low[0] + fascia.step * np.arange(rows)[:, None]
    y = (fascia.low[1] + fascia.step * np.arange(columns)[None, :]) / f.size
    behind, ahead = np.clip(-y / 50, 0, 1), np.clip(y / 40, 0, 1)
    low = np.clip((f.level["C4"] - z) / 60, 0, 1)
    return 1.6 + f.person.fat_mm * (0.45 + 0.55 * behind + 0.1 * ahead) * (1 + 0.3 * low)


def head_outline(f: Frames, rng: np.random.Generator, rows: slice) -> np.ndarray:
    """Distance to the skin of a lean head (mm) in some slices."""
    table = np.array(list(HEAD.values()), float)
    broad = float(np.clip(rng.normal(1.0, 0.03), 0.93, 1.07))
    outline = Outline(list(HEAD), HEAD_COLUMNS, np.where(table > 0, table * broad, table))
    x, y, z = f.crop(f.head, (rows, slice(None), slice(None)))
    x = x * (1 + np.float32(f.person.uneven) * np.sign(x))
    ears = _ears(x, y, z, rng)
    skin = np.maximum(outline.distance(x, y, z) - np.float32(1.0), np.float32(-54) - z)
    return smooth_min(skin, ears, 3.0) * np.float32(f.size)


def _ears(x: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Auricles: bent shells that stand off the head behind the ear canals."""
    near = np.abs(x) - np.float32(74.0)
    stand = near + (y + np.float32(14)) * np.float32(rng.uniform(0.35, 0.8))
    disc = np.sqrt(((y + np.float32(19)) / np.float32(15)) ** 2 + ((z - np.float32(24)) / np.float32(29)) ** 2)
    shell = np.abs(stand) - np.float32(1.7) - np.float32(1.2) * np.clip((disc - 0.7) / 0.3, 0, 1)
    return smooth_max(smooth_max(shell, (disc - 1) * np.float32(15), 2.0), np.abs(near - 3) - np.float32(14), 2.0)


def body_outlines(f: Frames, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distances (mm) to the skin and to the deep fascia of the neck, on the whole canvas."""
    fascia, skin = neck_outlines(f, rng)
    skin -= 0.7 * np.clip(f.broad, -1.5, 1.5)
    rows = slice(int(np.searchsorted(f.heights, f.level["C6"])), None)
    head = head_outline(f, rng, rows) - np.float32(0.28 * f.person.fat_mm)
    skin[rows] = smooth_min(skin[rows], head, 16.0)
    return skin, fascia
