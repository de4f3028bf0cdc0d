"""Fractures put into a given CT with a mask: the bone is torn where the truth says and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from CSpineFractureLib.datasets.inserted import make_inserted
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.phantom.files import make_studies
from CSpineFractureLib.phantom.insert import insert_fractures
from CSpineFractureLib.phantom.mask_frame import vertebra_from_mask
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.volume.itk_image import itk_image

SOUND = StudyPlan(
    spacing_mm=(0.8, 0.8, 1.0), fractures=(), mimics=(), width_mm=100, depth_mm=110, above_mm=12, below_mm=2
)


@pytest.fixture(scope="module")
def a_scan():
    """A CT with a mask stands in for a real one: the code sees voxels and labels only."""
    return make_study(31, SOUND)


@pytest.mark.parametrize("level", ["C1", "C2", "C4", "C7"])
def test_the_frame_of_a_vertebra_is_found_from_its_mask(a_scan, level):
    v = vertebra_from_mask(a_scan.labels, a_scan.ijk_to_ras, level)
    truth = np.array(a_scan.centres_ras[level])
    assert np.linalg.norm(v.centre - truth) < 6
    assert v.axes @ v.axes.T == pytest.approx(np.eye(3), abs=1e-6)
    assert v.axes[0][0] > 0.85
    assert v.axes[2][2] > 0.7


@pytest.mark.parametrize(("level", "kind"), [("C1", "jefferson"), ("C2", "dens-2"), ("C5", "burst"), ("C6", "lamina")])
def test_a_fracture_is_put_where_the_truth_says(a_scan, level, kind):
    done = insert_fractures(a_scan.hu, a_scan.labels, a_scan.ijk_to_ras, ((level, kind),), seed=4, hairline_rate=0)
    (truth,) = done.fractures
    assert (truth.level, truth.type) == (level, kind)
    changed = done.hu != a_scan.hu
    assert changed.any()
    gap = (done.fracture_mask > 0) & (a_scan.labels > 0)
    assert a_scan.hu[gap].mean() - done.hu[gap].mean() > 100, "a gap is darker than the bone it was"
    k, j, i = np.nonzero(changed)
    ras = np.stack([i, j, k, np.ones_like(i)], axis=1) @ a_scan.ijk_to_ras.T
    own = a_scan.labels == int(level[1])
    ko, jo, io = np.nonzero(own)
    bone = (np.stack([io, jo, ko, np.ones_like(io)], axis=1) @ a_scan.ijk_to_ras.T)[:, :3]
    assert (ras[:, :3] > bone.min(axis=0) - 8).all()
    assert (ras[:, :3] < bone.max(axis=0) + 8).all()
    others = (a_scan.labels > 0) & ~own
    np.testing.assert_array_equal(done.hu[others], a_scan.hu[others])
    np.testing.assert_array_equal(done.labels[others], a_scan.labels[others])


@pytest.mark.parametrize(("level", "kind"), [("C1", "jefferson"), ("C4", "spinous"), ("C5", "burst"), ("C5", "wedge")])
def test_thick_slices_show_the_mean_of_what_thin_ones_show(a_scan, level, kind):
    count = len(a_scan.hu) // 3 * 3
    slabs = lambda hu: hu[:count].reshape(-1, 3, *hu.shape[1:]).mean(axis=1)  # noqa: E731
    thick, labels, matrix = slabs(a_scan.hu), a_scan.labels[1:count:3], np.array(a_scan.ijk_to_ras, float)
    matrix[:3, 3] += matrix[:3, 2]
    matrix[:3, 2] *= 3
    broken = ((level, kind),)
    thin = insert_fractures(a_scan.hu, a_scan.labels, a_scan.ijk_to_ras, broken, seed=4, hairline_rate=0)
    coarse = insert_fractures(np.rint(thick).astype(np.int16), labels, matrix, broken, seed=4, hairline_rate=0)
    wanted, made = slabs(thin.hu) - thick, coarse.hu - thick
    changed = (np.abs(wanted) > 20) | (np.abs(made) > 20)
    assert np.corrcoef(wanted[changed], made[changed])[0, 1] > 0.93


@pytest.mark.parametrize(("level", "kind"), [("C1", "jefferson"), ("C4", "spinous")])
def test_bone_that_moves_is_not_lost(a_scan, level, kind):
    done = insert_fractures(a_scan.hu, a_scan.labels, a_scan.ijk_to_ras, ((level, kind),), seed=4, hairline_rate=0)
    change = done.hu.astype(float) - a_scan.hu
    assert abs(change.sum()) < 0.1 * np.abs(change).sum()


def test_the_same_seed_breaks_alike_and_a_missing_level_is_refused(a_scan):
    first, again = (
        insert_fractures(a_scan.hu, a_scan.labels, a_scan.ijk_to_ras, (("C5", None),), seed=9) for _ in range(2)
    )
    np.testing.assert_array_equal(first.hu, again.hu)
    without = np.where(a_scan.labels == 3, 0, a_scan.labels).astype(np.uint8)
    with pytest.raises(UserError, match="C3"):
        insert_fractures(a_scan.hu, without, a_scan.ijk_to_ras, (("C3", None),), seed=9)
    with pytest.raises(UserError, match="grid of the CT"):
        insert_fractures(a_scan.hu, a_scan.labels[1:], a_scan.ijk_to_ras, (("C3", None),), seed=9)


def test_a_mask_on_another_grid_is_brought_onto_the_ct(tmp_path):
    plan = StudyPlan(
        spacing_mm=(1.2, 1.2, 1.5), fractures=(), mimics=(), width_mm=100, depth_mm=110, above_mm=12, below_mm=2
    )
    (folder,) = make_studies(tmp_path / "in", [31], lambda seed: plan)
    turned = sitk.DICOMOrient(sitk.ReadImage(str(folder / "vertebrae.nii.gz")), "PIR")
    sitk.WriteImage(turned, str(tmp_path / "turned.nii.gz"))
    out = tmp_path / "out"
    (made,) = make_inserted(folder / "ct.nii.gz", tmp_path / "turned.nii.gz", out, [3], (("C4", "burst"),))
    before = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "ct.nii.gz")))
    after = sitk.GetArrayFromImage(sitk.ReadImage(str(made / "ct.nii.gz")))
    fractures = sitk.GetArrayFromImage(sitk.ReadImage(str(made / "fractures.nii.gz")))
    assert before.shape == after.shape
    assert set(np.unique(fractures)) == {0, 4}
    assert (before != after).any()


def test_the_segments_of_a_run_serve_as_a_mask(tmp_path, a_scan):
    image = itk_image(a_scan.hu, np.array(a_scan.ijk_to_ras))
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    mask = itk_image(a_scan.labels, np.array(a_scan.ijk_to_ras))
    sitk.WriteImage(mask, str(tmp_path / "mask.nii.gz"))
    for number, level in enumerate(LEVELS):
        mask.SetMetaData(f"Segment{number}_Name", level)
        mask.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
    sitk.WriteImage(mask, str(tmp_path / "vertebrae.seg.nrrd"))
    made = [
        make_inserted(tmp_path / "ct.nii.gz", tmp_path / name, tmp_path / name.split(".")[0], [3], (("C4", "burst"),))
        for name in ("mask.nii.gz", "vertebrae.seg.nrrd")
    ]
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "ct.nii.gz"))) for (folder,) in made)
    np.testing.assert_array_equal(one, other)
    sitk.WriteImage(image[:, :, 3:], str(tmp_path / "short.nii.gz"))
    with pytest.raises(UserError, match="does not lie on the grid"):
        make_inserted(tmp_path / "short.nii.gz", tmp_path / "vertebrae.seg.nrrd", tmp_path / "no", [3], None)
    assert not (tmp_path / "no").exists()
