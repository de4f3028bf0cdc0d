"""Codes and colours of the levels, as ``Resources/Terminology/CSpineFracture.term.json`` states them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from CSpineFractureLib.resources import resource_path

_ANY_REGION = "Anatomic codes - DICOM master list~^^~^^"


@dataclass(frozen=True)
class Code:
    """A coded concept, e.g. SCT 5329002 "C4 vertebra"."""

    scheme: str
    value: str
    meaning: str

    def text(self) -> str:
        """``scheme^value^meaning``, as Slicer's terminology entries spell it."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True)
class LevelTerm:
    """What stands for one level: its SNOMED-CT codes and its colour (red, green, blue; 0..1)."""

    level: str
    context: str
    category: Code
    type: Code
    colour: tuple[float, float, float]

    def entry(self) -> str:
        """The terminology entry of a segment, as Slicer serialises it in the segment's terminology tag."""
        return "~".join((self.context, self.category.text(), self.type.text(), "^^", _ANY_REGION))


def terminology_file() -> Path:
    """The terminology as a file that Slicer's Terminologies module reads."""
    return resource_path("Terminology/CSpineFracture.term.json")


@lru_cache(maxsize=1)
def level_terms() -> dict[str, LevelTerm]:
    """The terms of C1-C7 by level.

    Codes: SNOMED CT "Bone structure of C<n>", as in DICOM (PS3.16) and pydicom's concept dictionary. Colours: the
    seven hues of Okabe and Ito, "Color Universal Design" (2008), told apart with every common colour vision.
    """
    document = json.loads(terminology_file().read_text(encoding="utf-8"))
    context = document["SegmentationCategoryTypeContextName"]
    terms = {}
    for category in document["SegmentationCodes"]["Category"]:
        for kind in category["Type"]:
            level = kind["3dSlicerLabel"]
            colour = tuple(value / 255 for value in kind["recommendedDisplayRGBValue"])
            terms[level] = LevelTerm(level, context, _code(category), _code(kind), colour)
    return terms


def _code(entry: dict[str, Any]) -> Code:
    return Code(entry["CodingSchemeDesignator"], entry["CodeValue"], entry["CodeMeaning"])
