"""Codes and colours of the levels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from CSpineFractureLib.findings.study_result import LEVELS

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

import slicer

from CSpineFractureLib.scene.terminology import level_terms, terminology_file

# How red and green confused are seen (linear RGB): Machado, Oliveira and Fernandes (2009), severity 1.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def test_every_level_has_its_snomed_code() -> None:
    assert tuple(level_terms()) == LEVELS
    for level, term in level_terms().items():
        code = getattr(codes.SCT, f"{level}Vertebra")
        assert (term.type.value, term.type.scheme, term.type.meaning) == (code.value, "SCT", code.meaning)
        assert (term.category.value, term.category.scheme) == (codes.SCT.BodyStructure.value, "SCT")


@pytest.mark.parametrize("sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["usual", "deuteranopia", "protanopia"])
def test_the_levels_colours_differ_for_every_colour_vision(sight: np.ndarray) -> None:
    seen = {level: sight @ np.array(term.colour) ** 2.2 for level, term in level_terms().items()}
    closest = min(np.abs(seen[a] - seen[b]).max() for a, b in combinations(LEVELS, 2))
    assert closest > 0.08


def test_slicer_reads_the_terminology_and_finds_a_segments_entry_in_it(an_app) -> None:
    logic = an_app.terminologies_logic
    name = logic.LoadTerminologyFromFile(str(terminology_file()))
    assert name == level_terms()["C1"].context
    found = slicer.vtkSlicerTerminologyType()
    for index, (level, term) in enumerate(level_terms().items()):
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(term.entry(), entry)
        assert entry.GetTypeObject().GetCodeValue() == term.type.value
        assert entry.GetTypeObject().GetCodeMeaning() == f"{level} vertebra"
        assert logic.SerializeTerminologyEntry(entry) == term.entry()
        assert logic.GetNthTypeInTerminologyCategory(name, entry.GetCategoryObject(), index, found)
        assert found.GetCodeValue() == term.type.value
        np.testing.assert_allclose(np.array(found.GetRecommendedDisplayRGBValue()) / 255, term.colour)
