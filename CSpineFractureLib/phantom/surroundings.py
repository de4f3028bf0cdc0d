"""Everything around the cervical vertebrae: head, neck, shoulders, airway and the things that lie in the beam."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.canal import paint_between_bones, paint_canal, paint_discs
from CSpineFractureLib.phantom.face import paint_face_bones, paint_face_soft, paint_soft_palate
from CSpineFractureLib.phantom.frames import Frames, head_pose
from CSpineFractureLib.phantom.head import Head
from CSpineFractureLib.phantom.jaw import Jaw
from CSpineFractureLib.phantom.morphometry import Spine
from CSpineFractureLib.phantom.person import TISSUE_HU, Person
from CSpineFractureLib.phantom.sdf import Canvas
from CSpineFractureLib.phantom.shapes import noise_field
from CSpineFractureLib.phantom.soft_tissue import paint_soft_body
from CSpineFractureLib.phantom.throat import Throat
from CSpineFractureLib.phantom.vessels import paint_glands, paint_nuchal_ligament, paint_vessels

__all__ = ["Surroundings", "noise_field"]


class Surroundings:
    """Paints one person around a spine on a coarse canvas.

    ``head_axes`` (rows right, anterior, superior) and ``head_origin`` (RAS mm) place the head on C1; ``tissue_hu`` gives
    the range of HU of each tissue; ``person`` says who it is.
    """

    tissue_hu = TISSUE_HU

    def __init__(self, spine: Spine, rng: np.random.Generator) -> None:
        self.spine, self.rng, self.size = spine, rng, spine.size
        self.person = Person.sample(rng, spine.age, spine.size)
        self.head_axes, self.head_origin = head_pose(spine, rng)

    def paint(self, canvas: Canvas) -> None:
        """The whole body on the whole canvas (HU), from the soft parts to the bones, then table and collar."""
        rng = self.rng
        f = Frames(canvas, self.spine, self.person, (self.head_axes, self.head_origin), rng)
        self.frames = f
        skin = paint_soft_body(f, rng)
        paint_between_bones(f)
        paint_nuchal_ligament(f)
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
