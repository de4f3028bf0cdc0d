"""Small drawings of probabilities: a bar for a table's cell, and the curve along the spine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from CSpineFractureLib.panel.slice_probabilities import SliceCurve
from CSpineFractureLib.scene.colours import suspicion_colour

BAR_SIZE = (30, 12)


def colour_of(probability: float | None) -> Any:
    """The colour of a probability as everywhere in the scene: pale blue to red, grey where none was computed."""
    return qt.QColor(*(round(255 * part) for part in suspicion_colour(probability)))


def bar_icon(probability: float | None, ratio: float = 2.0) -> Any:
    """A bar as long as the probability, for an item of a table; ``ratio`` are pixels of the screen per point."""
    width, height = BAR_SIZE

    def draw(painter: Any) -> None:
        painter.fillRect(0, 0, width, height, qt.QColor(127, 127, 127, 60))
        if probability is not None:
            painter.fillRect(0, 0, max(1, round(width * probability)), height, colour_of(probability))

    picture = _pixmap(width, height, ratio, draw)
    icon = qt.QIcon()
    for mode in (qt.QIcon.Normal, qt.QIcon.Selected):
        icon.addPixmap(picture, mode)
    return icon


def curve_picture(curve: SliceCurve, threshold: float, width: int, height: int, ratio: float, ink: Any) -> Any:
    """Probability (up) along the spine, head at the left: bars in the colour of suspicion, levels as named bands.

    ``ink`` is the colour of text and lines, so that it fits a light and a dark style. Sizes in points.
    """
    top, foot = 4, 16
    middles = [(one + other) / 2 for one, other in zip(curve.heights, curve.heights[1:], strict=False)]
    half = (middles[0] - curve.heights[0]) if middles else 0.5
    edges = [curve.heights[0] - half, *middles, curve.heights[-1] + half]
    high, span = edges[-1], edges[-1] - edges[0]
    faint = qt.QColor(ink.red(), ink.green(), ink.blue(), 26)

    def x_of(superior: float) -> int:
        return round((high - superior) / span * width)

    def y_of(probability: float) -> int:
        return round(top + (1 - probability) * (height - top - foot))

    def draw(painter: Any) -> None:
        font = qt.QFont(painter.font())  # a copy: PythonQt hands out the painter's own
        font.setPointSize(8)
        painter.setFont(font)
        for number, (level, (below, above)) in enumerate(sorted(curve.levels.items())):
            left, right = max(0, x_of(above)), min(width, x_of(below))
            if number % 2 == 0:
                painter.fillRect(left, top, right - left, height - top - foot, faint)
            painter.setPen(ink)
            painter.drawText(left, height - foot, max(right - left, 20), foot, int(qt.Qt.AlignCenter), level)
        for below, above, probability in zip(edges, edges[1:], curve.probabilities, strict=False):
            left, y = x_of(above), y_of(probability)
            painter.fillRect(left, y, max(1, x_of(below) - left), height - foot - y, colour_of(probability))
        painter.setPen(qt.QPen(ink, 1, qt.Qt.DashLine))
        painter.drawLine(0, y_of(threshold), width, y_of(threshold))
        painter.setPen(ink)
        painter.drawLine(0, height - foot, width, height - foot)

    return _pixmap(width, height, ratio, draw)


def _pixmap(width: int, height: int, ratio: float, draw: Callable[[Any], None]) -> Any:
    picture = qt.QPixmap(int(width * ratio), int(height * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(picture)
    draw(painter)
    painter.end()
    return picture
