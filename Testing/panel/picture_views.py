"""The four views of a finished run as one picture: ``python Testing/panel/picture_views.py RUN FILE.jpg [EDGE]``.

RUN is a folder that ``cspine run`` wrote; its ``scene.mrb`` is opened and drawn by Slicer's own views: axial, sagittal,
coronal and 3D, with segments, boxes and level names. The picture is at most EDGE pixels wide (1400) and 200 KB large.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

MOST_BYTES = 200_000


def picture_views(run: Path, path: Path, edge: int = 1400) -> Path:
    """Draw the views through the fracture suspected most, else through the middle of the column."""
    from CSpineFractureLib.findings.result_file import read_result
    from CSpineFractureLib.scene.files import load_scene
    from CSpineFractureLib.scene.headless import headless_slicer
    from CSpineFractureLib.scene.read_back import nodes_of_scene
    from CSpineFractureLib.scene.render import render_views

    result = read_result(run / "result.json")
    places = [one.center_ras for one in result.vertebrae if one.assessed]
    if result.fractures:
        places = [max(result.fractures, key=lambda one: one.confidence).box.center_ras]
    focus = np.median(places, axis=0).tolist() if places else None
    with headless_slicer() as app, tempfile.TemporaryDirectory() as folder:
        load_scene(app.scene, run / "scene.mrb")
        drawn = render_views(app, nodes_of_scene(app.scene), Path(folder), focus)
        with Image.open(next(one for one in drawn if one.stem == "overview")) as picture:
            return save_jpeg(picture.convert("RGB"), path, edge)


def save_jpeg(picture: Image.Image, path: Path, edge: int) -> Path:
    """Save a picture as JPEG, as good as ``MOST_BYTES`` allow."""
    picture.thumbnail((edge, 10 * edge), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(92, 40, -4):
        picture.save(path, format="JPEG", quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break
    return path


if __name__ == "__main__":
    print(picture_views(Path(sys.argv[1]), Path(sys.argv[2]), *(int(edge) for edge in sys.argv[3:4])))
