"""An output folder that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from CSpineFractureLib.errors import UserError

#: Everything a run may write, at the top of its output folder.
OUTPUT_NAMES = frozenset(
    {
        "result.json",
        "findings.csv",
        "scene.mrb",
        "vertebrae.seg.nrrd",
        "boxes.mrk.json",
        "gradcam.nrrd",
        "gradcam",
        "saliency.png",
        "saliency.nrrd",
        "views",
    }
)

#: Temporary folders of a run; one that was killed outright may leave one, which is not taken for a user's file.
HIDDEN_PREFIX = ".cspine-"

_DISK_FAULTS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EROFS", "EACCES", "EPERM", "EDQUOT", "EFBIG", "ENAMETOOLONG", "EIO", "ENOTDIR")
    if hasattr(errno, name)
)


def check_output_folder(folder: str | Path, overwrite: bool = False) -> Path:
    """Check, before any work, that ``folder`` can take a run's files; returns it with links resolved.

    It may be absent, empty, or hold only the files of an earlier run, which the new ones will replace. With
    ``overwrite`` it may hold other files too; they stay. Raises ``UserError`` otherwise, or when one may not write
    there. Nothing is left behind by the check.
    """
    folder = Path(folder)
    try:
        folder = folder.resolve()
        if os.path.lexists(folder):
            _check_existing(folder, overwrite)
        _check_writable(next(place for place in (folder, *folder.parents) if os.path.lexists(place)))
    except (OSError, RuntimeError) as error:
        raise _not_writable(folder, error) from error
    return folder


@contextmanager
def all_or_nothing(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the place of ``folder`` when the block ends well.

    It lies beside a ``folder`` that is still absent and is renamed; it lies hidden inside one that exists (which may
    be a mount point, in a place where one may not write), and its files are moved. If the block raises, or the
    process is interrupted, the temporary folder is removed and ``folder`` is what it was. An ``OSError`` that tells of
    the disk (full, read-only, quota, ...) becomes ``UserError``.
    """
    folder = check_output_folder(folder, overwrite)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    temporary: Path | None = None
    committed = False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = folder if folder.exists() else folder.parent
        temporary = Path(tempfile.mkdtemp(dir=place, prefix=HIDDEN_PREFIX, suffix=".partial"))
        yield temporary
        _give_usual_permissions(temporary)
        _commit(temporary, folder)
        committed = True
    except UserError as error:  # a file could not be written: name it as the user knows it
        raise UserError(str(error).replace(str(temporary or folder), str(folder))) from error
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        raise _not_writable(folder, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not committed:
            for parent in new_parents:  # the innermost first; only those this call made, and only if empty
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _check_existing(folder: Path, overwrite: bool) -> None:
    if not folder.is_dir():
        message = f"{folder} is a file: name a folder for the output with -o."
        raise UserError(message)
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(HIDDEN_PREFIX)}
    if names and not overwrite and not (names <= OUTPUT_NAMES and _is_our_result(folder / "result.json")):
        message = (
            f"{folder} holds other files than those of an earlier run: name a new or empty folder, or add --overwrite."
        )
        raise UserError(message)


def _is_our_result(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and str(document.get("schema", "")).startswith("cspine-result/")


def _check_writable(folder: Path) -> None:
    """By trying: permissions, read-only disks and file systems like ``/proc`` all show themselves that way."""
    os.rmdir(tempfile.mkdtemp(dir=folder, prefix=HIDDEN_PREFIX))


def _commit(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``, or move its files there if it exists; on failure the old files are back."""
    if not folder.exists():
        os.rename(temporary, folder)
        return
    backup = Path(tempfile.mkdtemp(dir=folder, prefix=HIDDEN_PREFIX, suffix=".old"))
    moved_out: list[str] = []
    moved_in: list[str] = []
    try:
        for name in sorted(entry.name for entry in folder.iterdir() if entry.name in OUTPUT_NAMES):
            os.rename(folder / name, backup / name)
            moved_out.append(name)
        for name in sorted(entry.name for entry in temporary.iterdir()):
            os.rename(temporary / name, folder / name)
            moved_in.append(name)
    except BaseException:
        for name in moved_in:
            os.rename(folder / name, temporary / name)
        for name in moved_out:
            os.rename(backup / name, folder / name)
        raise
    finally:
        shutil.rmtree(backup, ignore_errors=True)


def _give_usual_permissions(folder: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(folder, 0o777 & ~mask)


def _not_writable(folder: Path, error: BaseException) -> UserError:
    cause = getattr(error, "strerror", None) or str(error)
    return UserError(f"{folder} cannot be written ({cause}): choose another folder with -o, on a disk with free space.")
