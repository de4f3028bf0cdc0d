"""Faults of the analysis process in words that help the user."""

from __future__ import annotations

import re

from slicer.i18n import tr as _

#: Imported name to the name of its package, where they differ.
_PACKAGES = {"PIL": "pillow", "skimage": "scikit-image", "yaml": "PyYAML"}

#: What Linux, macOS, Windows and, last, numpy say of a full disk.
_FULL_DISK = re.compile(
    r"No space left on device|Errno 28|not enough space on the disk|WinError 112|\d+ requested and \d+ written"
)


def plain_failure(text: str) -> str:
    """One plain sentence for what a process reported; unknown faults keep their own text."""
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing:
        name = missing.group(1).partition(".")[0]
        name = _PACKAGES.get(name, name)
        if name in ("torch", "torchvision"):
            text = _("{name} is not installed in Slicer: press Install in the section Setup, then Apply again.")
        else:
            text = _(
                "The Python package {name} is not installed in Slicer: press Install in the section Setup, then Apply"
                " again."
            )
        return text.format(name=name)
    if re.search(r"module 'torch' has no attribute|DLL load failed|libtorch\w*\.so", text):
        return _("torch is installed only in part: press Install in the section Setup, which replaces it.")
    if _FULL_DISK.search(text):
        return _("The disk for temporary files is full: free some space and press Apply again.")
    return text


def time_left(seconds: float) -> str:
    """``about 20 s left``, rounded so that it does not flicker."""
    if seconds < 60:
        return _("about {count} s left").format(count=max(5, 5 * round(seconds / 5)))
    return _("about {count} min left").format(count=round(seconds / 60))
