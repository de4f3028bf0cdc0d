"""A .zip of DICOM files or of one image file, unpacked safely into a private folder that is removed afterwards."""

from __future__ import annotations

import contextlib
import errno
import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from CSpineFractureLib.errors import UserError

MAX_BYTES = 8 * 1024**3
MAX_FILES = 50_000


@contextlib.contextmanager
def unpacked(path: Path, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Iterator[Path]:
    """A temporary folder (mode 0700) with the archive's files, gone at the end of the block.

    Raises ``UserError`` for a damaged or encrypted archive, for members that would leave the folder (absolute paths,
    ``..``, links), and for more files or bytes than a CT study has.
    """
    with tempfile.TemporaryDirectory(prefix="cspine-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                _check(path, members, max_bytes, max_files, shutil.disk_usage(folder).free)
                for member in members:
                    if "__MACOSX" not in PurePosixPath(member.filename).parts:
                        archive.extract(member, folder)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            NotImplementedError,
            OSError,
            ValueError,
        ) as error:
            if isinstance(error, PermissionError):
                message = f"'{path.name}' may not be read; ask for the permission or copy it elsewhere."
            elif getattr(error, "errno", None) == errno.ENOSPC:
                message = f"'{path.name}' does not fit into the temporary folder; free some disk space."
            else:
                message = f"'{path.name}' is not a sound .zip file (cut off or damaged); copy or export it again."
            raise UserError(message) from error
        yield Path(folder)


def _check(path: Path, members: list[zipfile.ZipInfo], max_bytes: int, max_files: int, free: int) -> None:
    if not members:
        message = f"'{path.name}' is an empty .zip file; give one with the DICOM files of a CT."
        raise UserError(message)
    if len(members) > max_files:
        message = f"'{path.name}' has {len(members)} files, more than {max_files}; give one study at a time."
        raise UserError(message)
    size = sum(member.file_size for member in members)
    if size > max_bytes:
        message = (
            f"'{path.name}' would unpack to {size / 1024**3:.1f} GiB, more than {max_bytes / 1024**3:.1f} GiB; "
            f"give one study at a time."
        )
        raise UserError(message)
    if size > free:
        message = f"'{path.name}' needs {size / 1024**3:.1f} GiB of temporary space; free some disk space."
        raise UserError(message)
    for member in members:
        if member.flag_bits & 1:
            message = f"'{path.name}' is protected by a password; give it unpacked or without one."
            raise UserError(message)
        if _climbs_out(member):
            message = (
                f"'{path.name}' is a zip that climbs out of its folder (member '{member.filename}'); "
                f"make a new .zip of the DICOM folder."
            )
            raise UserError(message)


def _climbs_out(member: zipfile.ZipInfo) -> bool:
    name = member.filename
    if stat.S_ISLNK(member.external_attr >> 16):
        return True
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return posix.is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts
