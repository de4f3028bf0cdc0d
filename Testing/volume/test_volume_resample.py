"""Resampling keeps things where they are."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import axial_matrix

from CSpineFractureLib.volume import CTVolume, resample_like, resample_to


def slope_volume(matrix, shape=(14, 16, 18)):
    """HU = 2 R + 3 A - 4 S: linear interpolation must give it back exactly."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    ras = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    return CTVolume(hu=np.rint(ras @ [2, 3, -4]).astype(np.int16), ijk_to_ras=matrix)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 3.0), (2.0, 2.0, 2.0)])
def test_a_linear_field_survives_any_spacing(spacing):
    volume = resample_to(slope_volume(axial_matrix((1.0, 1.2, 2.0), (10, 20, 30))), spacing)
    assert volume.spacing_mm == pytest.approx(spacing)
    assert volume.grid == "resampled"
    inner = np.argwhere(volume.hu > -1024)
    inner = inner[((inner > 1) & (inner < np.array(volume.shape_kji) - 3)).all(axis=1)]
    assert len(inner) > 100
    expected = volume.ras_of(inner[:, ::-1]) @ [2, 3, -4]
    np.testing.assert_allclose(volume.hu[tuple(inner.T)], expected, atol=1.6)


def test_the_field_of_view_is_kept():
    volume = slope_volume(axial_matrix((1.0, 1.2, 2.0)))
    finer = resample_to(volume, (0.5, 0.6, 1.0))
    assert finer.shape_kji == (28, 32, 36)
    corner = np.array([-0.5, -0.5, -0.5])
    np.testing.assert_allclose(finer.ras_of(corner), volume.ras_of(corner), atol=1e-9)


def test_an_own_grid_gives_the_volume_back():
    volume = slope_volume(axial_matrix())
    again = resample_like(volume, volume.ijk_to_ras, volume.shape_kji)
    np.testing.assert_array_equal(again.hu, volume.hu)


def test_outside_of_the_volume_is_air():
    volume = slope_volume(axial_matrix())
    far = volume.ijk_to_ras.copy()
    far[:3, 3] += 500
    assert (resample_like(volume, far, (4, 4, 4)).hu == -1024).all()
