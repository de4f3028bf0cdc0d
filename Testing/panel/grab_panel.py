"""Pictures of the panel, drawn offscreen: ``python Testing/panel/grab_panel.py FILE [WIDTH] [dark] [SECTION ...]``.

SECTION is the first word of a section's widget, such as ``export`` or ``radiograph``: then only these are open.
The frame is the stand-in's (Qt style Fusion), the widgets and their content are the panel's own; the findings are
pretended. Set QT_SCALE_FACTOR=2 for a screen of double density.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "qt_stand_in"), str(HERE.parents[1])]


def use_dark_style() -> None:
    """The colours of a dark desktop."""
    from PySide6.QtGui import QColor, QPalette
    from PySide6.QtWidgets import QApplication

    palette, dark, light = QPalette(), QColor(45, 45, 45), QColor(225, 225, 225)
    for role in (QPalette.Window, QPalette.Button, QPalette.ToolTipBase):
        palette.setColor(role, dark)
    palette.setColor(QPalette.Base, QColor(30, 30, 30))
    palette.setColor(QPalette.AlternateBase, QColor(38, 38, 38))
    for role in (QPalette.WindowText, QPalette.Text, QPalette.ButtonText, QPalette.ToolTipText):
        palette.setColor(role, light)
        palette.setColor(QPalette.Disabled, role, QColor(120, 120, 120))
    palette.setColor(QPalette.Highlight, QColor(60, 110, 170))
    QApplication.instance().setPalette(palette)


def open_only(ui: Any, sections: list[str]) -> None:
    """Open these sections and close all others."""
    wanted = {f"{section}CollapsibleButton" for section in sections}
    for name, widget in vars(ui).items():
        if name.endswith("CollapsibleButton"):
            widget.collapsed = name not in wanted


def pretend_radiograph(scene: Any) -> None:
    """Add a radiograph with made-up findings to the scene."""
    import numpy as np

    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.findings.study_result import RadiographFinding, StudyFinding, StudyResult, VolumeInfo
    from CSpineFractureLib.notice import Notice
    from CSpineFractureLib.scene.radiograph_nodes import add_radiograph
    from CSpineFractureLib.volume.ct_volume import CTVolume

    picture = CTVolume(np.zeros((1, 60, 50), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
    info = VolumeInfo([1, 60, 50], [1.0, 1.0, 1.0], picture.ijk_to_ras.tolist())
    finding = RadiographFinding("fracture", {"normal": 0.21, "fracture": 0.72, "dislocation": 0.07})
    result = StudyResult(
        "pretended", "2026-01-01T00:00:00Z", "0.1.0", "complete", info, "radiograph", "cpu", StudyFinding(None, "none")
    )
    result.radiograph = finding
    message = "The file does not tell the size of its pixels: 1 mm stands in the result, so measure nothing there."
    result.warnings = [Notice("no-pixel-size", message)]
    saliency = np.zeros(picture.shape_kji, np.uint8)
    add_radiograph(scene, picture, StudyOutput(result, saliency, saliency), "neck lateral", 1000)


def grab(path: Path, width: int, dark: bool, sections: list[str]) -> None:
    """Analyse a made-up CT in the panel and save what the panel looks like then."""
    import stand_in

    slicer = stand_in.start()
    if dark:
        use_dark_style()
    from CSpineFractureLib.panel.self_test_panel import OpenPanel, add_block

    slicer.mrmlScene.Clear(False)
    node = add_block(slicer.mrmlScene, "CT neck")
    with OpenPanel(slicer.mrmlScene) as opened:
        opened.pretend()
        opened.panel.parameters.inputVolume = node
        form = opened.form
        form.resize(width, 900)
        form.show()
        opened.analyse()
        opened.wait(lambda: "Will use" in opened.ui.deviceLine.text)
        opened.panel.results.refresh()
        opened.panel.results.table.step(1)
        if sections:
            open_only(opened.ui, sections)
        if "radiograph" in sections:
            pretend_radiograph(slicer.mrmlScene)
            opened.ui.radiographPath.currentPath = "neck lateral.png"
        slicer.app.processEvents()
        form.resize(width, max(form.sizeHint.height(), 200))
        slicer.app.processEvents()
        opened.panel.results.refresh()
        opened.panel.results.table.step(1)
        slicer.app.processEvents()
        path.parent.mkdir(parents=True, exist_ok=True)
        quality = 74 if path.suffix == ".jpg" else -1
        form.grab().save(str(path), None, quality)


if __name__ == "__main__":
    words = sys.argv[3:]
    width = int(sys.argv[2]) if len(sys.argv) > 2 else 480
    grab(Path(sys.argv[1]), width, "dark" in words, [word for word in words if word != "dark"])
