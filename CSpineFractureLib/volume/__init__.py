"""CT comes in: DICOM, NIfTI, NRRD and MHA become a ``CTVolume``; windows; resampling."""

from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.read import read_volume
from CSpineFractureLib.volume.resample import resample_like, resample_to
from CSpineFractureLib.volume.windows import BONE, THREE_BONE_WINDOWS, Window

__all__ = ["BONE", "THREE_BONE_WINDOWS", "CTVolume", "Window", "read_volume", "resample_like", "resample_to"]
