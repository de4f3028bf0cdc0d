"""Oriented boxes as DICOM geometry: a closed surface in the patient, and a rectangle on one image."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from CSpineFractureLib.findings.study_result import Box

_LPS = np.array([-1.0, -1.0, 1.0])
_FACES = (
    ((-1, -1, -1), (1, -1, -1), (1, 1, -1), (-1, 1, -1)),
    ((-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)),
    ((-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)),
    ((-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1)),
    ((-1, -1, -1), (-1, 1, -1), (-1, 1, 1), (-1, -1, 1)),
    ((1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)),
)
STRAIGHT_AXIAL = float(np.cos(np.radians(1.0)))


def surface_of_box(box: Box) -> list[np.ndarray]:
    """The six faces as closed polygons ``(5, 3)``, LPS mm; the first two are the low and high face along axis 3."""
    half = np.array(box.size_mm, float) / 2
    axes, centre = np.array(box.axes, float), np.array(box.center_ras, float)
    faces = [np.array([*face, face[0]], float) for face in _FACES]
    return [((face * half) @ axes + centre) * _LPS for face in faces]


def box_of_surface(faces: list[np.ndarray]) -> Box:
    """The box whose ``surface_of_box`` this is. Raises ``ValueError`` where it is not one."""
    if len(faces) != 6 or any(np.shape(face) != (5, 3) for face in faces):
        message = "the surface is not that of a box"
        raise ValueError(message)
    low, high = (np.array(face, float) * _LPS for face in faces[:2])
    edges = np.array([low[1] - low[0], low[3] - low[0], high[0] - low[0]])
    sizes = np.linalg.norm(edges, axis=1)
    if sizes.min() <= 0:
        message = "the surface has no volume"
        raise ValueError(message)
    centre = (low[0] + high[2]) / 2
    return Box(centre.tolist(), sizes.tolist(), (edges / sizes[:, None]).tolist())


def is_straight_axial(image: Dataset) -> bool:
    """Whether rows run to the patient's left and columns to the back, within one degree.

    Slicer's reader of TID 1500 places rectangles as if every image did.
    """
    turn = np.array(image.get("ImageOrientationPatient") or [0] * 6, float)
    return min(turn[0], turn[4]) >= STRAIGHT_AXIAL


def image_through(box: Box, images: list[Dataset]) -> Dataset:
    """The image nearest to the middle of the box. All images are parallel and have a position."""
    turn = np.array(images[0].ImageOrientationPatient, float)
    normal = np.cross(turn[:3], turn[3:])
    centre = np.array(box.center_ras) * _LPS
    return min(images, key=lambda image: abs((np.array(image.ImagePositionPatient, float) - centre) @ normal))


def rectangle_on_image(box: Box, image: Dataset) -> np.ndarray | None:
    """The box's outline seen along the image's normal, closed, ``(5, 2)`` as (column, row).

    Image coordinates as in DICOM PS3.3 C.10.5: the centre of the first pixel is (0.5, 0.5). Cut at the image's edge;
    ``None`` where the box lies outside.
    """
    turn = np.array(image.ImageOrientationPatient, float)
    offset = box.corners_ras() * _LPS - np.array(image.ImagePositionPatient, float)
    row_mm, column_mm = (float(value) for value in image.PixelSpacing)
    points = np.stack([offset @ turn[:3] / column_mm, offset @ turn[3:] / row_mm], axis=1) + 0.5
    size = np.array([image.Columns, image.Rows], float)
    (left, top), (right, bottom) = np.clip(points.min(axis=0), 0, size), np.clip(points.max(axis=0), 0, size)
    if right - left <= 0 or bottom - top <= 0:
        return None
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
