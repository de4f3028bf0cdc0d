"""Small studies made by hand: numpy volumes behind records, and folders as ``cspine phantom`` leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.volume import CTVolume

SHAPE = (12, 40, 48)
MATRIX = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 2.0, -50], [0, 0, 0, 1]])


def make_hu(seed: int = 0) -> np.ndarray:
    """A neck: soft tissue with a column of bone, in air; int16 ``[k, j, i]``."""
    _, j, i = np.indices(SHAPE)
    hu = np.full(SHAPE, -1000, np.int16)
    hu[(j - 20) ** 2 + (i - 24) ** 2 < 17**2] = 40
    hu[(j - 24) ** 2 + (i - 24) ** 2 < 6**2] = 500
    noise = np.random.default_rng(seed).normal(0, 8, SHAPE)
    return np.clip(hu + noise, -1024, 3000).astype(np.int16)


def make_levels() -> np.ndarray:
    """C3 and C4 overlapping in slices 5 and 6, a single pixel of C5 in slice 9, T1 above all; uint8 ``[k, j, i]``."""
    levels = np.zeros(SHAPE, np.uint8)
    levels[2:7, 10:20, 15:30] = 3
    levels[5:10, 22:31, 0:11] = 4
    levels[9, 39, 47] = 5
    levels[11, 5:9, 5:9] = 8
    return levels


def make_record(
    name: str, fractured: str = "", slices: tuple[int, ...] | None = (), masked: bool = True, group: str = ""
) -> StudyRecord:
    """A study fractured at one level, with a box in each of ``slices`` (``None``: not annotated)."""
    boxes = None if slices is None else [SliceBox(k, 3 + k, 4.5, 10.25, 7, fractured or None) for k in slices]
    return StudyRecord(
        id=name,
        load_volume=lambda: CTVolume(make_hu(sum(name.encode())), MATRIX),
        load_levels=make_levels if masked else None,
        fractured={level: level == fractured for level in LEVELS},
        boxes=boxes,
        group=group,
    )


def make_records() -> list[StudyRecord]:
    """Ten fractured studies with boxes in three or four slices, ten without fractures."""
    broken = [make_record(f"broken{n}", "C3", tuple(range(2, 5 + n % 2))) for n in range(10)]
    return broken + [make_record(f"sound{n}") for n in range(10)]


def write_nifti(array: np.ndarray, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 2.0))
    image.SetOrigin((-20.0, -30.0, -50.0))
    sitk.WriteImage(image, str(path))


def make_phantom_folder(folder: Path, fractured: str = "", hairline: bool = False, mimics: bool = False) -> Path:
    """A study as ``cspine phantom`` writes it; a fracture has boxes in slices 3 and 4."""
    folder.mkdir(parents=True)
    levels = make_levels()
    write_nifti(make_hu(sum(folder.name.encode())), folder / "ct.nii.gz")
    write_nifti(levels, folder / "vertebrae.nii.gz")
    gaps = np.zeros_like(levels)
    gaps[3:5, 12:14, 18:22] = LEVELS.index(fractured) + 1 if fractured else 0
    write_nifti(gaps, folder / "fractures.nii.gz")
    fractures = [
        {
            "level": fractured,
            "type": "burst",
            "gap_mm": 0.4,
            "hairline": hairline,
            "box_ras": [[0, 0, 0], [1, 1, 1]],
            "slice_boxes": [[3, 15, 9, 10, 8], [4, 15, 9, 10, 8]],
        }
    ]
    truth = {
        "schema": "cspine-phantom/1",
        "fractures": fractures if fractured else [],
        "mimics": ["C4 osteophyte"] if mimics else [],
    }
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return folder


def make_phantom_set(root: Path, count: int = 10) -> Path:
    """Studies of which the first four are fractured."""
    for n in range(count):
        make_phantom_folder(root / f"phantom_{n:06d}", "C3" if n < 4 else "", hairline=n == 1, mimics=n % 2 == 0)
    return root
