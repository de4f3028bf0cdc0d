"""Tiny profiles without networks, for testing the engine, the worker and the command line around them.

``fake`` marks seven slabs of the volume as C1-C7 and calls C2 fractured. Its thresholds steer it: ``delay`` seconds
per step, ``steps``; ``deaf`` 1: never asks whether it was cancelled; ``noise`` 1: prints to stdout as libraries do;
``crash`` 1: a fault of the program; ``die`` 1: the process ends at once, as when memory runs out.
"""

from __future__ import annotations

import os
import time

import numpy as np

from CSpineFractureLib.findings.study_output import CamSlice, StudyOutput
from CSpineFractureLib.findings.study_result import LEVELS, Box, FractureFinding, SliceFinding, VertebraFinding
from CSpineFractureLib.pipeline.profiles import Profile, register_profile

NAME = "fake"


def run(volume, context):
    steps = int(context.threshold("steps", 3))
    with context.stage("fake", total=steps, message="Pretending"):
        for step in range(steps):
            time.sleep(context.threshold("delay", 0.0))
            if context.threshold("noise", 0):
                print("a library chats on stdout")
                os.system("echo a child process chats on stdout")
            if context.threshold("crash", 0):
                message = "something broke"
                raise RuntimeError(message)
            if context.threshold("die", 0):
                os._exit(9)
            if not context.threshold("deaf", 0):
                context.check_cancelled()
            context.progress("fake", step + 1, steps, "Pretending")
    context.warn("pretended", "These findings are pretended.")
    context.warn("pretended", "These findings are pretended.")
    result = context.new_result(volume, level_rule="pretended")
    labels = np.zeros(volume.shape_kji, np.uint8)
    edges = np.linspace(0, volume.shape_kji[0], 8).astype(int)
    nk, nj, ni = volume.shape_kji
    for number, level in enumerate(LEVELS, start=1):
        first, last = int(edges[7 - number]), int(edges[8 - number]) - 1
        labels[first : last + 1, nj // 3 : 2 * nj // 3, ni // 3 : 2 * ni // 3] = number
        center = volume.ras_of([(ni - 1) / 2, (nj - 1) / 2, (first + last) / 2]).tolist()
        size = [ni / 3 * volume.spacing_mm[0], nj / 3 * volume.spacing_mm[1], (last - first + 1) * volume.spacing_mm[2]]
        probability = 0.9 if level == "C2" else 0.1
        result.vertebrae.append(
            VertebraFinding(
                level, level, "full", True, 0.9, center, Box(center, size), [first, last], probability, True, 5000.0
            )
        )
    c2 = result.vertebrae[1]
    result.fractures = [FractureFinding("fracture-1", "C2", 0.8, Box(c2.center_ras, [8.0, 8.0, 8.0]))]
    result.slices = [SliceFinding(k, 0.1) for k in range(nk)]
    result.study.fracture_probability = 0.9
    cam = np.full(volume.shape_kji, 50, np.uint8)
    pictures = [CamSlice(k, 0.9, np.full((16, 16), 0.3, np.float32), np.eye(16, dtype=np.float32)) for k in (3, 2)]
    return StudyOutput(result, labels, cam, volume.ijk_to_ras, pictures)


register_profile(Profile(NAME, "A profile for tests", run=run, explains=True))
