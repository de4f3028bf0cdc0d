"""The geometry of a NIfTI-1 or -2 header, and whether the file is all there; ITK refuses sheared matrices.

Field offsets: nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.errors import UserError

UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """``shape`` (i, j, k, ...), and ``sform`` (4x4, RAS mm) where the file has one."""

    shape: tuple[int, ...]
    sform: np.ndarray | None
    data_bytes: int
    version: int
    order: str

    @property
    def sheared(self) -> bool:
        """Whether the sform's axes are not perpendicular to each other (beyond rounding)."""
        if self.sform is None:
            return False
        axes = self.sform[:3, :3] / np.maximum(np.linalg.norm(self.sform[:3, :3], axis=0), 1e-12)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3)


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read and check a .nii or .nii.gz file's header and length.

    Raises ``UserError`` where the file is empty, no NIfTI, or shorter than its header says.
    """
    broken = f"'{path.name}' is cut off or damaged; copy or export it again."
    try:
        with _opened(path) as stream:
            head = stream.read(540)
            header = _parsed(head)
            if header is None:
                message = f"'{path.name}' is not a NIfTI file; give a CT as NIfTI, NRRD, MHA or DICOM."
                raise UserError(broken if len(head) < 352 else message)
            length = len(head)
            if path.suffix.lower() == ".gz" and not _trailer_fits(path, header.data_bytes):
                while chunk := stream.read(CHUNK):
                    length += len(chunk)
            else:
                length = header.data_bytes if path.suffix.lower() == ".gz" else path.stat().st_size
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(broken) from error
    if length < header.data_bytes:
        raise UserError(broken)
    return header


def _opened(path: Path):
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")


def _trailer_fits(path: Path, size: int) -> bool:
    """Whether the last four bytes of the gzip file (its unpacked length) agree with the header."""
    with open(path, "rb") as stream:
        stream.seek(-4, 2)
        stored = int.from_bytes(stream.read(4), "little")
    return stored == size % (1 << 32)


def _parsed(head: bytes) -> NiftiHeader | None:
    if len(head) < 348:
        return None
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0]
        if size == 348 and head[344:348] in (b"n+1\0", b"ni1\0"):
            dims = struct.unpack_from(f"{order}8h", head, 40)
            bits, (offset,) = struct.unpack_from(f"{order}h", head, 72)[0], struct.unpack_from(f"{order}f", head, 108)
            units, code = head[123], struct.unpack_from(f"{order}h", head, 254)[0]
            rows = struct.unpack_from(f"{order}12f", head, 280)
            return _built(dims, bits, offset, units, code, rows, 1, order)
        if size == 540 and head[4:8] == b"n+2\0" and len(head) >= 540:
            dims = struct.unpack_from(f"{order}8q", head, 16)
            bits, (offset,) = struct.unpack_from(f"{order}h", head, 14)[0], struct.unpack_from(f"{order}q", head, 168)
            units, code = struct.unpack_from(f"{order}i", head, 500)[0], struct.unpack_from(f"{order}i", head, 348)[0]
            rows = struct.unpack_from(f"{order}12d", head, 400)
            return _built(dims, bits, offset, units, code, rows, 2, order)
    return None


def _built(
    dims: tuple[int, ...],
    bits: int,
    offset: float,
    units: int,
    code: int,
    rows: tuple[float, ...],
    version: int,
    order: str,
) -> NiftiHeader | None:
    count = dims[0]
    if not 1 <= count <= 7 or any(size < 1 for size in dims[1 : count + 1]):
        return None
    sform = None
    if code > 0 and np.isfinite(rows).all():
        sform = np.eye(4)
        sform[:3] = np.array(rows, float).reshape(3, 4) * UNITS_MM.get(units & 7, 1.0)
    voxels = 1
    for size in dims[1 : count + 1]:
        voxels *= int(size)
    return NiftiHeader(tuple(dims[1 : count + 1]), sform, int(offset) + voxels * bits // 8, version, order)


def copy_without_matrices(path: Path, header: NiftiHeader, target: Path) -> None:
    """Write the file unpacked, its sform and qform switched off, so that ITK reads the voxels of a sheared volume."""
    codes = (252, 254) if header.version == 1 else (344, 348)
    with _opened(path) as source, open(target, "wb") as copy:
        head = bytearray(source.read(544))
        for position in codes:
            struct.pack_into(f"{header.order}{'h' if header.version == 1 else 'i'}", head, position, 0)
        copy.write(head)
        while chunk := source.read(CHUNK):
            copy.write(chunk)
