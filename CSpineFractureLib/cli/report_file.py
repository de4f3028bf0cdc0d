"""Where a measuring command writes its report."""

from __future__ import annotations

import json
from pathlib import Path

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically


def check_place(*files: Path | None) -> None:
    """Raise ``UserError`` where a file could not be written later, after hours of measuring."""
    for file in files:
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            message = f"'{file}' cannot be written: name a file in a folder that exists."
            raise UserError(message)


def write_report(report: dict, file: Path | None) -> None:
    """Write a report as JSON, whole or not at all; nothing without a file. Raises ``UserError`` where that fails."""
    if file is not None:
        write_text_atomically(json.dumps(report, indent=1, ensure_ascii=False) + "\n", file)
