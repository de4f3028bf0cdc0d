"""Close-ups of the phantoms: ``python docs/atlas_sheets.py fractures|mimics|anatomy|radiographs OUT.jpg``.

Each fracture type and mimic is cut through where it shows best, in the bone window (500/2000 HU); the anatomy sheet
shows whole slices in bone and soft-tissue windows with what there is to see.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from contact_sheet import Shown, plane
from PIL import Image, ImageDraw, ImageFont

from CSpineFractureLib.phantom.fracture_types import types_of
from CSpineFractureLib.phantom.mimics import KINDS, fits
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import PhantomStudy, make_study

TILE, BAR, FIELD_MM = 230, 18, 58.0
BONE, SOFT = (500.0, 2000.0), (40.0, 400.0)
SIDES = {"axial": ((-1, 0, 0), (0, -1, 0)), "sagittal": ((0, -1, 0), (0, 0, -1)), "coronal": ((-1, 0, 0), (0, 0, -1))}
NEAR = StudyPlan(
    spacing_mm=(0.45, 0.45, 0.6), mimics=(), fractures=(), width_mm=100, depth_mm=104, above_mm=10, below_mm=-6
)


def _picture(study: PhantomStudy, centre: np.ndarray, side: str, field: float = FIELD_MM, window=BONE) -> Image.Image:
    row = Shown(study.hu, study.ijk_to_ras, {}, "")
    right, down = (np.array(v, float) for v in SIDES[side])
    return plane(row, centre, right, down, (field, field), window).resize((TILE, TILE), Image.LANCZOS)


VIEWS = {
    **dict.fromkeys(("dens-1", "dens-2", "dens-3", "teardrop", "wedge", "facet", "spinous"), "sagittal"),
    **dict.fromkeys(
        ("osteophyte", "healed-fracture", "calcified-ligament", "fused-levels", "schmorl-node"), "sagittal"
    ),
}


def _across(mask: np.ndarray, matrix: np.ndarray, side: str) -> np.ndarray:
    """Where the plane ``side`` cuts most voxels of a mask ``[k, j, i]``: the centre of the cut (RAS mm)."""
    k, j, i = np.nonzero(mask)
    index = np.array([np.median(i), np.median(j), np.median(k)])
    axis = {"axial": 2, "sagittal": 0, "coronal": 1}[side]
    values, counts = np.unique((i, j, k)[axis], return_counts=True)
    index[axis] = values[counts.argmax()]
    return (matrix @ [*index, 1])[:3]


def _sheet(tiles: list[tuple[str, Image.Image]], columns: int) -> Image.Image:
    rows = -(-len(tiles) // columns)
    picture = Image.new("RGB", (columns * TILE, rows * (TILE + BAR)), (20, 22, 26))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for n, (caption, tile) in enumerate(tiles):
        x, y = n % columns * TILE, n // columns * (TILE + BAR)
        draw.text((x + 3, y + 2), caption, fill=(255, 220, 140), font=font)
        picture.paste(tile.convert("RGB"), (x, y + BAR))
    return picture


def fractures(seed: int) -> Image.Image:
    """Every type, displaced and as a hairline."""
    tiles = []
    for level in ("C1", "C2", "C5", "C7"):
        for kind in types_of(level):
            if level == "C7" and kind not in ("transverse", "spinous", "facet"):
                continue
            for rate, word in ((0.0, "displaced"), (1.0, "hairline")):
                study = make_study(seed, replace(NEAR, fractures=((level, kind),), hairline_rate=rate))
                side = VIEWS.get(kind, "axial")
                centre = _across(study.fracture_mask > 0, study.ijk_to_ras, side)
                tiles.append((f"{level} {kind}, {word} ({side})", _picture(study, centre, side)))
    return _sheet(tiles, 6)


def mimics(seed: int) -> Image.Image:
    """Every mimic beside the same person without it."""
    tiles = []
    sound = make_study(seed, NEAR)
    for kind in KINDS:
        for level in ("C1", "C2", "C4", "C6"):
            if not fits(kind, level) or (kind != "unfused-apophysis" and level != "C4"):
                continue
            study = make_study(seed, replace(NEAR, mimics=((level, kind),)))
            changed = np.abs(study.hu.astype(int) - sound.hu) > 200
            side = "sagittal" if kind == "unfused-apophysis" and level != "C1" else VIEWS.get(kind, "axial")
            centre = _across(changed, study.ijk_to_ras, side)
            tiles.append((f"{level} without ({side})", _picture(sound, centre, side)))
            tiles.append((f"{level} {kind}", _picture(study, centre, side)))
    return _sheet(tiles, 6)


def anatomy(seed: int) -> Image.Image:
    """Whole slices with what there is to see in them."""
    study = make_study(
        seed,
        StudyPlan(
            spacing_mm=(0.8, 0.8, 0.8), fractures=(), mimics=(), width_mm=330, depth_mm=250, above_mm=75, below_mm=55
        ),
    )
    c = {level: np.array(at) for level, at in study.centres_ras.items()}
    ahead = np.array([0, 10.0, 0])
    at = [
        ("skull base: petrous bone, mastoid cells, clivus", c["C1"] + (0, 10, 20), "axial", 190),
        ("C1: atlas, dens, mandible, parotid, teeth", c["C1"] + ahead, "axial", 190),
        ("C2-C3: mandible, tongue, oropharynx, submandibular", c["C2"] + (0, 10, -6), "axial", 190),
        ("C4: hyoid, epiglottis, carotid, jugular, muscles", c["C4"] + (0, 10, 0), "axial", 170),
        ("C5-C6: thyroid cartilage, larynx, vertebral artery", c["C6"] + (0, 10, 4), "axial", 170),
        ("C7: thyroid gland, trachea, oesophagus, cord", c["C7"] + (0, 10, 0), "axial", 180),
        ("T1-T2: ribs, clavicles, humeral heads, scapulae, table", c["T1"] + (0, -5, -8), "axial", 330),
        ("T3: lungs, manubrium, ribs", c["T3"] + (0, 20, 0), "axial", 300),
        ("mid-sagittal: clivus, dens, discs, cord, airway", c["C4"] + (0, 5, 0), "sagittal", 250),
        ("coronal: lateral masses, ribs, lungs", c["C4"] + (0, -8, -10), "coronal", 300),
        ("coronal: mandible, larynx, clavicles", c["C5"] + (0, 35, 0), "coronal", 300),
        ("parasagittal: facets, occipital condyle", c["C4"] + (19, 0, 0), "sagittal", 250),
    ]
    tiles = []
    for words, centre, side, field in at:
        for window in (BONE, SOFT):
            tiles.append((words if window == BONE else "", _picture(study, centre, side, field, window)))
    return _sheet(tiles, 6)


def radiographs(seed: int) -> Image.Image:
    """Four lateral radiographs of each class."""
    from CSpineFractureLib.phantom.radiograph import make_radiograph

    tiles = []
    for kind in ("normal", "fracture", "dislocation"):
        for n in range(4):
            made = make_radiograph(seed + n, kind)
            tile = Image.new("L", (TILE, TILE))
            small = Image.fromarray(made.image)
            small.thumbnail((TILE, TILE))
            tile.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
            words = ", ".join(f"{i.level} {i.type}" for i in made.injuries)
            tiles.append((f"{kind} {words}", tile))
    return _sheet(tiles, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sheet", choices=("fractures", "mimics", "anatomy", "radiographs"))
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    globals()[options.sheet](options.seed).save(options.output, quality=86)


if __name__ == "__main__":
    main()
