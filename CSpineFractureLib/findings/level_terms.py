"""Codes and colours of the levels, as ``Resources/Terminology/CSpineFracture.term.json`` states them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from CSpineFractureLib.resources import resource_path


@dataclass(frozen=True)
class Concept:
    """A coded concept, e.g. SCT 5329002 "C4 vertebra"."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class LevelTerm:
    """What stands for one level: its SNOMED-CT codes and its colour (red, green, blue; 0-255)."""

    level: str
    context: str
    category: Concept
    type: Concept
    rgb: tuple[int, int, int]


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
    return {
        kind["3dSlicerLabel"]: LevelTerm(
            kind["3dSlicerLabel"],
            context,
            _concept(category),
            _concept(kind),
            tuple(kind["recommendedDisplayRGBValue"]),
        )
        for category in document["SegmentationCodes"]["Category"]
        for kind in category["Type"]
    }


def _concept(entry: dict[str, Any]) -> Concept:
    return Concept(entry["CodingSchemeDesignator"], entry["CodeValue"], entry["CodeMeaning"])
