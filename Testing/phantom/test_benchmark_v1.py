"""Benchmark v1 is fixed by its seeds, and holds what it promises."""

from __future__ import annotations

import pytest

from CSpineFractureLib.phantom.benchmark import RADIOGRAPH_SEEDS, STUDY_SEEDS, benchmark_content, benchmark_plan

FROZEN = "f67f17a203d84631a07efb9dbfde52a0d9ebfb4a5f45c27fcb6344b4fda86419"


@pytest.fixture(scope="module")
def content():
    return benchmark_content()


def test_it_has_200_studies_and_600_radiographs():
    assert len(set(STUDY_SEEDS)) == 200
    assert len(set(RADIOGRAPH_SEEDS)) == 600
    assert not set(STUDY_SEEDS) & set(RADIOGRAPH_SEEDS)


def test_a_quarter_of_the_fractures_are_hairlines_and_half_of_the_studies_have_mimics(content):
    assert content.hairline >= 0.25 * content.fractures
    assert content.with_mimics >= 0.5 * len(STUDY_SEEDS)
    assert 0.35 * len(STUDY_SEEDS) <= content.fractured <= 0.65 * len(STUDY_SEEDS)


def test_its_fractures_and_mimics_are_those_it_was_frozen_with(content):
    """A change of the generator that moves them makes another benchmark: give it another name and seeds."""
    assert content.digest == FROZEN


def test_the_seed_alone_sets_voxels_and_field_of_view():
    plans = [benchmark_plan(seed) for seed in STUDY_SEEDS]
    assert plans == [benchmark_plan(seed) for seed in STUDY_SEEDS]
    assert len({plan.spacing_mm for plan in plans}) > 6
    assert {plan.fracture_rate for plan in plans} == {0.5}, "the plan must not know which studies are fractured"
