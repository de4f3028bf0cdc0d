"""Grad-CAM as pictures: the slice beside its colour overlay, as in figure 9 of document 000 (Yaseen et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from CSpineFractureLib.findings.study_output import CamSlice

EDGE, GAP, TITLE = 448, 8, 34
"""Pixels: edge of either half, the line between them, height of the title."""


def side_by_side(image: np.ndarray, cam: np.ndarray, colormap: int = cv2.COLORMAP_JET) -> np.ndarray:
    """uint8 RGB ``[h, 2 w, 3]``: the slice, and to its right the slice under the coloured CAM.

    Parameters
    ----------
    image
        The slice, ``[h, w]``, 0..1.
    cam
        Its Grad-CAM, ``[h, w]``, 0..1, scaled by the slice's fracture probability: colours are not stretched, so a
        slice of low probability stays blue.
    colormap
        One of OpenCV's ``COLORMAP_*``.

    Raises ValueError when the two do not have the same shape.
    """
    from pytorch_grad_cam.utils.image import show_cam_on_image  # imported late: it brings torch and matplotlib

    if image.ndim != 2 or image.shape != cam.shape:
        message = f"Slice {image.shape} and Grad-CAM {cam.shape} are not of the same two-dimensional shape."
        raise ValueError(message)
    grey = np.repeat(np.clip(image, 0, 1).astype(np.float32)[:, :, None], 3, axis=2)
    overlay = show_cam_on_image(grey, np.clip(cam, 0, 1).astype(np.float32), use_rgb=True, colormap=colormap)
    return np.concatenate([np.rint(grey * 255).astype(np.uint8), overlay], axis=1)


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """uint8 RGB: the halves of ``side_by_side`` enlarged, with a line between them, a title and the patient's sides."""
    halves = [
        cv2.resize(half, (EDGE, round(EDGE * half.shape[0] / half.shape[1])), interpolation=cv2.INTER_CUBIC)
        for half in np.split(picture, 2, axis=1)
    ]
    height = len(halves[0])
    page = Image.new("RGB", (2 * EDGE + GAP, height + TITLE), "white")
    page.paste(Image.fromarray(halves[0]), (0, TITLE))
    page.paste(Image.fromarray(halves[1]), (EDGE + GAP, TITLE))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    draw.text((10, TITLE // 2), title, "black", font, anchor="lm")
    for left in (0, EDGE + GAP):  # the sides of the patient, see CamSlice
        middle = TITLE + height // 2
        draw.text((left + 8, middle), "R", "white", font, anchor="lm", stroke_width=1, stroke_fill="black")
        draw.text((left + EDGE - 8, middle), "L", "white", font, anchor="rm", stroke_width=1, stroke_fill="black")
    return np.asarray(page)


def write_cam_pictures(slices: Sequence[CamSlice], folder: Path) -> list[Path]:
    """Write ``<k>.png`` (k with at least three digits) for each slice into ``folder``, which is made if there are any.

    Returns the paths. Raises ``OSError`` when a file cannot be written.
    """
    paths = []
    for one in slices:
        folder.mkdir(parents=True, exist_ok=True)
        title = f"Slice {one.k}: fracture probability {one.probability:.2f}; Grad-CAM scaled by it. Research use only."
        path = folder / f"{one.k:03d}.png"
        Image.fromarray(titled(side_by_side(one.picture, one.cam), title)).save(path)
        paths.append(path)
    return paths
