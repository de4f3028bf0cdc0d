"""What the panel looks like: nothing is cut off where it is narrow, in a light and a dark style, at 1x and 2x."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NARROW = 400


@pytest.fixture
def narrow(a_panel):
    """The panel with findings, 400 pixels wide, with every section open."""
    sys.path.append(str(HERE))
    from grab_panel import open_only, pretend_radiograph

    a_panel.analyse()
    pretend_radiograph(a_panel.scene)
    a_panel.panel.radiograph.refresh()
    a_panel.panel.correct.files._reviewed = Path("/somewhere/reviewed studies of the second year")
    a_panel.panel.correct.files._open(True)
    a_panel.form.resize(NARROW, 900)
    a_panel.form.show()
    open_only(a_panel.ui, [name.removesuffix("CollapsibleButton") for name in vars(a_panel.ui)])
    settle(a_panel)
    return a_panel


def settle(panel):
    from CSpineFractureLib.panel.self_test_panel import slicer

    for _ in range(4):
        slicer.app.processEvents()
        panel.form.resize(NARROW, panel.form.sizeHint.height())
        panel.panel.results.refresh()


def cut_off(panel):
    """What is too narrow or too low for its text, or lies beyond the right edge of the panel."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtWidgets import QAbstractButton, QLabel, QWidget

    form, found = panel.form._object, []
    for name, wrapped in vars(panel.ui).items():
        widget = wrapped._object
        if not isinstance(widget, QWidget) or not widget.isVisible() or "Collapsible" in name:
            continue
        if widget.mapTo(form, QPoint(widget.width(), 0)).x() > form.width():
            found.append(f"{name} beyond the edge")
        if isinstance(widget, QLabel) and widget.text():
            if widget.wordWrap():
                room = widget.contentsRect()
                needed = widget.fontMetrics().boundingRect(0, 0, room.width(), 10**5, Qt.TextWordWrap, widget.text())
                if needed.height() > room.height() + 1 or needed.width() > room.width() + 1:
                    found.append(f"{name}: {widget.text()}")
            elif widget.width() < widget.sizeHint().width():
                found.append(f"{name}: {widget.text()}")
        if isinstance(widget, QAbstractButton) and widget.width() < widget.minimumSizeHint().width():
            found.append(f"{name}: {widget.text()}")
    return found


def test_no_text_is_cut_off_in_a_narrow_panel(narrow):
    assert narrow.form.width == NARROW
    assert narrow.form.minimumSizeHint.width() <= NARROW
    assert cut_off(narrow) == []
    narrow.ui.applyButton.setText("A button with a text that cannot fit into a panel of four hundred pixels, ever")
    settle(narrow)
    assert narrow.form.minimumSizeHint.width() > NARROW


def test_the_rows_of_the_table_show_every_cell_in_full(narrow):
    table = narrow.ui.findingsTable._object
    assert not table.horizontalScrollBar().isVisible()
    metrics = table.fontMetrics()
    for row in range(table.rowCount()):
        for column in range(table.columnCount()):
            item, icon = table.item(row, column), table.iconSize().width() if column == 1 else 0
            assert metrics.horizontalAdvance(item.text()) + icon <= table.columnWidth(column), item.text()
    assert table.height() >= table.rowCount() * 24 + table.horizontalHeader().height()


def test_long_messages_wrap_instead_of_widening_the_panel(narrow):
    for name in ("statusLabel", "deviceLine", "findingLabel", "worklistStatus", "correctLabel", "exportStatus"):
        label = getattr(narrow.ui, name)
        label.setVisible(True)
        label.setText("The CT could not be read: " + "one of its slices is missing and nobody knows which; " * 4)
    settle(narrow)
    assert narrow.form.minimumSizeHint.width() <= NARROW
    assert cut_off(narrow) == []


def test_no_colour_is_set_that_a_dark_style_would_swallow():
    """A style sheet that sets one of the two colours leaves the other to the style."""
    sheets = [
        one.findtext("string")
        for one in ET.parse(HERE.parents[1] / "Resources/UI/CSpineFracture.ui").iter("property")
        if one.get("name") == "styleSheet"
    ]
    assert len(sheets) == 1
    assert all("background-color:" in sheet and " color:" in sheet for sheet in sheets)


def test_before_anything_is_loaded_each_section_says_what_is_missing(slicer_program):
    from CSpineFractureLib.panel.self_test_panel import OpenPanel

    with OpenPanel(slicer_program.mrmlScene) as opened:
        ui = opened.ui
        for name in ("worklist", "correct", "export", "radiograph"):
            getattr(ui, f"{name}CollapsibleButton").collapsed = False
        assert ui.statusLabel.text == "Load a CT and choose it above."
        assert ui.findingLabel.text.startswith("No findings yet")
        assert ui.worklistStatus.text.startswith("No CT of the neck")
        assert ui.correctLabel.text == "There are no findings to correct."
        assert ui.exportStatus.text == "Analyse a CT first."
        idle = ("apply", "worklist", "previous", "next", "exportDicom", "report", "openReport", "radiograph", "open")
        assert [name for name in idle if getattr(ui, f"{name}Button").enabled] == []
        assert not ui.studyBox.enabled
        assert not ui.correctContents.enabled
        assert ui.findingsTable.height < 80
        ui.resultPath.currentPath = "/somewhere"
        assert ui.openButton.enabled


def test_tab_goes_through_the_panel_from_top_to_bottom(narrow):
    from PySide6.QtCore import QPoint, Qt

    form, found = narrow.form._object, []
    names = {id(one._object): name for name, one in vars(narrow.ui).items() if hasattr(one._object, "focusPolicy")}
    widget = form.nextInFocusChain()
    while widget is not form:
        named = names.get(id(widget), "")
        tabbed = bool(widget.focusPolicy().value & Qt.TabFocus.value) and widget.isVisible() and widget.isEnabled()
        if tabbed and named and not named.startswith("qt_") and "Collapsible" not in named:
            found.append((widget.mapTo(form, QPoint(0, widget.height() // 2)).y(), named))
        widget = widget.nextInFocusChain()
    assert len(found) > 40
    backwards = [(a[1], b[1]) for a, b in itertools.pairwise(found) if b[0] < a[0] - 4]
    assert backwards == []


def test_a_picture_of_the_dark_panel_is_drawn_for_a_dense_screen(tmp_path):
    pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    path = tmp_path / "panel.png"
    words = [sys.executable, str(HERE / "grab_panel.py"), str(path), str(NARROW), "dark"]
    run = subprocess.run(words, env={**os.environ, "QT_SCALE_FACTOR": "2"}, capture_output=True, timeout=200)
    assert path.is_file(), run.stderr.decode()[-2000:]
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert width == 2 * NARROW
    assert height > 2 * 900
    from PIL import Image

    picture = Image.open(path).convert("L")
    corner = picture.crop((4, height - 40, 300, height - 4)).resize((1, 1)).getpixel((0, 0))
    assert corner < 90
    assert len(picture.getcolors(256)) > 30
