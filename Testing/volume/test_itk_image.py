"""NIfTI files are whole, or an error."""

from __future__ import annotations

import contextlib
import errno

import numpy as np
import pytest
import SimpleITK as sitk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.files import write_study
from CSpineFractureLib.phantom.study import PhantomStudy
from CSpineFractureLib.volume.itk_image import itk_image, write_whole

resource = pytest.importorskip("resource", reason="this system knows no limits of file sizes")


@contextlib.contextmanager
def files_of_at_most(size):
    """A disk that is full after ``size`` bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(shape=(20, 30, 40)):
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii"])
def test_a_file_that_the_disk_cuts_off_is_an_error(tmp_path, name):
    image = itk_image(noise(), np.diag([-1.0, -1.0, 2.0, 1.0]))
    with files_of_at_most(9000), pytest.raises(OSError, match=name) as caught:
        write_whole(image, tmp_path / name)
    assert caught.value.errno == errno.ENOSPC
    write_whole(image, tmp_path / name)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))), noise())


def test_a_phantom_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    hu = noise()
    empty = np.zeros(hu.shape, np.uint8)
    study = PhantomStudy(1, hu, empty, empty, np.eye(4), {})
    with files_of_at_most(9000), pytest.raises(UserError, match=r"phantom_000001' cannot be written"):
        write_study(study, tmp_path / "phantom_000001")
    assert list(tmp_path.iterdir()) == []
    write_study(study, tmp_path / "phantom_000001")
    assert (tmp_path / "phantom_000001" / "ct.nii.gz").is_file()
