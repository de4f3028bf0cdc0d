"""Phantoms beside real CT in one picture: ``python docs/contact_sheet.py OUT.jpg --real CT [MARKS] ... --seeds 1 2``.

Columns: axial at C1, C2, C4 and C7, mid-sagittal (bone window 500/2000 HU), and the bone surface at 250 HU.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.volume.read import read_volume

TILE, WIDTH_MM, HEIGHT_MM, BAR = 250, 150.0, 190.0, 18
LEVELS = ("C1", "C2", "C4", "C7")
CENTRE_HU, WIDTH_HU, SURFACE_HU = 500.0, 2000.0, 250.0


@dataclass
class Shown:
    """One row: a volume ``[k, j, i]`` HU, its matrix, where the levels lie (RAS mm), and its caption."""

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    centres: dict[str, np.ndarray]
    caption: str


def real(path: Path, marks: Path, caption: str) -> Shown:
    """A real CT with its hand-placed level marks."""
    volume = read_volume(path)
    document = json.loads(marks.read_text(encoding="utf-8"))
    centres = {}
    for level in LEVELS:
        mark = document.get(level)
        if mark is None:
            continue
        middle = np.mean([mark["sup"], mark["inf"]], axis=0)
        centres[level] = np.array([document["R"], *middle])
    return Shown(volume.hu, volume.ijk_to_ras, centres, caption)


def phantom(seed: int, plan: StudyPlan) -> Shown:
    """A synthetic CT with its true centres."""
    study = make_study(seed, plan)
    broken = ", ".join(f"{f.level} {f.type}" for f in study.fractures) or "no fracture"
    words = f"synthetic, seed {seed}, {broken}" + (f"; {', '.join(study.mimics)}" if study.mimics else "")
    return Shown(study.hu, study.ijk_to_ras, {k: np.array(v) for k, v in study.centres_ras.items()}, words)


def plane(row: Shown, centre: np.ndarray, right: np.ndarray, down: np.ndarray, size_mm: tuple, window=None) -> Image:
    """A plane through ``centre`` (RAS mm); ``right`` and ``down`` are the picture's directions."""
    columns, rows = (round(TILE * s / WIDTH_MM) for s in size_mm)
    u = (np.arange(columns) + 0.5) / columns * size_mm[0] - size_mm[0] / 2
    v = (np.arange(rows) + 0.5) / rows * size_mm[1] - size_mm[1] / 2
    points = centre + u[None, :, None] * right + v[:, None, None] * down
    ijk = np.einsum("ab,rcb->arc", np.linalg.inv(row.ijk_to_ras)[:3, :3], points - row.ijk_to_ras[:3, 3])
    hu = ndimage.map_coordinates(row.hu.astype(np.float32), ijk[::-1], order=1, cval=-1024)
    middle, width = window or (CENTRE_HU, WIDTH_HU)
    grey = np.clip((hu - middle) / width + 0.5, 0, 1) * 255
    return Image.fromarray(grey.astype(np.uint8))


def surface(row: Shown) -> Image:
    """The bone surface from the left and behind, cut to the column."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    centres = np.array(list(row.centres.values()))
    low, high = centres.min(axis=0) - (48, 62, 25), np.add(centres.max(axis=0), (48, 22, 22))
    spacing = np.linalg.norm(row.ijk_to_ras[:3, :3], axis=0)
    step = np.maximum(spacing, 0.7)
    counts = ((high - low) / step).astype(int)
    grid = [lo + step[n] * np.arange(counts[n]) for n, lo in enumerate(low)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
    ijk = np.einsum("ab,...b->a...", np.linalg.inv(row.ijk_to_ras)[:3, :3], points - row.ijk_to_ras[:3, 3])
    hu = ndimage.map_coordinates(row.hu.astype(np.float32), ijk[::-1], order=1, cval=-1024)
    image = vtk.vtkImageData()
    image.SetDimensions(*counts)
    image.SetSpacing(*step)
    image.GetPointData().SetScalars(numpy_to_vtk(ndimage.gaussian_filter(hu, 0.5).ravel(order="F"), deep=True))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, SURFACE_HU)
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputConnection(contour.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(0.94, 0.88, 0.76)
    renderer = vtk.vtkRenderer()
    renderer.AddActor(actor)
    renderer.SetBackground(0.08, 0.09, 0.11)
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(2 * TILE, 2 * round(TILE * HEIGHT_MM / WIDTH_MM))
    window.AddRenderer(renderer)
    camera = renderer.GetActiveCamera()
    middle = (high - low) / 2
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + np.array([-0.8, -0.75, 0.25]) * 500))
    camera.SetViewUp(0, 0, 1)
    camera.ParallelProjectionOn()
    camera.SetParallelScale(HEIGHT_MM / 2)
    renderer.ResetCameraClippingRange()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.Update()
    out = grab.GetOutput()
    columns, rows, _ = out.GetDimensions()
    pixels = vtk_to_numpy(out.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1, :, :3]
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((columns // 2, rows // 2), Image.LANCZOS)


def tiles(row: Shown, window=None) -> list[Image.Image | None]:
    """The pictures of one row."""
    left, back, down = np.array([-1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, -1.0])
    size = (WIDTH_MM, HEIGHT_MM)
    shown = []
    for level in LEVELS:
        if level not in row.centres:
            shown.append(None)
            continue
        shown.append(plane(row, row.centres[level] + (0, -12, 0), left, back, (WIDTH_MM, HEIGHT_MM), window))
    middle = np.mean(list(row.centres.values()), axis=0)
    shown.append(plane(row, np.add(middle, (0, 5, 8)), back, down, size, window))
    shown.append(surface(row))
    return shown


def sheet(rows: list[Shown], window=None) -> Image.Image:
    """All rows in one picture, with captions."""
    height = round(TILE * HEIGHT_MM / WIDTH_MM)
    picture = Image.new("RGB", (TILE * 6, (height + BAR) * len(rows)), (20, 22, 26))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    names = [f"axial {level}" for level in LEVELS] + ["mid-sagittal", "surface 250 HU"]
    for n, row in enumerate(rows):
        top = n * (height + BAR)
        draw.text((4, top + 2), row.caption, fill=(255, 220, 140), font=font)
        for m, tile in enumerate(tiles(row, window)):
            if tile is None:
                draw.text((m * TILE + 60, top + height // 2), "not in the scan", fill=(150, 150, 150), font=font)
            else:
                picture.paste(tile.convert("RGB"), (m * TILE, top + BAR))
            draw.text((m * TILE + 5, top + BAR + 3), names[m], fill=(120, 200, 255), font=font)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--real", nargs=3, action="append", default=[], metavar=("CT", "MARKS", "CAPTION"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.7, 0.7, 0.7))
    parser.add_argument("--window", type=float, nargs=2, help="centre and width, HU")
    parser.add_argument("--normal", action="store_true")
    options = parser.parse_args()
    plan = StudyPlan(spacing_mm=tuple(options.spacing), fractures=() if options.normal else None)
    rows = [real(Path(ct), Path(marks), caption) for ct, marks, caption in options.real]
    rows += [phantom(seed, plan) for seed in options.seeds]
    sheet(rows, options.window).save(options.output, quality=88)


if __name__ == "__main__":
    main()
