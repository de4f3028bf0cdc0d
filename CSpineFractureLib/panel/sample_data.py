"""The sample CT in Slicer's module Sample Data. The project is not hosted yet: the CT is made here, not downloaded.

Slicer reads this file whenever it starts, so what is slow to import (NumPy, SciPy) waits until the sample is asked for.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.resources import resource_path

NAME = "CSpineFracture phantom CT"


def register_sample_data() -> None:
    """Offer the sample in Sample Data. Called when the program has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="CSpineFracture",
        sampleName=NAME,
        thumbnailFileName=str(resource_path("Icons/PhantomCT.png")),
        nodeNames=[NAME],
        customDownloader=load_sample,
    )


def load_sample(_source: Any = None) -> slicer.vtkMRMLScalarVolumeNode:
    """Make the sample, or take the one made before, add it to the scene and show it in the slice views.

    The voxels' SHA-256 is compared with the one the tests know; another processor's arithmetic may differ in the last
    bit, so a difference is noted and not refused. Raises ``UserError`` when it cannot be made.
    """
    import numpy as np

    from CSpineFractureLib.panel.sample_ct import SHA256, digest
    from CSpineFractureLib.scene.volume_node import add_volume_node
    from CSpineFractureLib.volume.ct_volume import CTVolume

    path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory() or ".") / f"cspine-{SHA256[:8]}.npz"
    if not path.is_file():
        _make(path)
    with np.load(path, allow_pickle=False) as content:
        hu, matrix = content["hu"], content["ijk_to_ras"]
    if digest(hu) != SHA256:
        logging.info("The phantom CT made here differs in some voxels from the one the tests know.")
    node = add_volume_node(slicer.mrmlScene, CTVolume(hu, matrix), NAME)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def _make(path: Path) -> None:
    """Let a child process write the sample; the program stays responsive meanwhile."""
    from CSpineFractureLib.panel.child import start_child
    from CSpineFractureLib.panel.commands import python_program
    from CSpineFractureLib.panel.messages import plain_failure

    path.parent.mkdir(parents=True, exist_ok=True)
    process = start_child([python_program(), "-m", "CSpineFractureLib.panel.sample_ct", os.fspath(path)])
    while process.poll() is None:
        slicer.app.processEvents()
        time.sleep(0.05)
    errors = process.communicate()[1].strip().splitlines()
    if not path.is_file():
        message = plain_failure(errors[-1] if errors else "The phantom CT could not be made.")
        raise UserError(message)
