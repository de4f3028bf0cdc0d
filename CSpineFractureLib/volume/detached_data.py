"""Headers of NRRD and MetaImage may name data files: only such beside them are followed."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from CSpineFractureLib.errors import UserError

HEADER_BYTES = 65536
NUMBERED = re.compile(r"([^%]*%0?\d?d[^%\s]*)\s+(\d{1,6})\s+\d{1,6}(?:\s+\d{1,6}){0,2}")
"""slice%03d.raw 1 90 1: files numbered from, to, in steps of."""
FIELD = re.compile(rb"^\s*(?:data ?file\s*:|ElementDataFile\s*=)[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


def check_data_files(path: Path) -> None:
    """Refuse a .nrrd, .nhdr, .mha or .mhd header whose data would be read from outside its own folder.

    Raises ``UserError`` where a named data file is absent, or lies or links elsewhere.
    """
    with open(path, "rb") as stream:
        head = stream.read(HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", head) if head.startswith(b"NRRD") else None
    header = head[: end.start()] if end else head
    field = FIELD.search(header)
    if field is None or field.group(1).upper() == b"LOCAL":
        return
    value = field.group(1).decode("utf-8", "replace")
    if value.upper().startswith("LIST"):
        names = header[field.end() :].decode("utf-8", "replace").splitlines()
        for name in filter(None, (name.strip() for name in names)):
            _check_name(path, name)
    elif "%" in value:
        pattern = NUMBERED.fullmatch(value)
        if pattern is None:
            raise UserError(_damaged(path))
        _check_name(path, pattern.group(1) % int(pattern.group(2)))
    else:
        _check_name(path, value)


def _check_name(path: Path, name: str) -> None:
    if not name or not name.isprintable() or len(name) > 255:
        raise UserError(_damaged(path))
    folder = path.parent.resolve()
    windows = PureWindowsPath(name)
    leaves = PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts
    data = path.parent / name
    if leaves or not data.resolve().is_relative_to(folder):
        message = f"'{path.name}' names a data file outside its folder ('{name}'); put both into one folder."
        raise UserError(message)
    if not data.is_file():
        message = f"'{path.name}' needs the data file '{name}' beside it; copy both into one folder."
        raise UserError(message)


def _damaged(path: Path) -> str:
    return f"'{path.name}' is damaged: its data file has no proper name; copy or export it again."
