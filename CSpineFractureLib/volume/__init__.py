"""CT comes in: DICOM, NIfTI, NRRD and MHA become a ``CTVolume``; windows; resampling.

The readers and resamplers are imported at first use: they bring SimpleITK, pydicom and scipy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.windows import BONE, THREE_BONE_WINDOWS, Window

if TYPE_CHECKING:
    from CSpineFractureLib.volume.read import read_volume
    from CSpineFractureLib.volume.resample import resample_like, resample_to

__all__ = ["BONE", "THREE_BONE_WINDOWS", "CTVolume", "Window", "read_volume", "resample_like", "resample_to"]

LATE = {"read_volume": "read", "resample_like": "resample", "resample_to": "resample"}


def __getattr__(name: str) -> object:
    if name not in LATE:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{LATE[name]}"), name)
