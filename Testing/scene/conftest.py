"""Fixtures of the scene tests. Real Slicer libraries, one application for the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from scene_study import GRIDS, make_study

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.volume.ct_volume import CTVolume

if TYPE_CHECKING:
    import slicer
    from trame_slicer.core import SlicerApp


@pytest.fixture
def an_app() -> Iterator[SlicerApp]:
    """The headless application with an empty scene."""
    pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")
    from CSpineFractureLib.scene.headless import headless_slicer

    with headless_slicer() as app:
        yield app


@pytest.fixture
def a_scene(an_app: SlicerApp) -> slicer.vtkMRMLScene:
    """The empty scene of the headless application."""
    return an_app.scene


@pytest.fixture
def a_study() -> tuple[CTVolume, StudyOutput]:
    """An ordinary axial study with a suspected fracture and a Grad-CAM."""
    return make_study(GRIDS["axial"])
