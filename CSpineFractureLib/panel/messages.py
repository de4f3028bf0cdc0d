"""Faults of the analysis process in words that help the user."""

from __future__ import annotations

import re

#: Imported name to the name of its package, where they differ.
_PACKAGES = {"PIL": "pillow", "skimage": "scikit-image", "yaml": "PyYAML"}


def plain_failure(text: str) -> str:
    """One plain sentence for what a process reported; unknown faults keep their own text."""
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing:
        name = missing.group(1).partition(".")[0]
        name = _PACKAGES.get(name, name)
        if name in ("torch", "torchvision"):
            return f"{name} is not installed in Slicer: install it with the PyTorch extension and press Apply again."
        return f"The Python package {name} is not installed in Slicer: install it and press Apply again."
    if re.search(r"module 'torch' has no attribute|DLL load failed|libtorch\w*\.so", text):
        return "torch is installed only in part: uninstall it with the PyTorch extension and install it again."
    if re.search(r"No space left on device|Errno 28|not enough space on the disk|WinError 112", text):
        return "The disk for temporary files is full: free some space and press Apply again."
    return text


def time_left(seconds: float) -> str:
    """``about 20 s left``, rounded so that it does not flicker."""
    if seconds < 60:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    return f"about {round(seconds / 60)} min left"
