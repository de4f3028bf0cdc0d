"""The Slicer libraries without the Slicer program: scene, logics and offscreen views in a plain Python process."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from CSpineFractureLib.scene.terminology import terminology_file

if TYPE_CHECKING:
    from trame_slicer.core import SlicerApp

_app: SlicerApp | None = None


def headless_app() -> SlicerApp:
    """The process's one headless Slicer application, started when first asked for.

    Needs the extra ``standalone``; raises ``ImportError`` without it. Never call this inside the desktop program.
    """
    global _app
    if _app is None:
        _choose_offscreen_window()
        _leave_triton_out()
        from trame_slicer.core import SlicerApp

        _app = SlicerApp()
        _app.terminologies_logic.LoadTerminologyFromFile(str(terminology_file()))
    return _app


@contextmanager
def headless_slicer() -> Iterator[SlicerApp]:
    """The headless application with an empty scene, emptied again at the end so that its volumes free their memory."""
    app = headless_app()
    app.scene.Clear(False)
    try:
        yield app
    finally:
        app.scene.Clear(False)


def _leave_triton_out() -> None:
    """Let torch go without triton from here on: imported after the Slicer libraries it crashes the process.

    Only compiled networks need triton, and there are none here. Where torch has imported it already all is well.
    """
    sys.modules.setdefault("triton", None)


def _choose_offscreen_window() -> None:
    """Without a display, let VTK draw offscreen at once; left alone it tries the display first and complains."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    with suppress(OSError):
        ctypes.CDLL("libEGL.so.1")
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
