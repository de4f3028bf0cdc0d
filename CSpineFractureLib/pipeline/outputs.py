"""The files of a run: result, findings, scene, segmentation, boxes, Grad-CAM and pictures."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.findings.csv_file import write_findings_csv
from CSpineFractureLib.findings.result_file import write_result
from CSpineFractureLib.findings.study_output import CAM_SHOWN
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.pipeline.output_folder import all_or_nothing

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.findings.study_result import StudyResult
    from CSpineFractureLib.volume.ct_volume import CTVolume


def slicer_is_installed() -> bool:
    """Whether the Slicer libraries (extra ``standalone``) are there; they are not loaded by asking."""
    return importlib.util.find_spec("slicer") is not None and importlib.util.find_spec("trame_slicer") is not None


def write_outputs(
    volume: CTVolume,
    output: StudyOutput,
    folder: str | Path,
    *,
    render: bool = True,
    overwrite: bool = False,
    cam_pictures: bool = False,
) -> list[Path]:
    """Write a run's files into ``folder``, all or nothing, and return their paths.

    ``result.json`` and ``findings.csv`` always; ``vertebrae.seg.nrrd``, ``boxes.mrk.json``, ``gradcam.nrrd`` (where
    there is a CAM) and ``scene.mrb`` through the Slicer libraries, and with ``render`` the pictures in ``views/``.
    Without the Slicer libraries those are left out and the result gets a warning. With ``cam_pictures`` the most
    suspicious slices beside their Grad-CAM in ``gradcam/``. Raises ``UserError`` when the folder cannot be written or
    holds files that are not ours (see ``check_output_folder``).
    """
    with all_or_nothing(folder, overwrite) as temporary:
        if slicer_is_installed():
            _write_scene_files(volume, output, temporary, render)
        else:
            message = (
                "The Slicer libraries are not installed, so no scene, segmentation, boxes, Grad-CAM or pictures were"
                " written: pip install 'CSpineFracture[standalone]' adds them."
            )
            output.result.warnings.append(Notice("no-slicer-libraries", message))
        if cam_pictures:
            _write_cam_pictures(output, temporary / "gradcam")
        write_findings_csv(output.result, temporary / "findings.csv")
        write_result(output.result, temporary / "result.json")
        written = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
    return [Path(folder) / path for path in written]


def _write_scene_files(volume: CTVolume, output: StudyOutput, folder: Path, render: bool) -> None:
    """What needs the Slicer libraries, from one scene that is emptied again at the end."""
    from CSpineFractureLib.scene import files  # imported late: VTK and Slicer
    from CSpineFractureLib.scene.build import build_scene
    from CSpineFractureLib.scene.headless import headless_slicer
    from CSpineFractureLib.scene.render import render_views

    start = time.perf_counter()
    with headless_slicer() as app:
        nodes = build_scene(app.scene, volume, output)
        files.write_segmentation(nodes, folder / "vertebrae.seg.nrrd")
        files.write_boxes(nodes, folder / "boxes.mrk.json")
        files.write_cam(nodes, folder / "gradcam.nrrd")
        files.save_scene(app.scene, folder / "scene.mrb")
        output.result.timings_s["scene"] = time.perf_counter() - start
        if render:
            start = time.perf_counter()
            render_views(app, nodes, folder / "views", focus_ras=_focus(output.result))
            output.result.timings_s["render"] = time.perf_counter() - start


def _write_cam_pictures(output: StudyOutput, folder: Path) -> None:
    from CSpineFractureLib.explain.cam_pictures import write_cam_pictures  # imported late: OpenCV, torch

    shown = [one for one in output.cam_slices if one.probability >= CAM_SHOWN]  # others would be blue all over
    if not write_cam_pictures(shown, folder):
        message = "No slice is suspicious enough for a Grad-CAM, so there are no pictures of it."
        output.result.warnings.append(Notice("no-cam-pictures", message))


def _focus(result: StudyResult) -> list[float] | None:
    """Where the pictures cut (RAS mm): the fracture suspected most, else the bodies' middle, else ``None``."""
    bodies = [vertebra.center_ras for vertebra in result.vertebrae if vertebra.assessed]
    if not result.fractures:
        return np.median(bodies, axis=0).tolist() if bodies else None
    return max(result.fractures, key=lambda fracture: fracture.confidence).box.center_ras
