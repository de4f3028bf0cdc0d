"""Column volumes on disk, as a run of the networks that learn from them finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.column_volumes import TABLE, ColumnVolume


def write_columns(images: Path, volumes: Sequence[ColumnVolume]) -> None:
    """A study each; the last two are for validation."""
    images.mkdir(parents=True)
    rows = ["file,study,group,split"]
    for n, made in enumerate(volumes):
        np.savez_compressed(images / f"s{n}.npz", hu=made.hu, labels=made.labels, bodies=made.bodies)
        rows.append(f"s{n}.npz,s{n},s{n},{'val' if n >= len(volumes) - 2 else 'train'}")
    (images / TABLE).write_text("\n".join(rows) + "\n", encoding="utf-8")
