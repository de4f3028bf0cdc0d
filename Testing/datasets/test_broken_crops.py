"""Blocks of broken and of whole vertebrae, as the 3D fracture network learns from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from CSpineFractureLib.cli.app import app
from CSpineFractureLib.datasets.broken_crops import BLOCK_MM, write_broken_crops
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.files import make_studies
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.training.bank import load_studies

PLAN = StudyPlan(spacing_mm=(0.9, 0.9, 1.5), fractures=(), mimics=(), width_mm=110, depth_mm=110, above_mm=12)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    make_studies(folder, [41], lambda seed: PLAN)
    return folder


@pytest.fixture(scope="module")
def blocks(sound, tmp_path_factory):
    out = tmp_path_factory.mktemp("blocks") / "out"
    done = CliRunner().invoke(app, ["dataset", "broken", str(sound), "-o", str(out), "--n", "3", "--whole", "2"])
    assert done.exit_code == 0, done.output
    return load_studies(out)


def test_so_many_blocks_are_broken_and_so_many_whole(blocks):
    assert [bool(study.fracture.any()) for study in blocks].count(False) == 2
    assert 1 <= [bool(study.fracture.any()) for study in blocks].count(True) <= 3


def test_blocks_show_one_vertebra_and_its_surroundings(blocks):
    for study in blocks:
        size = np.array(study.hu.shape) * [study.slice_mm, study.pixel_mm, study.pixel_mm]
        assert (size <= np.array(BLOCK_MM) + 2).all()
        assert size[0] > 0.4 * BLOCK_MM[0]
        assert study.labels.any()


def test_thoracic_vertebrae_can_be_broken_too(sound, tmp_path):
    source = next(sound.iterdir())
    labels = sitk.ReadImage(str(source / "vertebrae.nii.gz"))
    moved = sitk.GetArrayFromImage(labels)
    moved[moved > 0] += 7
    image = sitk.GetImageFromArray(moved)
    image.CopyInformation(labels)
    study = tmp_path / "chest"
    study.mkdir()
    sitk.WriteImage(image, str(study / "vertebrae.nii.gz"))
    (study / "ct.nii.gz").write_bytes((source / "ct.nii.gz").read_bytes())
    assert write_broken_crops([study], tmp_path / "out", 2, 0, seed=1) >= 1
    truth = json.loads(next((tmp_path / "out").glob("*/truth.json")).read_text(encoding="utf-8"))
    assert truth["fractures"][0]["level"] == "C6"


def test_a_mask_without_a_whole_vertebra_gets_one_sentence_and_leaves_nothing(sound, tmp_path):
    source = next(sound.iterdir())
    labels = sitk.ReadImage(str(source / "vertebrae.nii.gz"))
    study = tmp_path / "empty"
    study.mkdir()
    sitk.WriteImage(labels * 0, str(study / "vertebrae.nii.gz"))
    (study / "ct.nii.gz").write_bytes((source / "ct.nii.gz").read_bytes())
    with pytest.raises(UserError, match="no vertebra is whole in the mask"):
        write_broken_crops([study], tmp_path / "out", 1, 1, seed=0)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_studies_is_named(tmp_path):
    done = CliRunner().invoke(app, ["dataset", "broken", str(tmp_path), "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, UserError)
    assert "holds ct.nii.gz and vertebrae.nii.gz" in str(done.exception)
