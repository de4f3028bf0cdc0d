"""Real CT without fractures becomes studies that the fracture networks learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_neck import a_context, a_neck

from CSpineFractureLib.datasets.corrections import read_corrections
from CSpineFractureLib.datasets.record import SliceBox
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.training.bank import TrainingStudy, load_records, sound_only
from CSpineFractureLib.training.classifier import SliceIndex
from CSpineFractureLib.training.located_columns import study_names, write_located_columns
from CSpineFractureLib.training.sound_studies import write_sound_studies
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.itk_image import itk_image


@pytest.fixture
def context() -> RunContext:
    return a_context()


def a_scan(folder: Path, name: str, is_turned: bool = False) -> Path:
    """A made neck as a file; turned: with its rows from posterior to anterior, the same patient."""
    volume, _ = a_neck(levels=7)
    hu, matrix = volume.hu, volume.ijk_to_ras.copy()
    if is_turned:
        matrix[:3, 3] += matrix[:3, 1] * (hu.shape[1] - 1)
        matrix[:3, 1] *= -1
        volume = CTVolume(hu[:, ::-1].copy(), matrix)
    path = folder / f"{name}.nii.gz"
    sitk.WriteImage(itk_image(volume.hu, volume.ijk_to_ras), str(path))
    return path


def studies_in(folder: Path) -> list[TrainingStudy]:
    return load_records(sound_only(read_corrections(folder), folder))


def test_the_column_of_a_sound_scan_is_learnt_from_as_unbroken(tmp_path, context):
    assert write_sound_studies([a_scan(tmp_path, "one")], tmp_path / "out", context) == ["one"]
    (study,) = studies_in(tmp_path / "out")
    bone = study.hu >= 300
    assert bone[study.labels > 0].mean() > 0.8
    assert (study.labels > 0)[bone].mean() > 0.6
    index = SliceIndex([study])
    assert not index.positive
    assert len(index.negative) > 60


def test_slices_are_seen_as_a_run_sees_them_however_the_file_stores_its_rows(tmp_path, context):
    scans = [a_scan(tmp_path, "plain"), a_scan(tmp_path, "turned", is_turned=True)]
    write_sound_studies(scans, tmp_path / "out", context)
    plain, turned = studies_in(tmp_path / "out")
    assert np.array_equal(plain.hu, turned.hu)
    assert np.array_equal(plain.labels, turned.labels)
    assert np.allclose(plain.centres, turned.centres)


def test_scans_without_a_column_are_left_out_and_nothing_stays_where_none_has_one(tmp_path, context):
    empty = tmp_path / "water.nii.gz"
    water = np.full((40, 70, 70), -1000, np.int16)
    water[:, 10:60, 10:60] = 0
    sitk.WriteImage(itk_image(water, np.diag([1.0, 1.0, 2.0, 1.0])), str(empty))
    assert write_sound_studies([empty, a_scan(tmp_path, "one")], tmp_path / "out", context) == ["one"]
    with pytest.raises(UserError, match="surely enough"):
        write_sound_studies([empty], tmp_path / "none", context)
    assert not list(tmp_path.glob("none*"))
    with pytest.raises(UserError, match="exists"):
        write_sound_studies([empty], tmp_path / "out", context)


def test_a_study_with_a_fracture_is_no_sound_one(tmp_path, context):
    write_sound_studies([a_scan(tmp_path, "one")], tmp_path / "out", context)
    (record,) = read_corrections(tmp_path / "out")
    box = SliceBox(3, 1.0, 1.0, 4.0, 4.0)  # beside all bone
    for other in (
        replace(record, fractured={"C3": True}),
        replace(record, boxes=[box]),
        replace(record, fractured=None),
    ):
        with pytest.raises(UserError, match=r"one.*not known to be free"):
            sound_only([other], tmp_path)


def test_two_scans_of_one_name_are_refused_before_any_is_read(tmp_path, context):
    scans = [tmp_path / place / "one.nii.gz" for place in ("a", "b")]
    with pytest.raises(UserError, match="Two scans are named 'one'"):
        write_sound_studies(scans, tmp_path / "out", context)
    with pytest.raises(UserError, match="Two scans are named 'one'"):
        write_located_columns(scans, tmp_path / "out", context, {}, None)
    assert list(tmp_path.iterdir()) == []
    assert study_names([Path("1.2.10001.nii.gz"), Path("1.2.10002.nii")]) == ["1.2.10001", "1.2.10002"]


def test_pixels_that_are_not_square_become_square(tmp_path, context):
    write_sound_studies([a_scan(tmp_path, "one")], tmp_path / "out", context)
    (record,) = read_corrections(tmp_path / "out")
    (plain,) = load_records([record])
    volume, labels = record.load_volume(), record.load_levels()
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 0] *= 2
    flat = replace(
        record,
        load_volume=lambda: CTVolume(np.ascontiguousarray(volume.hu[:, :, ::2]), matrix),
        load_levels=lambda: labels[:, :, ::2],
    )
    (again,) = load_records([flat])
    assert again.hu.shape == plain.hu.shape
    assert again.pixel_mm == plain.pixel_mm
    assert np.abs(again.centres - plain.centres).max() < 2
