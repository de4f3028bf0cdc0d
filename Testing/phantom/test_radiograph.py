"""Radiographs: geometry and physics of the projection, noise by exposure, truth in the image, files on disk."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.exposure import Exposure, detect, expose, sample_exposure
from CSpineFractureLib.phantom.projection import BONE_SLOPE, WATER_PER_MM, LateralView, attenuation, project
from CSpineFractureLib.phantom.radiograph import CLASSES, Body, make_radiograph, radiograph_plan
from CSpineFractureLib.phantom.radiograph_files import TABLE_FILE, TRUTH_FILE, class_of, make_radiographs

SMALL = Body((4.0, 2.5, 2.5), 60.0, 90.0, -5.0, -5.0)
TINY = Body((6.0, 4.0, 4.0), 30.0, 40.0, -40.0, -40.0)
CENTRED = LateralView((0.0, 0.0, 0.0), 1500.0, 1200.0, 0.5, (161, 141))


def block(fill, shape=(60, 60, 50), spacing=2.0):
    """A volume of one HU value around the RAS origin, with its matrix."""
    matrix = np.diag([-spacing, -spacing, spacing, 1.0])
    matrix[:3, 3] = np.array([shape[2] - 1, shape[1] - 1, 1 - shape[0]]) * spacing / 2
    return np.full(shape, fill, np.float32), matrix


def ball_at(point, radius=5.0, **view):
    """The picture of a dense ball in air."""
    hu, matrix = block(-1000.0)
    k, j, i = np.indices(hu.shape)
    ras = (matrix @ np.stack([i, j, k, np.ones_like(i)]).reshape(4, -1))[:3].T
    away = np.linalg.norm(ras - point, axis=1).reshape(hu.shape)
    hu[:] = -1000 + 2000 * np.clip(0.5 + (radius - away) / 2.0, 0, 1)
    return project(hu, matrix, replace(CENTRED, **view))


def middle_of(image):
    row, column = np.indices(image.shape)
    return np.array([(row * image).sum(), (column * image).sum()]) / image.sum()


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def radiographs():
    return {kind: make_radiograph(3, kind, body=SMALL) for kind in CLASSES}


@pytest.fixture(scope="module")
def neck():
    """Line integrals of a neck-like slab with a spine and air around."""
    y = np.abs(np.linspace(-1, 1, 240))[None, :]
    return np.where(y < 0.6, 3.0 + 0.8 * (y < 0.15), 0.0).repeat(300, axis=0).astype(np.float32)


@pytest.mark.parametrize("hu", [0.0, 60.0, 900.0])
def test_a_slab_gives_attenuation_times_thickness_along_the_central_ray(hu):
    image = project(*block(hu), CENTRED)
    assert image[80, 70] == pytest.approx(float(attenuation(np.float32(hu))) * 100, rel=0.01)
    tilt = replace(CENTRED, turn_deg=8.0)
    assert project(*block(hu), tilt)[80, 70] == pytest.approx(image[80, 70] / np.cos(np.radians(8)), rel=0.005)


def test_integers_and_floats_give_the_same_and_air_gives_nothing():
    hu, matrix = block(-1000.0)
    hu[20:40] = 300
    np.testing.assert_array_equal(project(hu, matrix, CENTRED), project(hu.astype(np.int16), matrix, CENTRED))
    assert project(*block(-1000.0), CENTRED).max() == pytest.approx(0, abs=1e-5)


def test_water_and_bone_attenuate_as_documented():
    found = attenuation(np.array([-1024, -1000, 0, 1000], np.float32))
    np.testing.assert_allclose(found, [0, 0, WATER_PER_MM, WATER_PER_MM * (1 + BONE_SLOPE)], rtol=1e-5, atol=1e-8)


def test_magnification_is_the_ratio_of_the_distances():
    near, far = (middle_of(ball_at((0, y, 0))) for y in (-20.0, 20.0))
    assert np.abs(far - near)[1] * 0.5 == pytest.approx(40 * 1500 / 1200, rel=0.005)
    closer = (middle_of(ball_at((30, y, 0), from_right=True)) for y in (-20.0, 20.0))
    assert np.abs(np.subtract(*closer))[1] * 0.5 == pytest.approx(40 * 1500 / 1170, rel=0.005)


@pytest.mark.parametrize(("from_right", "anterior_left"), [(True, True), (True, False), (False, True)])
def test_points_fall_where_their_shadows_fall(from_right, anterior_left):
    point = np.array([18.0, 11.0, 14.0])
    view = {"from_right": from_right, "anterior_left": anterior_left, "aim": (2.0, 3.0, 4.0)}
    view |= {"turn_deg": 5.0, "tilt_deg": -4.0, "roll_deg": 7.0}
    np.testing.assert_allclose(
        middle_of(ball_at(point, **view)), replace(CENTRED, **view).project_points(point)[0], atol=0.3
    )


def test_superior_is_up_and_the_flag_says_where_anterior_is():
    row, column = middle_of(ball_at((0, 15, 20), anterior_left=True))
    assert row < 60
    assert column < 60
    assert middle_of(ball_at((0, 15, 20), anterior_left=False))[1] > 80


def test_a_beam_along_another_axis_is_refused():
    hu, matrix = block(0.0)
    with pytest.raises(ValueError, match="axis i"):
        project(hu, matrix, replace(CENTRED, turn_deg=80.0))
    with pytest.raises(ValueError, match="inside the volume"):
        project(hu, matrix, replace(CENTRED, source_detector_mm=1210.0))


def test_the_number_of_threads_changes_no_bit():
    hu, matrix = block(0.0)
    hu += np.random.default_rng(0).normal(0, 300, hu.shape).astype(np.float32)
    pictures = []
    for n in (2, 1):
        torch.set_num_threads(n)
        pictures.append(project(hu, matrix, replace(CENTRED, turn_deg=3.0)))
    np.testing.assert_array_equal(*pictures)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_gives():
    hu, matrix = block(0.0)
    hu += np.random.default_rng(0).normal(0, 300, hu.shape).astype(np.float32)
    np.testing.assert_allclose(project(hu, matrix, CENTRED, "cuda"), project(hu, matrix, CENTRED), rtol=1e-3, atol=1e-3)


def test_noise_falls_with_exposure_as_quanta_do(neck):
    field = np.ones_like(neck)
    spread = {}
    for quanta in (500.0, 8000.0):
        exposure = Exposure(quanta=quanta, scatter=0.0, blur_mm=0.0)
        counted, open_beam = detect(neck, field, np.random.default_rng(0), exposure, 0.6)
        flat = counted[100:200, 60:95]
        assert flat.mean() == pytest.approx(open_beam * np.exp(-3.0), rel=0.01)
        spread[quanta] = flat.std() / flat.mean()
    assert spread[500.0] / spread[8000.0] == pytest.approx(4, rel=0.1)
    grain = {}
    for quanta in (500, 8000):
        pair = [expose(neck, np.random.default_rng(n), Exposure(quanta=quanta)).astype(int) for n in (0, 1)]
        grain[quanta] = (pair[0] - pair[1])[100:200, 60:95].std()
    assert grain[500] > 2.5 * grain[8000]


def test_scatter_lowers_the_contrast_of_bone(neck):
    field, contrast = np.ones_like(neck), []
    for scatter in (0.0, 0.6):
        exposure = Exposure(quanta=1e6, scatter=scatter, blur_mm=0.0)
        counted, _ = detect(neck, field, np.random.default_rng(0), exposure, 0.6)
        contrast.append(counted[150, 80] / counted[150, 120])
    assert contrast[1] < 0.85 * contrast[0]


def test_bone_is_bright_air_is_black_and_the_collimated_border_is_covered(neck):
    exposure = Exposure(inset=(0.1, 0.1, 0.0, 0.0), shutter=True)
    image = expose(neck, np.random.default_rng(1), exposure)
    assert image.dtype == np.uint8
    assert image[100:200, 110:130].mean() > image[100:200, 70:95].mean() + 30
    assert image[100:200, 5:30].mean() < 20
    assert image[:20].max() == image[-20:].max() == 0
    assert expose(neck, np.random.default_rng(1), replace(exposure, shutter=False))[:20].min() > 200


def test_a_marker_is_a_bright_letter_in_its_corner(neck):
    plain, marked = (
        expose(neck, np.random.default_rng(1), Exposure(marker=letter, marker_corner=(1, 0))).astype(int)
        for letter in (None, "R")
    )
    row, column = np.nonzero(marked - plain > 100)
    assert len(row) > 50
    assert row.min() > 200
    assert column.max() < 80


def test_the_same_seed_gives_the_same_pixels_and_another_does_not():
    first, again, other = (make_radiograph(seed, "fracture", body=TINY) for seed in (5, 5, 6))
    np.testing.assert_array_equal(again.image, first.image)
    assert (again.injuries, again.centres) == (first.injuries, first.centres)
    assert other.image.tobytes() != first.image.tobytes()


def test_the_classes_differ_in_the_injury_alone(radiographs):
    assert not radiographs["normal"].injuries
    assert radiographs["fracture"].injuries
    assert all(i.level in radiographs["fracture"].centres for i in radiographs["fracture"].injuries)
    (slipped,) = radiographs["dislocation"].injuries
    assert abs(slipped.shift_mm) >= 2
    assert len({(r.image.shape, r.pixel_mm, r.magnification, r.anterior_left) for r in radiographs.values()}) == 1
    plans = [replace(radiograph_plan(3, kind), fractures=(), dislocation=None) for kind in CLASSES]
    assert plans[0] == plans[1] == plans[2]


def test_a_box_holds_what_is_injured_and_stays_in_the_image(radiographs):
    for radiograph in radiographs.values():
        rows, columns = radiograph.image.shape
        for injury in radiograph.injuries:
            x, y, width, height = injury.box
            assert 0 <= x < x + width <= columns
            assert 0 <= y < y + height <= rows
    (slipped,) = radiographs["dislocation"].injuries
    x, y, width, height = slipped.box
    at = radiographs["dislocation"].centres[slipped.level]
    assert x < at[0] < x + width
    assert y < at[1] < y + height


def test_levels_stand_below_each_other_in_the_image(radiographs):
    rows = [radiographs["normal"].centres[f"C{n}"][1] for n in range(2, 8)]
    assert (np.diff(rows) > 5).all()


def test_an_unknown_class_is_refused_with_a_sentence():
    with pytest.raises(UserError, match="sprain"):
        make_radiograph(1, "sprain", body=SMALL)


def test_techniques_vary_but_depend_on_the_stream_alone():
    drawn = [sample_exposure(np.random.default_rng(n)) for n in range(30)]
    assert drawn[3] == sample_exposure(np.random.default_rng(3))
    assert len({e.quanta for e in drawn}) == 30
    assert {e.marker for e in drawn} == {None, "L", "R"}


def test_each_run_of_three_seeds_holds_each_class_once():
    for first in range(0, 90, 3):
        assert {class_of(seed) for seed in range(first, first + 3)} == set(CLASSES)
    assert len({tuple(class_of(seed) for seed in range(first, first + 3)) for first in range(0, 90, 3)}) > 3
    assert [class_of(seed, (2, 1, 1)) for seed in range(8)].count("normal") == 4


def test_files_are_complete_resumable_and_the_same_for_any_number_of_jobs(tmp_path):
    one, two, seeds, reported = tmp_path / "one", tmp_path / "two", [0, 1, 2], []
    files = make_radiographs(one, seeds, 1, lambda done, total: reported.append((done, total)), body=TINY)
    assert reported == [(n, 3) for n in range(4)]
    assert {f.parent.name for f in files} == set(CLASSES)
    rows = json.loads((one / TRUTH_FILE).read_text(encoding="utf-8"))["radiographs"]
    assert [(row["seed"], row["class"], one / row["file"]) for row in rows] == [
        (s, class_of(s), f) for s, f in zip(seeds, files, strict=True)
    ]
    for row in rows:
        picture = sitk.GetArrayFromImage(sitk.ReadImage(str(one / row["file"])))
        assert picture.dtype == np.uint8
        assert bool(row["injuries"]) == (row["class"] != "normal")
    with (one / TABLE_FILE).open(encoding="utf-8", newline="") as file:
        assert [line["file"] for line in csv.DictReader(file)] == [row["file"] for row in rows]
    assert not list(one.rglob("*.part*"))

    make_radiographs(two, seeds, 2, body=TINY)
    for name in [TRUTH_FILE, TABLE_FILE, *(f.relative_to(one) for f in files)]:
        assert (one / name).read_bytes() == (two / name).read_bytes()

    files[1].unlink()
    kept, lost = files[0].stat().st_mtime_ns, (two / files[1].relative_to(one)).read_bytes()
    make_radiographs(one, seeds, 1, body=TINY)
    assert files[0].stat().st_mtime_ns == kept
    assert files[1].read_bytes() == lost


def test_what_a_broken_run_has_finished_is_kept(tmp_path, monkeypatch):
    from CSpineFractureLib.phantom import radiograph_files

    made = []

    def two_then_stop(seed, kind, body):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(seed)
        return make_radiograph(seed, kind, body=body)

    monkeypatch.setattr(radiograph_files, "make_radiograph", two_then_stop)
    with pytest.raises(KeyboardInterrupt):
        make_radiographs(tmp_path, [0, 1, 2], body=TINY)
    with (tmp_path / radiograph_files.JOURNAL_FILE).open("a", encoding="utf-8") as journal:
        journal.write('\n{"seed": 2, "cla')
    made.clear()
    make_radiographs(tmp_path, [0, 1, 2], body=TINY)
    assert made == [2]
    assert len(json.loads((tmp_path / TRUTH_FILE).read_text(encoding="utf-8"))["radiographs"]) == 3


def test_a_radiograph_of_another_share_moves_to_its_new_class(tmp_path):
    seed = next(s for s in range(20) if class_of(s) != "normal")
    make_radiographs(tmp_path, [seed], body=TINY)
    (now,) = make_radiographs(tmp_path, [seed], share=(1, 0, 0), body=TINY)
    assert [p.parent.name for p in tmp_path.glob("*/*.png")] == ["normal"] == [now.parent.name]


@pytest.mark.parametrize("share", [(0, 0, 0), (1, -1, 1), (1, 1)])
def test_a_share_without_sense_is_refused_with_a_sentence(tmp_path, share):
    with pytest.raises(UserError, match="whole numbers"):
        make_radiographs(tmp_path, [0], share=share)


def test_a_folder_that_cannot_be_made_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="output folder"):
        make_radiographs(tmp_path / "taken", [0], body=TINY)
