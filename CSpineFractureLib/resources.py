"""Where the project's own files lie: source tree, Slicer build or package, and installed wheel."""

from __future__ import annotations

from pathlib import Path


def resource_path(relative: str) -> Path:
    """Path of a file under ``Resources/``, given relative to it.

    Looked for, in this order: inside the package (wheel: ``CSpineFractureLib/Resources``) and beside the package
    (source tree, and the module folder of a Slicer build or package). Raises ``FileNotFoundError`` if neither has it.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "Resources", package.parent / "Resources"):
        candidate = root / relative
        if candidate.exists():
            return candidate
    message = f"Resources/{relative} is missing from this installation of CSpineFracture."
    raise FileNotFoundError(message)
