"""The one record of a study that every data set reader gives and every writer takes.

Pixels are counted as YOLO, COCO and RSNA-2022 count them: pixel ``(i, j)`` covers ``[i, i + 1) x [j, j + 1)``, so a
box over columns 10..19 has ``x = 10`` and ``width = 10``. ``k`` is the slice of the volume that ``load_volume`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from CSpineFractureLib.volume.ct_volume import CTVolume

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")


@dataclass(frozen=True)
class SliceBox:
    """A fracture box in slice ``k``: left column edge ``x``, upper row edge ``y``, sizes in pixels, and its level.

    ``level`` is ``None`` only where neither a mask nor the study's labels can tell it; ``kind`` is ``displaced`` or
    ``hairline`` where that is known.
    """

    k: int
    x: float
    y: float
    width: float
    height: float
    level: str | None = None
    kind: str | None = None


@dataclass
class StudyRecord:
    """One study of a data set; arrays are loaded when asked for, never held.

    Parameters
    ----------
    id
        Name of the study, unique in the data set; the StudyInstanceUID in RSNA-2022.
    load_volume
        Gives the CT as a ``CTVolume`` (``[k, j, i]`` int16 HU, matrix to RAS mm).
    load_levels
        Gives the vertebra mask, uint8 ``[k, j, i]`` on the volume's grid, 1-7 = C1-C7, 8 and more = thoracic;
        ``None`` where the study has no mask.
    fractured
        Which of C1-C7 are fractured; ``None`` where it is not known (test studies).
    boxes
        Fracture boxes per slice. ``None`` means not annotated: a slice without a box is then NOT a negative one unless
        the whole study is free of fractures.
    load_bodies
        Gives RAS mm of the middles of the vertebral bodies (C1: of the anterior arch) by level; ``None`` where they are
        not known.
    load_fractures
        Gives the fracture mask, uint8 ``[k, j, i]`` on the volume's grid, the number of the level (1-7) where it is
        fractured; ``None`` where the study has none. Study without fractures: all 0.
    group
        The patient: studies of one group always fall in one split.
    split
        ``train``, ``val``, ``test``, ``fold0`` ... once split.
    strata
        What the study is made of, for results by stratum: ``displaced``, ``hairline``, ``mimics``.
    """

    id: str
    load_volume: Callable[[], CTVolume]
    load_levels: Callable[[], np.ndarray] | None = None
    fractured: dict[str, bool] | None = None
    boxes: Sequence[SliceBox] | None = None
    load_bodies: Callable[[], dict[str, Sequence[float]]] | None = None
    load_fractures: Callable[[], np.ndarray] | None = None
    group: str = ""
    split: str | None = None
    strata: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        self.group = self.group or self.id

    @property
    def negative(self) -> bool:
        """Known to be free of fractures in every level."""
        return self.fractured is not None and not any(self.fractured.values())

    @property
    def slices_are_labelled(self) -> bool:
        """Every slice is known to show a fracture (a box) or not: annotated, or free of fractures."""
        return self.boxes is not None or self.negative
