"""Pictures of the panel, drawn offscreen with PySide6: ``python Testing/panel/grab_panel.py FILE [WIDTH] [dark]``.

The frame is the stand-in's (Qt style Fusion), the widgets and their content are the panel's own; the findings are
pretended. Set QT_SCALE_FACTOR=2 for a screen of double density.
"""

from __future__ import annotations

import sys
from pathlib import Path

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
    palette.setColor(QPalette.Highlight, QColor(60, 110, 170))
    QApplication.instance().setPalette(palette)


def grab(path: Path, width: int, dark: bool) -> None:
    """Analyse a made-up CT in the panel and save what the panel looks like then."""
    import stand_in

    slicer = stand_in.start()
    if dark:
        use_dark_style()
    from CSpineFractureLib.panel.self_test import OpenPanel, add_block

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
        form.resize(width, max(form.sizeHint.height(), 200))
        slicer.app.processEvents()
        opened.panel.results.refresh()
        opened.panel.results.table.step(1)
        slicer.app.processEvents()
        path.parent.mkdir(parents=True, exist_ok=True)
        form.grab().save(str(path))


if __name__ == "__main__":
    grab(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 480, "dark" in sys.argv[3:])
