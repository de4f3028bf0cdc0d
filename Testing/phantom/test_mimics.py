"""Mimics: bone that only looks broken is changed, corticated, named, and never part of the truth of fractures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bones import column_of

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.anatomy import content_of
from CSpineFractureLib.phantom.mimics import KINDS, fits
from CSpineFractureLib.phantom.plan import StudyPlan, parse_mimics
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.phantom.truth import LABELS

SMALL = StudyPlan(
    spacing_mm=(0.7, 0.7, 0.7), fractures=(), mimics=(), width_mm=90, depth_mm=100, above_mm=12, below_mm=-4
)


@pytest.fixture(scope="module")
def sound():
    return column_of(21, SMALL)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_bone_and_is_no_fracture(sound, kind):
    level = "C5"
    study = column_of(21, replace(SMALL, mimics=((level, kind),)))
    assert not study.gaps.any()
    changed = np.abs(study.canvas.hu - sound.canvas.hu) > 60
    assert changed.sum() * 0.343 > 3, "at least 3 mm3 of it differ"
    k = np.flatnonzero((sound.labels == LABELS[level]).any(axis=(1, 2)))
    assert (np.flatnonzero(changed.any(axis=(1, 2))) >= k[0] - 16).all()
    assert (np.flatnonzero(changed.any(axis=(1, 2))) <= k[-1] + 16).all()


def test_an_unfused_dens_tip_has_corticated_lips(sound):
    """Beside the slit the bone is denser than the marrow that was there before."""
    study = column_of(21, replace(SMALL, mimics=(("C2", "unfused-apophysis"),)))
    slit = (sound.labels == 2) & (study.canvas.hu < 250) & (sound.canvas.hu - study.canvas.hu > 150)
    denser = (sound.labels == 2) & (study.canvas.hu - sound.canvas.hu > 150)
    assert slit.sum() > 20
    assert denser.sum() > 20


def test_a_fused_level_joins_two_bodies(sound):
    study = column_of(21, replace(SMALL, mimics=(("C4", "fused-levels"),)))
    upper, lower = sound.spine["C4"], sound.spine["C5"]
    middle = (upper.centre - upper.axes[2] * upper.height / 2 + lower.centre + lower.axes[2] * lower.height / 2) / 2
    middle = middle + upper.axes[1] * 1.0
    i, j, k = np.rint(np.linalg.inv(study.canvas.ijk_to_ras) @ [*middle, 1])[:3].astype(int)
    assert sound.labels[k, j, i] == 0
    assert study.labels[k, j, i] == LABELS["C4"]


def test_mimics_are_named_in_the_study_and_avoid_fractured_levels():
    plan = StudyPlan(fracture_rate=1.0, mimic_rate=1.0)
    named = 0
    for seed in range(120):
        _, fractures, mimics = content_of(seed, plan)
        assert not {f.level for f in fractures} & {m.level for m in mimics}
        named += bool(mimics)
    assert named > 110
    study = make_study(21, replace(SMALL, mimics=(("C6", "osteophyte"), ("C3", "vessel-channel"))))
    assert study.mimics == ["C6 osteophyte", "C3 vessel-channel"]
    assert study.fractures == []


def test_mimics_are_as_frequent_with_and_without_fractures():
    share = []
    for rate in (0.0, 1.0):
        plan = StudyPlan(fracture_rate=rate, mimic_rate=0.6)
        share.append(np.mean([bool(content_of(seed, plan)[2]) for seed in range(400)]))
    assert abs(share[0] - share[1]) < 0.05


@pytest.mark.parametrize("spec", ["C8:osteophyte", "C1:osteophyte", "C5:crack", "C5"])
def test_an_unknown_mimic_is_refused_with_a_sentence(spec):
    with pytest.raises(UserError, match="--mimic"):
        parse_mimics([spec])


def test_every_level_can_have_a_mimic():
    assert all(any(fits(kind, f"C{n}") for kind in KINDS) for n in range(1, 8))
