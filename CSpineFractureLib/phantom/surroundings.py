"""Everything around the cervical vertebrae: head, neck, shoulders, airway and the things that lie in the beam."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.canal import paint_between_bones, paint_canal, paint_discs
from CSpineFractureLib.phantom.chest import paint_girdle, paint_lungs, paint_ribs
from CSpineFractureLib.phantom.face import paint_face_bones, paint_face_soft, paint_soft_palate
from CSpineFractureLib.phantom.frames import Frames, head_pose
from CSpineFractureLib.phantom.head import Head
from CSpineFractureLib.phantom.jaw import Jaw
from CSpineFractureLib.phantom.morphometry import Spine
from CSpineFractureLib.phantom.person import TISSUE_HU, Person
from CSpineFractureLib.phantom.sdf import Canvas
from CSpineFractureLib.phantom.shapes import noise_field
from CSpineFractureLib.phantom.soft_tissue import paint_soft_body
from CSpineFractureLib.phantom.table import paint_table
from CSpineFractureLib.phantom.throat import Throat
from CSpineFractureLib.phantom.vessels import paint_glands, paint_nuchal_ligament, paint_vessels

__all__ = ["Surroundings", "noise_field"]


class Surroundings:
    """Paints one person around a spine on a coarse canvas.

    ``head_axes`` (rows right, anterior, superior) and ``head_origin`` (RAS mm) place the head on C1; ``tissue_hu``
    gives the range of HU of each tissue; ``person`` says who it is. After painting, ``landmarks`` holds places
    (RAS mm) deep inside of some tissues, by the tissue's name: take their median HU, as a node or a vessel may lie in
    one.
    """

    tissue_hu = TISSUE_HU

    def __init__(self, spine: Spine, rng: np.random.Generator) -> None:
        self.spine, self.rng, self.size = spine, rng, spine.size
        self.person = Person.sample(rng, spine.age, spine.size)
        self.head_axes, self.head_origin = head_pose(spine, rng)
        self.landmarks: dict[str, list[list[float]]] = {}

    def paint(self, canvas: Canvas) -> Frames:
        """The whole body on the whole canvas (HU), from the soft parts to the bones, then table and collar.

        Returns the frames in which it was drawn, with the distances to skin and vertebrae.
        """
        rng = self.rng
        f = Frames(canvas, self.spine, self.person, (self.head_axes, self.head_origin), rng)
        f.skin = skin = paint_soft_body(f, rng)
        paint_between_bones(f)
        paint_nuchal_ligament(f)
        paint_lungs(f, rng)
        jaw = Jaw(f, rng)
        paint_face_soft(f, rng, jaw.open_mm)
        paint_glands(f, rng)
        paint_vessels(f, rng)
        Throat(f, rng).paint()
        paint_face_bones(f, rng)
        paint_soft_palate(f, rng, jaw.open_mm)
        Head(f, rng).paint()
        jaw.paint_mandible()
        jaw.paint_teeth()
        paint_canal(f)
        paint_discs(f)
        paint_ribs(f)
        paint_girdle(f, rng)
        paint_table(f, skin, rng)
        self.landmarks = f.marks
        return f
