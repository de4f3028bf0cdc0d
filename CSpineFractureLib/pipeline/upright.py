"""Volumes that lie obliquely in the patient are analysed as if they lay straight, and the findings turned back.

A tilted gantry or an oblique reformation gives slices that are turned against R, A and S. The networks see slices as
they are stored, and every stage speaks of heights (S) of slices; so a profile gets the volume turned, by its matrix
alone, until its slices are level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import LEVELS, Box
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.morphology import Place, label_places

ALIGNED = 1e-5
"""By how little the cosines of axes may differ from 0 and 1: 2 micrometres in 200 mm."""
DECIMALS = 9
"""Of a straight matrix in mm, or its rounding errors would move the edges of blocks of voxels."""


def run_upright(
    profile: Callable[[CTVolume, RunContext], StudyOutput], volume: CTVolume, context: RunContext
) -> StudyOutput:
    """What ``profile`` says of ``volume``, in the volume's own frame (RAS mm). No voxel is copied or interpolated.

    Where the volume lies obliquely, boxes of fractures lie along its axes, those of segments along R, A and S.
    """
    turn = upright_turn(volume)
    if turn is None:
        return profile(volume, context)
    straight = np.round(turn @ volume.ijk_to_ras, DECIMALS)
    output = profile(replace(volume, ijk_to_ras=straight), context)
    _turn(output, np.linalg.inv(turn))
    output.result.volume.ijk_to_ras = volume.ijk_to_ras.tolist()
    places = label_places(output.labels)
    for vertebra in output.result.vertebrae:
        number = LEVELS.index(vertebra.level) + 1
        if number in places:
            vertebra.box = _box_around(output.labels[places[number]] == number, places[number], volume)
    return output


def upright_turn(volume: CTVolume) -> np.ndarray | None:
    """The 4x4 rotation about the volume's middle after which its axes are R, A and S; ``None`` where they are."""
    view = CanonicalView.of(volume)
    axes = view.ijk_to_ras[:3, :3] / view.spacing_mm * [-1.0, -1.0, 1.0]
    left, _, right = np.linalg.svd(axes)
    rotation = (left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right).T
    if np.abs(rotation - np.eye(3)).max() < ALIGNED:
        return None
    middle = volume.ras_of((np.array(volume.shape_kji[::-1]) - 1) / 2)
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = rotation, middle - rotation @ middle
    return turn


def _turn(output: StudyOutput, turn: np.ndarray) -> None:
    """Turn all places of an output, in place."""
    for vertebra in output.result.vertebrae:
        vertebra.center_ras = _point(vertebra.center_ras, turn)
    for finding in (*output.result.vertebrae, *output.result.fractures):
        box = finding.box
        finding.box = Box(_point(box.center_ras, turn), box.size_mm, (np.array(box.axes) @ turn[:3, :3].T).tolist())
    if output.cam_ijk_to_ras is not None:
        output.cam_ijk_to_ras = turn @ output.cam_ijk_to_ras


def _box_around(mask: np.ndarray, place: Place, volume: CTVolume) -> Box:
    """Along R, A, S around the voxels of ``mask``, which lies at ``place`` of the volume; a turned box is larger."""
    ras = volume.ras_of((np.argwhere(mask) + [part.start for part in place])[:, ::-1])
    rim = np.abs(volume.ijk_to_ras[:3, :3]).sum(axis=1) / 2
    low, high = ras.min(axis=0) - rim, ras.max(axis=0) + rim
    return Box(((low + high) / 2).tolist(), (high - low).tolist())


def _point(ras: list[float], turn: np.ndarray) -> list[float]:
    return (turn[:3, :3] @ ras + turn[:3, 3]).tolist()
