"""The sample: a synthetic CT of the neck with a burst fracture of C5, made on this computer and kept for next time.

Run as a program, ``python -m CSpineFractureLib.panel.sample_ct FILE``: it takes some seconds, and needs SciPy.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import PhantomStudy, make_study

SEED = 7
SHA256 = "a7620c7dc748c7ede4d161385b7ee2eb5829747c33968e1a8e26244b3dd2d297"
"""Of the voxels, as ``digest`` takes it."""


def sample_study() -> PhantomStudy:
    """The study itself: the same voxels each time on one kind of computer."""
    plan = StudyPlan(
        spacing_mm=(0.8, 0.8, 2.0),
        fractures=parse_fractures(["C5:burst"]),
        width_mm=140.0,
        depth_mm=140.0,
    )
    return make_study(SEED, plan)


def digest(hu: np.ndarray) -> str:
    """SHA-256 of int16 voxels in the order ``[k, j, i]``, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(hu, "<i2").tobytes()).hexdigest()


def write_sample(path: Path) -> None:
    """Write ``hu`` and ``ijk_to_ras`` as ``.npz``; the file appears whole or not at all."""
    study = sample_study()
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")  # it may be asked for twice
    with partial.open("wb") as file:
        np.savez_compressed(file, hu=study.hu, ijk_to_ras=study.ijk_to_ras)
    os.replace(partial, path)


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
