"""What this module installed into Slicer's Python, remembered in a small file so that it can be removed again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import slicer


def record_path() -> Path:
    """Beside the settings of this very revision of Slicer: each has a Python of its own."""
    return Path(slicer.app.slicerRevisionUserSettingsFilePath).with_suffix(".CSpineFracture-packages.json")


class InstallRecord:
    """Version by canonical name of each package that was not there before."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Empty where there is no record, or none that can be read: then nothing is removed."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))["installed"]
            return {str(name): str(version) for name, version in content.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def write(self, installed: dict[str, str]) -> None:
        """Replace the record; an empty one is deleted. Raises ``OSError``."""
        if not installed:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(self._path.name + ".part")
        partial.write_text(json.dumps({"installed": dict(sorted(installed.items()))}, indent=1), encoding="utf-8")
        os.replace(partial, self._path)
