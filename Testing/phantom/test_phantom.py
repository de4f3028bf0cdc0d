"""The synthetic study: same seed same voxels, anatomy in order, truth that fits the voxels."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.files import TRUTH_FILE, make_studies
from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.phantom.varied import scans_plan

SMALL = StudyPlan(
    spacing_mm=(1.5, 1.5, 2.0), fractures=(("C5", "burst"),), width_mm=150, depth_mm=150, above_mm=15, below_mm=15
)


@pytest.fixture(scope="module")
def a_study():
    return make_study(7, SMALL)


def index_of(study, ras):
    return np.rint(np.linalg.inv(study.ijk_to_ras) @ [*ras, 1])[:3].astype(int)


def test_the_same_seed_gives_the_same_voxels(a_study):
    again = make_study(7, SMALL)
    np.testing.assert_array_equal(again.hu, a_study.hu)
    np.testing.assert_array_equal(again.labels, a_study.labels)
    assert make_study(8, SMALL).hu.shape != a_study.hu.shape or (make_study(8, SMALL).hu != a_study.hu).any()


def test_levels_follow_each_other_from_top_to_bottom(a_study):
    heights = [a_study.centres_ras[f"C{n}"][2] for n in range(1, 8)]
    assert all(upper > lower + 5 for upper, lower in pairwise(heights))


def test_every_cervical_body_lies_where_the_truth_says(a_study):
    for level in range(2, 8):
        if level == 5:
            continue  # burst: its middle may be the gap
        i, j, k = index_of(a_study, a_study.centres_ras[f"C{level}"])
        assert a_study.labels[k, j, i] == level


def test_bone_is_bright_and_the_canal_is_not(a_study):
    hu = a_study.hu.astype(float)
    assert hu[(a_study.labels > 0) & (a_study.labels < 8)].mean() > 300
    i, j, k = index_of(a_study, np.array(a_study.centres_ras["C4"]) - [0, 16, 0])
    assert hu[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2].mean() < 200


def test_the_fracture_box_holds_the_gap_of_its_level(a_study):
    (truth,) = a_study.fractures
    assert (truth.level, truth.type) == ("C5", "burst")
    k, j, i = np.nonzero(a_study.fracture_mask)
    ras = (a_study.ijk_to_ras @ np.stack([i, j, k, np.ones_like(i)]))[:3]
    low, high = np.array(truth.box_ras)
    assert (ras.min(axis=1) >= low).all()
    assert (ras.max(axis=1) <= high).all()


def test_files_hold_the_study_and_a_finished_one_is_not_made_again(tmp_path):
    (folder,) = make_studies(tmp_path, [7], lambda seed: SMALL)
    study = make_study(7, SMALL)
    image = sitk.ReadImage(str(folder / "ct.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), study.hu)
    lps = np.array(image.TransformIndexToPhysicalPoint((3, 4, 5)))
    np.testing.assert_allclose(lps * [-1, -1, 1], (study.ijk_to_ras @ [3, 4, 5, 1])[:3], atol=1e-3)
    assert json.loads((folder / TRUTH_FILE).read_text())["fractures"][0]["level"] == "C5"
    before = (folder / "ct.nii.gz").stat().st_mtime_ns
    make_studies(tmp_path, [7], lambda seed: SMALL)
    assert (folder / "ct.nii.gz").stat().st_mtime_ns == before


@pytest.mark.parametrize("spec", ["C8", "T1:burst", "C5:dens-2", "C1:burst"])
def test_an_unknown_fracture_is_refused_with_a_sentence(spec):
    with pytest.raises(UserError, match=spec.split(":")[0]):
        parse_fractures([spec])


def test_a_finished_study_is_kept_unless_the_plan_is_another(tmp_path):
    plans = [
        StudyPlan(spacing_mm=(3.0, 3.0, 3.0), fractures=parse_fractures([spec]), width_mm=90, depth_mm=90)
        for spec in ("C5:burst", "C2")
    ]
    (folder,) = make_studies(tmp_path, [4], lambda seed: plans[0])
    made = (folder / "ct.nii.gz").stat().st_mtime_ns
    make_studies(tmp_path, [4], lambda seed: plans[0])
    assert (folder / "ct.nii.gz").stat().st_mtime_ns == made
    make_studies(tmp_path, [4], lambda seed: plans[1])
    assert '"C2"' in (folder / "truth.json").read_text(encoding="utf-8").split('"fractures": [')[-1]
    assert (folder / "ct.nii.gz").stat().st_mtime_ns != made


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_jobs(tmp_path):
    plan = StudyPlan(spacing_mm=(2.5, 2.5, 4.0), width_mm=110, depth_mm=110, above_mm=5, below_mm=0)
    for jobs in (1, 2):
        make_studies(tmp_path / str(jobs), [1, 2, 3], lambda seed: plan, jobs)
    one, two = (
        {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        for root in (tmp_path / "1", tmp_path / "2")
    )
    assert len(one) == 12
    assert one == two


def test_thick_slices_are_averages_of_thin_ones_and_lie_where_they_should():
    thin = StudyPlan(spacing_mm=(1.5, 1.5, 1.0), fractures=(), mimics=(), width_mm=120, depth_mm=120)
    thick = replace(thin, spacing_mm=(1.5, 1.5, 5.0))
    one, other = make_study(5, thin), make_study(5, thick)
    assert other.ijk_to_ras[2, 2] == pytest.approx(5.0)
    for level in ("C3", "C5", "C7"):
        for study in (one, other):
            i, j, k = index_of(study, study.centres_ras[level])
            assert study.labels[k, j, i] == int(level[1])
    assert other.hu[other.labels > 0].std() < one.hu[one.labels > 0].std()


def test_randomised_studies_differ_in_tissue_but_not_in_truth():
    usual = make_study(9, SMALL)
    odd = make_study(9, replace(SMALL, randomise=True))
    np.testing.assert_array_equal(odd.labels, usual.labels)
    assert np.abs(odd.hu.astype(int) - usual.hu).mean() > 15


def test_fields_of_view_may_be_cropped_anywhere():
    plans = [scans_plan(seed) for seed in range(300)]
    assert {plan.spacing_mm[2] for plan in plans} >= {0.5, 1.0, 2.0, 5.0}
    assert min(plan.spacing_mm[0] for plan in plans) < 0.45
    assert max(plan.spacing_mm[0] for plan in plans) > 0.9
    cropped = next(plan for plan in plans if plan.above_mm <= -25 and plan.below_mm <= -45)
    study = make_study(3, replace(cropped, spacing_mm=(1.5, 1.5, 2.0)))
    assert 1 not in study.labels
    assert 4 in study.labels
