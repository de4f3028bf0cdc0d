"""The terms of the levels as Slicer spells them."""

from __future__ import annotations

from functools import lru_cache

from CSpineFractureLib.findings import level_terms as known
from CSpineFractureLib.findings.level_terms import Concept, LevelTerm, terminology_file

__all__ = ["SlicerTerm", "level_terms", "terminology_file"]

_ANY_REGION = "Anatomic codes - DICOM master list~^^~^^"


class SlicerTerm(LevelTerm):
    """The term of a level, see ``findings.level_terms``."""

    @property
    def colour(self) -> tuple[float, float, float]:
        """Red, green and blue, 0..1."""
        return tuple(value / 255 for value in self.rgb)

    def entry(self) -> str:
        """The terminology entry of a segment, as Slicer serialises it in the segment's terminology tag."""
        return "~".join((self.context, _text(self.category), _text(self.type), "^^", _ANY_REGION))


@lru_cache(maxsize=1)
def level_terms() -> dict[str, SlicerTerm]:
    """The terms of C1-C7 by level."""
    return {level: SlicerTerm(**vars(term)) for level, term in known.level_terms().items()}


def _text(concept: Concept) -> str:
    """``scheme^value^meaning``."""
    return f"{concept.scheme}^{concept.value}^{concept.meaning}"
