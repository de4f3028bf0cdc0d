"""Pictures of a small synthetic study, drawn by Slicer's own views."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs the Slicer libraries (extra standalone)")
pytest.importorskip("trame_slicer", reason="needs the Slicer libraries (extra standalone)")

import vtk
from vtk.util.numpy_support import vtk_to_numpy

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import Box, FractureFinding, StudyFinding, StudyResult, VertebraFinding
from CSpineFractureLib.findings.study_result import VolumeInfo as Grid
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.headless import headless_slicer
from CSpineFractureLib.scene.render import FIELD_OF_VIEW_MM, framed_bounds, render_views
from CSpineFractureLib.scene.terminology import level_terms
from CSpineFractureLib.volume.ct_volume import CTVolume

NAMES = ("axial", "sagittal", "coronal", "three_d", "overview")
SHOWN = ("C2", "C3", "C5")
"""Blue and green levels only, so that warm colours are the Grad-CAM's."""
SIZE = 1000
SPACING = 2.0
MARKER = {"axial": (-60.0, 50.0, 0.0), "coronal": (-60.0, 0.0, 50.0), "sagittal": (0.0, 60.0, 50.0)}
"""Centres (RAS mm) of bright cubes of 10 mm: at the patient's left, in front, above."""


def small_study(with_cam: bool = True) -> tuple[CTVolume, StudyOutput]:
    """Soft tissue with three block vertebrae around the origin, and one bright cube per orientation."""
    n = 80
    matrix = np.diag([-SPACING, -SPACING, SPACING, 1.0])
    matrix[:3, 3] = np.array([1, 1, -1]) * SPACING * (n - 1) / 2
    axis = matrix[0, 0] * np.arange(n) + matrix[0, 3]
    right, front, above = axis[None, None, :], axis[None, :, None], -axis[:, None, None]
    hu = np.full((n, n, n), 40, np.int16)
    labels = np.zeros((n, n, n), np.uint8)
    for centre in MARKER.values():
        away = [abs(place - middle) for place, middle in zip((right, front, above), centre, strict=True)]
        hu[(away[0] <= 5) & (away[1] <= 5) & (away[2] <= 5)] = 3000
    vertebrae = []
    for level, height in zip(SHOWN, (24.0, 0.0, -24.0), strict=True):
        block = (abs(right) < 16) & (abs(front) < 14) & (abs(above - height) < 9)
        hu[block], labels[block] = 400, int(level[1])
        slices = np.flatnonzero(block.any(axis=(1, 2)))
        box = Box([0.0, 0.0, height], [36.0, 32.0, 20.0])
        span = [int(slices[0]), int(slices[-1])]
        vertebrae.append(
            VertebraFinding(level, level, "full", True, 0.9, box.center_ras, box, span, None, True, 8000.0)
        )
    cam = np.zeros((n, n, n), np.uint8)
    cam[(right**2 + front**2 + above**2) < 8**2] = 230
    result = StudyResult(
        id="small",
        created="2026-01-01T00:00:00Z",
        software_version="0",
        status="complete",
        volume=Grid([n, n, n], [SPACING] * 3, matrix.tolist()),
        profile="two-stage",
        device="cpu",
        study=StudyFinding(0.5, "test"),
        vertebrae=vertebrae,
        fractures=[FractureFinding("f1", "C3", 0.0, Box([0.0, 0.0, 0.0], [20.0, 20.0, 12.0]))],
    )
    output = StudyOutput(result, labels, cam if with_cam else None, matrix if with_cam else None)
    return CTVolume(hu, matrix), output


def picture(path: Path) -> np.ndarray:
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    columns, rows, _ = reader.GetOutput().GetDimensions()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1].astype(int)


def drawn(folder: Path, with_cam: bool = True, with_segments: bool = True) -> dict[str, np.ndarray]:
    with headless_slicer() as app:
        nodes = build_scene(app.scene, *small_study(with_cam))
        nodes.segmentation.GetDisplayNode().SetVisibility(with_segments)
        return {path.stem: picture(path) for path in render_views(app, nodes, folder, (0.0, 0.0, 0.0))}


def near(shown: np.ndarray, colour: tuple[float, ...], tolerance: int = 45) -> int:
    return int((abs(shown - 255 * np.array(colour)).max(axis=2) <= tolerance).sum())


