"""Reviewed studies that the segmentation learns from besides: the column alone, down to what was named."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from CSpineFractureLib.datasets.mask_slices import MaskOptions
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import segmentation_more
from CSpineFractureLib.training.segmentation_images import _options, make_images
from CSpineFractureLib.training.segmentation_more import column_alone, named_slices, reviewed_columns
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.volume import CTVolume

MM = (2.0, 1.0, 1.0)


def column() -> np.ndarray:
    """A column with a thoracic vertebra lowest (k = 4) and C1 highest, one level per four slices."""
    levels = np.zeros((40, 60, 60), np.uint8)
    for n in range(8):
        levels[4 + 4 * n : 8 + 4 * n, 20:40, 20:40] = 8 - n
    return levels


def test_specks_away_from_the_column_or_from_their_level_are_taken_away():
    levels = column()
    with_specks = levels.copy()
    with_specks[38:40, 50:58, 5:30] = 2  # in the skull
    with_specks[6:8, 20:23, 20:23] = 5  # in the thoracic vertebra
    found = column_alone(with_specks, MM)
    assert (found[38:] == 0).all()
    assert (found[6:8, 20:23, 20:23] == 0).all()
    same = np.ones(levels.shape, bool)
    same[6:8, 20:23, 20:23] = False
    assert np.array_equal(found[same], levels[same])
    assert np.array_equal(column_alone(levels, MM), levels)


def test_pieces_across_a_disc_or_of_some_size_stay():
    levels = column()
    levels[15] = 0
    levels[20:24, 20:40, 28:30] = 0  # broken in two
    assert np.array_equal(column_alone(levels, MM), levels)


def test_slices_below_the_lowest_name_are_left_out_whichever_way_they_are_stored():
    levels = column()
    assert named_slices(levels, 1) == slice(4, 40)
    assert named_slices(levels[::-1], -1) == slice(0, 36)
    levels[levels == 8] = 0
    assert named_slices(levels, 1) == slice(0, 40)
    assert named_slices(np.zeros_like(levels), 1) == slice(0, 40)


@pytest.mark.parametrize(("up", "order"), [(1, (0, 1, 2)), (-1, (0, 1, 2)), (1, (2, 0, 1))])
def test_ct_and_mask_are_cut_alike_and_stay_in_place(monkeypatch, up, order):
    levels = np.ascontiguousarray(column()[::up].transpose(order))
    hu = np.where(levels > 0, 100 * levels.astype(np.int16), np.int16(-1000))
    matrix = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 2.0 * up, -50], [0, 0, 0, 1]])
    matrix = matrix[:, [*(2 - axis for axis in order[::-1]), 3]]
    known = StudyRecord("a", lambda: CTVolume(hu, matrix), lambda: levels)
    blind = StudyRecord("b", lambda: CTVolume(hu, matrix))
    monkeypatch.setattr(segmentation_more, "read_corrections", lambda root: [known, blind])
    (record,) = reviewed_columns(None)
    volume, found = record.load_volume(), record.load_levels()
    assert volume.shape_kji == found.shape == tuple((36, 60, 60)[axis] for axis in order)
    assert np.array_equal(volume.hu > 0, found > 0)
    for name in (1, 8):
        k, j, i = (axis.mean() for axis in np.nonzero(found == name))
        wanted = matrix @ [*(axis.mean() for axis in np.nonzero(levels == name)[::-1]), 1]
        np.testing.assert_allclose(volume.ijk_to_ras @ [i, j, k, 1], wanted)


def test_a_folder_without_reviewed_studies_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "CSpineFractureLib.training.segmentation_images.read_source",
        lambda source, root: [SimpleNamespace(load_levels=lambda: None)],
    )
    system = load_system("002-segmentation", True, {"data.more": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match="holds no reviewed studies"):
        make_images(system, "phantom", tmp_path, tmp_path / "images")
    assert not (tmp_path / "images").exists()
    assert isinstance(_options(system, 0), MaskOptions)
