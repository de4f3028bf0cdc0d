"""Voxels of a NIfTI file that are not numbers; ITK's reader turns them into 0 without a word.

Field offsets and type codes: nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from CSpineFractureLib.volume.nifti_header import NiftiHeader

FLOAT_TYPES = {16: "f4", 64: "f8"}
CHUNK = 1 << 22


def count_not_numbers(path: Path, header: NiftiHeader) -> int:
    """How many voxels of a whole .nii or .nii.gz file are NaN or infinite; 0 at once where it stores integers."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as stream:
        head = stream.read(352)
        code = struct.unpack_from(f"{header.order}h", head, 70 if header.version == 1 else 12)[0]
        if code not in FLOAT_TYPES:
            return 0
        kind = np.dtype(f"{header.order}{FLOAT_TYPES[code]}")
        voxels = int(np.prod(header.shape, dtype=np.int64))
        stream.seek(header.data_bytes - voxels * kind.itemsize)
        bad = 0
        while voxels > 0 and (data := stream.read(min(CHUNK, voxels * kind.itemsize))):
            values = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
            voxels -= values.size
    return bad