def warm(shown: np.ndarray) -> int:
    return int((shown[..., 0] - shown[..., 2] > 30).sum())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return drawn(tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def bare_pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return drawn(tmp_path_factory.mktemp("bare"), with_cam=False, with_segments=False)


def test_every_picture_is_written_large_enough_and_shows_something(pictures):
    assert tuple(pictures) == NAMES
    for name in NAMES:
        assert pictures[name].shape[2] == 3
        assert min(pictures[name].shape[:2]) >= 800, name
        assert pictures[name].std() > 10, name
    assert min(pictures["overview"].shape[:2]) >= 2 * SIZE


def test_the_overview_holds_the_four_pictures(pictures):
    sheet = pictures["overview"]
    corners = (sheet[:SIZE, :SIZE], sheet[:SIZE, -SIZE:], sheet[-SIZE:, :SIZE], sheet[-SIZE:, -SIZE:])
    for name, corner in zip(NAMES, corners, strict=False):
        assert np.array_equal(corner, pictures[name]), name


@pytest.mark.parametrize("name", ["sagittal", "coronal"])
@pytest.mark.parametrize("level", SHOWN)
def test_slices_show_each_segment_in_its_colour(pictures, bare_pictures, name, level):
    colour = level_terms()[level].colour
    assert near(pictures[name], colour) > near(bare_pictures[name], colour) + 100


def test_the_axial_slice_shows_the_segment_that_it_cuts(pictures, bare_pictures):
    colours = {level: level_terms()[level].colour for level in SHOWN}
    gained = {level: near(pictures["axial"], c) - near(bare_pictures["axial"], c) for level, c in colours.items()}
    assert gained["C3"] > 100
    assert gained["C2"] < 100


def test_3d_shows_the_surfaces_of_all_segments(pictures, bare_pictures):
    changed = abs(pictures["three_d"] - bare_pictures["three_d"]).max(axis=2) > 25
    rows = np.flatnonzero(changed.sum(axis=1) > 50)
    assert changed.mean() > 0.05
    assert rows[-1] - rows[0] > SIZE / 3


@pytest.mark.parametrize("name", ["axial", "sagittal", "coronal", "three_d"])
def test_grad_cam_shows_in_every_view_only_where_there_is_one(pictures, bare_pictures, name):
    assert warm(pictures[name]) > warm(bare_pictures[name]) + 300


@pytest.mark.parametrize("name", ["axial", "sagittal", "coronal"])
def test_segments_are_see_through(pictures, name):
    """Bone (400 HU) under a segment is brighter than the soft tissue around it, not black."""
    at = SIZE // 2 + int(12 / FIELD_OF_VIEW_MM[name.capitalize()] * SIZE)
    under = pictures[name][SIZE // 2 - 3 : SIZE // 2 + 3, at : at + 6]
    beside = pictures[name][SIZE // 2 - 60 : SIZE // 2 - 40, 200:220]
    assert under.mean() > beside.mean() + 10


@pytest.mark.parametrize("name", ["axial", "sagittal", "coronal"])
def test_slices_follow_slicers_orientation_and_scale(bare_pictures, name):
    shown = bare_pictures[name]
    edge = FIELD_OF_VIEW_MM[name.capitalize()]
    right, front, above = MARKER[name]
    across = {"axial": -right, "coronal": -right, "sagittal": -front}[name]
    up = front if name == "axial" else above
    rows, columns = np.nonzero((shown.min(axis=2) > 235) & _away_from_text(shown.shape))
    assert np.median(columns) == pytest.approx(SIZE / 2 + across / edge * SIZE, abs=SIZE * 3 / edge)
    assert np.median(rows) == pytest.approx(SIZE / 2 - up / edge * SIZE, abs=SIZE * 3 / edge)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), rel=0.15)
    assert np.ptp(columns) == pytest.approx(10 / edge * SIZE, rel=0.35)


def _away_from_text(shape: tuple[int, ...]) -> np.ndarray:
    """Without captions, sides and scale at the edges, and without the level names around the column."""
    rows, columns = np.indices(shape[:2])
    centre = (abs(rows - SIZE / 2) < 0.17 * SIZE) & (columns > 0.15 * SIZE)
    edges = (columns < 0.05 * SIZE) | (columns > 0.95 * SIZE)
    return (rows > 0.08 * SIZE) & (rows < 0.91 * SIZE) & ~centre & ~edges


def test_the_scene_is_left_as_it_was(tmp_path):
    with headless_slicer() as app:
        nodes = build_scene(app.scene, *small_study())
        before = [app.scene.GetNthNode(index).GetID() for index in range(app.scene.GetNumberOfNodes())]
        names_shown = nodes.level_names.GetDisplayNode().GetVisibility()
        render_views(app, nodes, tmp_path)
        after = [app.scene.GetNthNode(index).GetID() for index in range(app.scene.GetNumberOfNodes())]
        assert after == before
        assert nodes.level_names.GetDisplayNode().GetVisibility() == names_shown
        assert app.app_logic.GetSliceLogics().GetNumberOfItems() == 0


def test_without_segments_the_ct_is_framed():
    volume, output = small_study(with_cam=False)
    output.labels[:] = 0
    with headless_slicer() as app:
        low, high = framed_bounds(build_scene(app.scene, volume, output))
    assert low.tolist() == pytest.approx([-80.0] * 3)
    assert high.tolist() == pytest.approx([80.0] * 3)


def test_a_process_that_draws_ends_in_silence(tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_render;"
        "test_render.drawn(Path(sys.argv[2]), with_cam=False)"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert len(list(tmp_path.glob("*.png"))) == len(NAMES)
