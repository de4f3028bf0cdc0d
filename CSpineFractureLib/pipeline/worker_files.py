"""Volumes and arrays as files between a worker and its client: ``.npy`` without pickles, in one private folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result, write_result
from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.ct_volume import CTVolume


def write_input(volume: CTVolume, arrays: Path) -> dict[str, Any]:
    """Hand a volume over: its voxels as a file in ``arrays``, the rest as the ``input`` of a run request."""
    np.save(arrays / "input.npy", volume.hu, allow_pickle=False)
    return {
        "hu": "input.npy",
        "ijk_to_ras": volume.ijk_to_ras.tolist(),
        "grid": volume.grid,
        "series_uid": volume.series_uid,
        "frame_of_reference_uid": volume.frame_of_reference_uid,
        "sop_instance_uids": None if volume.sop_instance_uids is None else list(volume.sop_instance_uids),
        "notices": [asdict(notice) for notice in volume.notices],
        "slice_thickness_mm": volume.slice_thickness_mm,
    }


def read_input(source: str | dict[str, Any], arrays: Path) -> str | CTVolume:
    """The path, or the volume that ``write_input`` handed over. Raises ``UserError`` when it is not one."""
    if isinstance(source, str):
        return source
    try:
        uids = source.get("sop_instance_uids")
        return CTVolume(
            hu=_load(arrays, source["hu"]),
            ijk_to_ras=np.asarray(source["ijk_to_ras"], float),
            grid=source.get("grid", "native"),
            series_uid=source.get("series_uid"),
            frame_of_reference_uid=source.get("frame_of_reference_uid"),
            sop_instance_uids=None if uids is None else tuple(uids),
            notices=tuple(Notice(**notice) for notice in source.get("notices", ())),
            slice_thickness_mm=source.get("slice_thickness_mm"),
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"The volume handed to the worker is not usable ({error}): send int16 HU and a 4x4 matrix."
        raise UserError(message) from error


def write_reply(output: StudyOutput, volume: CTVolume | None, arrays: Path) -> dict[str, Any]:
    """Write a result and its arrays; returns the names for the ``result`` event. ``volume`` where it is wanted."""
    write_result(output.result, arrays / "result.json")
    np.save(arrays / "labels.npy", output.labels, allow_pickle=False)
    reply: dict[str, Any] = {"result": "result.json", "labels": "labels.npy"}
    reply.update(cam=None, cam_ijk_to_ras=None, hu=None)
    if output.cam is not None:
        np.save(arrays / "cam.npy", output.cam, allow_pickle=False)
        reply.update(cam="cam.npy", cam_ijk_to_ras=np.asarray(output.cam_ijk_to_ras, float).tolist())
    if volume is not None:
        np.save(arrays / "hu.npy", volume.hu, allow_pickle=False)
        reply["hu"] = "hu.npy"
    return reply


def read_reply(reply: dict[str, Any], arrays: Path, volume: CTVolume | None) -> tuple[CTVolume, StudyOutput]:
    """What ``write_reply`` wrote. ``volume`` is the client's own, or ``None`` when the worker read a file."""
    result = read_result(_inside(arrays, reply["result"]))
    cam = None if reply["cam"] is None else _load(arrays, reply["cam"])
    matrix = None if reply["cam_ijk_to_ras"] is None else np.asarray(reply["cam_ijk_to_ras"], float)
    if volume is None:
        info = result.volume
        volume = CTVolume(
            hu=_load(arrays, reply["hu"]),
            ijk_to_ras=np.asarray(info.ijk_to_ras, float),
            grid=info.grid,
            series_uid=info.series_uid,
            frame_of_reference_uid=info.frame_of_reference_uid,
            sop_instance_uids=None if info.sop_instance_uids is None else tuple(info.sop_instance_uids),
        )
    return volume, StudyOutput(result, _load(arrays, reply["labels"]), cam, matrix)


def _inside(folder: Path, name: str) -> Path:
    """A file of that plain name in ``folder``; a name that leads out of it is refused."""
    path = folder / name
    if path.name != name or path.resolve().parent != folder.resolve():
        message = f"{name!r} is not a plain file name inside the arrays folder."
        raise UserError(message)
    return path


def _load(folder: Path, name: str) -> np.ndarray:
    return np.load(_inside(folder, name), allow_pickle=False)
