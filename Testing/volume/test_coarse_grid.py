import numpy as np
import pytest

from CSpineFractureLib.volume.coarse_grid import (
    GRID_MM,
    coarse_hu,
    coarse_labels,
    coarse_shape,
    from_coarse,
    to_coarse,
)


@pytest.mark.parametrize("spacing_mm", [(0.45, 0.45, 0.8), (4.0, 4.0, 2.5), (3.0, 2.0, 2.0)])
def test_a_slope_stays_a_slope_in_mm_whatever_the_voxels(spacing_mm):
    shape = tuple(max(8, round(60 / s)) for s in spacing_mm[::-1])
    height, depth, side = (np.arange(n) * s for n, s in zip(shape, spacing_mm[::-1], strict=True))
    hu = (10 * height[:, None, None] - 4 * depth[None, :, None] + 2 * side[None, None, :]).astype(np.int16)
    coarse = coarse_hu(hu, spacing_mm).astype(float)
    inside = tuple(slice(3, -3) for _ in range(3))
    for axis, slope in enumerate((10, -4, 2)):
        steps = np.diff(coarse, axis=axis)[inside]
        assert np.allclose(steps.mean(), slope * GRID_MM[axis], atol=0.2)
        assert np.abs(steps - slope * GRID_MM[axis]).max() <= 2 * abs(slope) + 2


def test_a_point_goes_to_the_coarse_grid_and_back():
    spacing_mm = (0.45, 0.6, 1.25)
    points = np.array([[0.0, 0, 0], [10.5, 200, 31]])
    assert np.allclose(from_coarse(to_coarse(points, spacing_mm), spacing_mm), points)


def test_labels_stand_where_their_points_are():
    spacing_mm = (1.0, 1.0, 1.0)
    labels = np.zeros((40, 40, 60), np.uint8)
    labels[12:20, 8:16, 30:42] = 5
    coarse = coarse_labels(labels, spacing_mm)
    assert coarse.shape == coarse_shape(labels.shape, spacing_mm) == (20, 20, 20)
    assert np.array_equal(np.unique(coarse), [0, 5])
    middle = np.argwhere(coarse == 5).mean(axis=0)
    assert np.allclose(from_coarse(middle, spacing_mm), np.argwhere(labels == 5).mean(axis=0), atol=1.0)


def test_values_beyond_bone_and_air_are_clipped():
    hu = np.full((8, 8, 8), 32000, np.int16)
    hu[:4] = -32000
    assert {int(coarse_hu(hu, (2.0, 2.0, 2.0)).min()), int(coarse_hu(hu, (2.0, 2.0, 2.0)).max())} == {-1024, 2000}
