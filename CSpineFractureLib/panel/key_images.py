"""What the slice views and the 3D view show now, as pictures for the report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer

SLICES = {"sagittal": "Yellow", "axial": "Red"}
"""Names of the pictures (see ``findings.report_page.PICTURES``) and of the views they are taken of."""


def key_images() -> dict[str, bytes]:
    """PNG files by name, of the views that are open; none in a program without views.

    Slicer writes who was scanned into the corners of its slice views: that is switched off meanwhile.
    """
    layout = slicer.app.layoutManager()
    if layout is None:
        return {}
    views = {name: layout.sliceWidget(view) for name, view in SLICES.items()}
    views = {name: widget.sliceView() for name, widget in views.items() if widget is not None and widget.visible}
    if layout.threeDViewCount:
        views["three_d"] = layout.threeDWidget(0).threeDView()
    with _without_corner_texts(), tempfile.TemporaryDirectory(prefix="cspine-views-") as folder:
        return {name: _png(view, Path(folder) / f"{name}.png") for name, view in views.items()}


def _png(view: Any, path: Path) -> bytes:
    import ScreenCapture

    ScreenCapture.ScreenCaptureLogic().captureImageFromView(view, str(path))
    return path.read_bytes()


@contextmanager
def _without_corner_texts() -> Iterator[None]:
    probe = getattr(slicer.modules, "DataProbeInstance", None)
    texts = None if probe is None else probe.infoWidget.sliceAnnotations
    if texts is None or not texts.sliceViewAnnotationsEnabled:
        yield
        return
    texts.sliceViewAnnotationsEnabled = False
    texts.updateSliceViewFromGUI()
    try:
        yield
    finally:
        texts.sliceViewAnnotationsEnabled = True
        texts.updateSliceViewFromGUI()
