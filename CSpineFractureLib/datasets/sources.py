"""The kinds of studies that can be read, by name."""

from __future__ import annotations

from pathlib import Path

from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError

SOURCES = ("rsna", "phantom", "corrections")


def check_source(source: str) -> None:
    """Raise ``UserError`` for a source that is not known."""
    if source not in SOURCES:
        message = f"--source {source} is not known; use one of {', '.join(SOURCES)}."
        raise UserError(message)


def read_source(source: str, root: Path) -> list[StudyRecord]:
    """The studies below ``root``. Raises ``UserError`` for an unknown source or a folder without studies."""
    check_source(source)
    if not root.is_dir():
        fault = "is not a folder" if root.exists() else "does not exist"
        message = f"'{root}' {fault}; name a folder of studies."
        raise UserError(message)
    if source == "rsna":
        from CSpineFractureLib.datasets.rsna_read import read_rsna as read
    elif source == "phantom":
        from CSpineFractureLib.datasets.phantoms import read_phantoms as read
    else:
        from CSpineFractureLib.datasets.corrections import read_corrections as read
    return read(root)
