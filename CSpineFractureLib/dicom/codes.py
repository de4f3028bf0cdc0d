"""The coded concepts of the DICOM objects."""

from __future__ import annotations

from typing import Any

from highdicom import color
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from CSpineFractureLib.findings.level_terms import Concept, level_terms

PRIVATE = "99CSPINE"
"""Scheme of the concepts that no public scheme has; DICOM (PS3.16 chapter 8) wants "99" before a private one."""
FRACTURE = Code("72704001", "SCT", "Fracture")
FRACTURE_PROBABILITY = Code("FX-PROBABILITY", PRIVATE, "Fracture probability")
CONFIDENCE = Code("DET-CONFIDENCE", PRIVATE, "Detection confidence")
VOLUME = codes.SCT.Volume
NO_UNITS = codes.UCUM.NoUnits
CUBIC_MM = codes.UCUM.CubicMillimeter
STATUS = Code("FX-STATUS", PRIVATE, "Status of the suspected fracture")
STATUSES = {
    "suggested": Code("SUGGESTED", PRIVATE, "Suggested by the algorithm, not reviewed"),
    "accepted": Code("ACCEPTED", PRIVATE, "Accepted by a reader"),
    "rejected": Code("REJECTED", PRIVATE, "Rejected by a reader"),
    "added": Code("ADDED", PRIVATE, "Added by a reader"),
}
VISIBLE = Code("VISIBLE", PRIVATE, "Visible in the scan")
VISIBILITIES = {
    "full": Code("VISIBLE-FULL", PRIVATE, "Fully visible"),
    "partial": Code("VISIBLE-PART", PRIVATE, "Partly visible"),
    "no": Code("VISIBLE-NO", PRIVATE, "Not visible"),
}
ASSESSED = Code("ASSESSED", PRIVATE, "Found with enough confidence to be assessed")
ASSESSABLE = Code("ASSESSABLE", PRIVATE, "Fracture can be assessed")
NOT_ASSESSABLE_BECAUSE = Code("NOT-ASSESSABLE", PRIVATE, "Why a fracture cannot be assessed")
YES_NO = {True: Code("373066001", "SCT", "Yes"), False: Code("373067005", "SCT", "No")}
COMMENT = codes.DCM.Comment
BOUNDED_BY = codes.SCT.BoundedBy
AI = codes.DCM.ArtificialIntelligence
PROCEDURE = codes.LN.CTUnspecifiedBodyRegion
"""A source may be any CT that shows the neck."""


def code_key(code: Code) -> tuple[str, str]:
    """What tells codes apart: scheme and value; the meaning is only words."""
    return str(code.scheme_designator), str(code.value)


def name_of(code: Code | None, names: dict) -> Any:
    """The key of ``names`` (name to code) that stands for ``code``; ``None`` where none does."""
    if code is None:
        return None
    return next((name for name, known in names.items() if code_key(known) == code_key(code)), None)


def level_codes() -> dict[str, Code]:
    """The SNOMED CT codes of C1-C7 by level, see ``findings.level_terms``."""
    return {level: _code(term.type) for level, term in level_terms().items()}


def level_colours() -> dict[str, color.CIELabColor]:
    """The recommended colours of C1-C7 by level."""
    return {level: color.CIELabColor.from_rgb(*term.rgb) for level, term in level_terms().items()}


def anatomical_structure() -> Code:
    """The category of the segments."""
    return _code(next(iter(level_terms().values())).category)


def _code(concept: Concept) -> Code:
    return Code(concept.value, concept.scheme, concept.meaning)
