"""The skull with its base and air cells, and the brain.

Head frame: mm of a mean head, origin at C1's anterior arch. Places after axial CT of adults; walls of 5-7.5 mm, thinner
at the temples and thicker behind (Ross et al., J Forensic Sci 1998;43:267-272); foramen magnum 35 x 30 mm.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.frames import Frames, Index
from CSpineFractureLib.phantom.sdf import Points, ellipsoid, smooth_max, smooth_min
from CSpineFractureLib.phantom.shapes import capsule_path

AIR_HU = -990.0


class Head:
    """The neurocranium of one person."""

    def __init__(self, f: Frames, rng: np.random.Generator) -> None:
        self.f, self.rng = f, rng
        self.wall = float(rng.uniform(5.0, 7.5))
        self.cells = float(rng.uniform(0.45, 1.1))
        self.lumps = rng.uniform(0, 6.28, 3)

    def paint(self) -> None:
        """Brain in its shell, skull base, petrous bones, mastoids with cells, condyles."""
        f = self.f
        low = f.heights[-1] if f.heights.size else 0.0
        if low < f.from_head((0, -40, -12))[2]:
            return
        index = f.head_box((-80, -112, -16), (80, 76, 140), 2.0)
        if index is None:
            return
        p = f.crop(f.head, index)
        cavity = self._cavity(p)
        shell = self._shell(p, cavity)
        base = self._base(p)
        bone = smooth_min(shell, base, 4.0)
        bone = smooth_max(bone, -self._foramen(p), 2.5)
        bone = smooth_max(bone, -(cavity + np.float32(0.1)), 0.6)
        bone = smooth_min(bone, self._condyles(p), 3.0)
        rough = np.clip((26 - p[2]) / 16, 0.15, 1)
        bone = bone + rough * (0.4 * f.fine[index] + 0.5 * f.middle[index])
        bone = np.maximum(bone, 1.5 - f.bone[index] / f.size)
        self._paint_brain(index, p, cavity)
        f.paint(index, bone * np.float32(f.size), self._bone_hu(index, p, bone, cavity))
        self._petrous(index, p)
        self._air(index, p, bone)

    def _cavity(self, p: Points) -> np.ndarray:
        x, y, z = p
        floor = 18 + 36 * np.clip((y + 42) / 40, 0, 1) + 21 * np.clip((y - 8) / 18, 0, 1)
        brain = smooth_max(ellipsoid(p, (0, -24, 72), (66, 84, 61)), floor - z, 6.0)
        hind = ellipsoid(p, (0, -50, 34), (51, 38, 36))
        side = np.abs(x)
        middle = ellipsoid((side, y + 0.25 * (side - 37), z), (38, 0, 54), (25, 27, 18))
        cavity = smooth_min(smooth_min(brain, hind, 6.0), middle, 9.0)
        stem = capsule_path(p, np.array([(0, -15, 44, 15.0), (0, -25, 12, 14.0)]))
        return smooth_min(cavity, stem, 6.0)

    def _shell(self, p: Points, cavity: np.ndarray) -> np.ndarray:
        x, y, z = p
        thin = np.exp(-(((np.abs(x) - 58) / 20) ** 2 + ((y - 2) / 26) ** 2 + ((z - 46) / 22) ** 2))
        lump = np.exp(-((x / 18) ** 2 + ((y + 88) / 16) ** 2 + ((z - 26) / 14) ** 2))
        rear = np.clip((-y - 40) / 40, 0, 1) * np.clip((60 - z) / 40, 0, 1)
        wave = 0.5 * np.sin(x / 13 + self.lumps[0]) * np.sin(z / 15 + self.lumps[1])
        thick = self.wall * (1 - 0.6 * thin + 0.35 * rear) + 7 * lump + wave
        below = np.clip((24 - z) / 20, 0, 1)
        return cavity - thick.astype(np.float32) * (1 - 0.35 * below * (1 - rear))

    def _foramen(self, p: Points) -> np.ndarray:
        """Foramen magnum: basion at (-8, 13), opisthion at (-43, 2)."""
        x, y, z = p
        slope = z - np.float32(7.5) - (y + np.float32(25.5)) * np.float32(0.31)
        hole = (
            np.sqrt((x / np.float32(15.0)) ** 2 + ((y + np.float32(25.5)) / np.float32(17.5)) ** 2) - 1
        ) * np.float32(15)
        return np.maximum(hole - np.abs(slope) * np.float32(0.12), np.abs(slope) - np.float32(16))

    def _base(self, p: Points) -> np.ndarray:
        """Clivus, sphenoid, petrous pyramids, mastoids, glenoid roof, occipital base beside the foramen."""
        x, y, z = np.abs(p[0]), p[1], p[2]
        q = (x, y, z)
        t = np.clip((z - 12) / 30, 0, 1)
        middle = -6.5 + 4.0 * t
        clivus = np.maximum(
            (np.sqrt((x / (8.5 + 5.0 * t)) ** 2 + ((y - middle) / (3.2 + 6.5 * t * t)) ** 2) - 1) * (3.2 + 4 * t),
            np.maximum(12.0 - z, z - 52.0),
        )
        sphenoid = ellipsoid(q, (0, 13, 48), (19, 17, 14))
        base = smooth_min(clivus, sphenoid, 4.0)
        pyramid = capsule_path(q, np.array([(54, -27, 30, 10.0), (34, -15, 32, 8.5), (14, 0, 33, 4.5)]))
        base = smooth_min(base, pyramid, 4.0)
        mastoid = ellipsoid((x - 0.10 * (z - 10), y - 0.1 * (z - 10), z), (52, -23, 14), (11.5, 17.5, 24))
        base = smooth_min(base, mastoid, 5.0)
        jugular = capsule_path(q, np.array([(18, -20, 13, 5.0), (30, -18, 16, 5.0), (44, -26, 14, 5.0)]))
        base = smooth_min(base, jugular, 4.0)
        glenoid = ellipsoid(q, (50, 3, 35), (16, 15, 4.5))
        tubercle = ellipsoid(q, (52, 14, 31), (9, 5, 5))
        base = smooth_min(smooth_min(base, glenoid, 4.0), tubercle, 3.0)
        styloid = capsule_path(q, np.array([(34, -5, 16, 2.6), (32, 1, 2, 1.7), (29, 7, -12, 1.0)]))
        wing = capsule_path(q, np.array([(14, 18, 46, 5.0), (34, 22, 50, 3.0), (56, 12, 56, 3.0)]))
        return smooth_min(smooth_min(base, styloid, 2.0), wing, 4.0)

    def _condyles(self, p: Points) -> np.ndarray:
        """Occipital condyles: they reach down to C1's upper facets; the distance to C1 shapes their lower surface."""
        x, y, z = np.abs(p[0]), p[1], p[2]
        turned = (x - np.float32(17.0)) + np.float32(0.34) * (y + np.float32(13))
        return ellipsoid((turned, y + 13, z), (0, 0, 13), (6.8, 11.5, 9.0))

    def _bone_hu(self, index: Index, p: Points, bone: np.ndarray, cavity: np.ndarray) -> np.ndarray:
        """Two tables with diploe between."""
        f = self.f
        depth = -bone
        cortex = 1.9 + 0.5 * np.clip(f.broad[index], -1, 1)
        diploe = np.clip((depth - cortex) / 0.9, 0, 1) * np.clip((cavity - cortex) / 0.9 + 0.2, 0, 1)
        hard = np.float32(f.person.cortical_hu * 1.06) + 40 * f.middle[index]
        soft = 0.35 * hard + np.float32(0.75 * f.person.trabecular_hu) + 80 * f.fine[index] + 110 * f.middle[index]
        return hard + (soft - hard) * diploe

    def _paint_brain(self, index: Index, p: Points, cavity: np.ndarray) -> None:
        """Brain with CSF in the cisterns and sulci, and the falx-side spaces kept faint."""
        f = self.f
        f.paint(index, cavity * np.float32(f.size), np.float32(f.person.csf_hu))
        shrink = 1.2 + 2.2 * f.person.wear
        x, y, z = p
        stem = capsule_path(p, np.array([(0, -17, 36, 11.5), (0, -22, 22, 8.5), (0, -26, 6, 6.0)]))
        cistern = np.maximum(ellipsoid(p, (0, -14, 24), (22, 18, 22)), -stem)
        sulci = np.abs(
            np.sin(x / 6.5 + 1.5 * f.broad[index]) * np.sin(y / 6.5) * np.sin(z / 6.0 + 1.2 * f.broad[index])
        )
        d = np.maximum(
            cavity + shrink + np.clip(0.30 - sulci, 0, 0.3) * np.clip(12 + cavity, 0, 9) * (z > 30), -cistern
        )
        folia = np.sin(y * 1.3 + z * 0.7 + 2 * f.middle[index]) * (y < -45) * (z < 45)
        f.paint(index, d * np.float32(f.size), np.float32(f.person.brain_hu) + 1.5 * f.middle[index] + 1.5 * folia)
        for side in (-1, 1):
            f.mark("brain", f.from_head((side * 22, -58, 34)))
            f.mark("brain", f.from_head((side * 30, -30, 78)))
        f.paint(index, smooth_max(stem, cavity, 1.0) * np.float32(f.size), np.float32(32.0))

    def _petrous(self, index: Index, p: Points) -> None:
        """Dense otic capsule around inner ear and canal, carotid canal."""
        f = self.f
        for side in (-1, 1):
            box = (
                f.head_box(*sorted([(side * 8, -36, 16), (side * 62, 12, 46)]), margin=3)
                if side > 0
                else f.head_box((-62, -36, 16), (-8, 12, 46), 3)
            )
            if box is None:
                continue
            q = f.crop(f.head, box)
            q = (q[0] * side, q[1], q[2])
            capsule = capsule_path(q, np.array([(43, -21, 32, 6.5), (30, -13, 32, 6.0), (22, -7, 32, 4.0)]))
            f.paint(box, (capsule + 0.5 * f.fine[box]) * f.size, np.float32(1450.0) + 160 * f.middle[box])
            holes = ellipsoid(q, (34, -14, 30), (2.0, 2.0, 2.0))
            holes = np.minimum(
                holes, capsule_path(q, np.array([(36, -17, 33, 1.6), (26, -19, 34, 2.6), (20, -21, 34, 3.2)]))
            )
            holes = np.minimum(holes, ellipsoid(q, (41, -20, 35), (3.2, 0.9, 3.2)))
            f.paint(box, holes * f.size, np.float32(30.0))
            artery = capsule_path(
                q, np.array([(25, -4, 18, 2.8), (25, -4, 27, 2.8), (12, 4, 33, 2.6), (9, 6, 44, 2.4)])
            )
            f.paint(box, artery * f.size, np.float32(f.person.artery_hu))
            bulb = ellipsoid(q, (27, -13, 16), (4.5, 5, 6))
            f.paint(box, bulb * f.size, np.float32(f.person.vein_hu))

    def _air(self, index: Index, p: Points, bone: np.ndarray) -> None:
        """Mastoid cells, middle ears, ear canals and the sphenoid sinus."""
        f, rng = self.f, self.rng
        for side in (-1, 1):
            low, high = (side * 36, -46, -14), (side * 80, 2, 44)
            box = f.head_box(np.minimum(low, high), np.maximum(low, high), 3)
            if box is None:
                continue
            q = f.crop(f.head, box)
            q = (q[0] * side, q[1], q[2])
            cells = f.fine[box] * 0.9 + 0.25 * f.middle[box]
            region = ellipsoid(
                (q[0] - 0.1 * (q[2] - 10), q[1], q[2]), (53, -26, 17), (9.0, 13.0 * self.cells + 3, 20.0)
            )
            wall = np.clip(np.abs(cells) * 2.2, 0, 3.0) - 0.75
            f.paint(box, np.maximum(region, -wall) * f.size, np.float32(-880.0))
            antrum = ellipsoid(q, (45, -15, 31), (4, 5, 5))
            ear = capsule_path(
                q, np.array([(82, -12, 27, 4.4), (66, -9, 26, 3.4), (48, -8, 27, 3.6), (38, -8, 27, 2.8)])
            )
            f.paint(box, np.minimum(antrum, ear) * f.size, np.float32(AIR_HU), under_skin_mm=None)
            f.paint(box, ellipsoid(q, (43, -9, 29), (1.6, 2.2, 1.8)) * f.size, np.float32(900.0))
        box = f.head_box((-20, -4, 34), (20, 30, 62), 3)
        if box is None:
            return
        q = f.crop(f.head, box)
        big = rng.uniform(0.8, 1.1)
        sinus = ellipsoid(q, (0, 13, 48), (16 * big, 13.5 * big, 11 * big)) + 1.2 * f.middle[box]
        septum = np.abs(q[0] - 0.25 * (q[1] - 13) - 1.5 * f.broad[box]) - 0.5
        f.paint(box, np.maximum(sinus, -septum) * f.size, np.float32(AIR_HU))
