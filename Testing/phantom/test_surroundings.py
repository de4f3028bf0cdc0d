"""The synthetic person around the spine: tissues have their HU, air is open, bones keep apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage

from CSpineFractureLib.phantom.anatomy import stream
from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.morphometry import Spine, sample_spine
from CSpineFractureLib.phantom.sdf import Canvas
from CSpineFractureLib.phantom.surroundings import Surroundings
from CSpineFractureLib.phantom.table import paint_table

SEEDS = (1, 2, 6)
PEOPLE = range(40, 90)
COARSE_MM = 2.8
STEP_MM = 2.2
TISSUES = ("muscle", "fat", "air", "lung", "thyroid", "brain", "cord", "csf", "disc")


@dataclass
class Painted:
    """A painted person: HU on the canvas, the surroundings and the frames they were drawn in."""

    canvas: Canvas
    person: Surroundings
    frames: Frames

    def hu_at(self, point: list[float]) -> float:
        return float(self.canvas.hu[self.voxel(point)])

    def voxel(self, point: list[float]) -> tuple[int, int, int]:
        i, j, k = np.rint((np.linalg.inv(self.canvas.ijk_to_ras) @ [*point, 1])[:3]).astype(int)
        return int(k), int(j), int(i)


def paint(seed: int, spine: Spine | None = None, wide: float = 190.0, step: float = STEP_MM) -> Painted:
    spine = spine or sample_spine(stream(seed, "spine"))
    low = (-wide / 2, -130, spine["T1"].centre[2] - 42)
    high = (wide / 2, 110, spine["C1"].centre[2] + 55)
    canvas = Canvas.covering(low, high, (step,) * 3)
    person = Surroundings(spine, stream(seed, "surroundings"))
    return Painted(canvas, person, person.paint(canvas))


@pytest.fixture(scope="module")
def people() -> dict[int, Painted]:
    return {seed: paint(seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def fifty() -> dict[str, list[float]]:
    """Per tissue the median HU at its known places, one value per person."""
    found: dict[str, list[float]] = {}
    for seed in PEOPLE:
        painted = paint(seed, step=COARSE_MM)
        for tissue, places in painted.person.landmarks.items():
            found.setdefault(tissue, []).append(float(np.median([painted.hu_at(p) for p in places])))
    return found


@pytest.mark.parametrize("tissue", TISSUES)
def test_a_tissue_of_fifty_people_has_its_hounsfield_units_at_known_places(fifty, tissue):
    low, high = Surroundings.tissue_hu[tissue]
    values = np.array(fifty[tissue])
    assert len(values) >= 0.9 * len(PEOPLE), "a field of view may cut a tissue off"
    outside = values[(values < low) | (values > high)]
    assert not len(outside), f"{tissue}: {outside} HU, not within {low} to {high}"


def test_arteries_hold_blood_or_contrast_in_fifty_people(fifty):
    ranges = [Surroundings.tissue_hu[name] for name in ("blood", "contrast")]
    kinds = [next((n for n, (low, high) in enumerate(ranges) if low <= hu <= high), None) for hu in fifty["artery"]]
    assert None not in kinds
    assert 5 <= sum(kinds) <= 30, "about three of ten have contrast"


def test_people_differ_in_their_tissues(people):
    for value in ("cord_hu", "disc_hu", "muscle_hu", "cortical_hu", "fat_mm"):
        assert len({round(getattr(p.person.person, value), 3) for p in people.values()}) == len(SEEDS)


def test_the_airway_is_open_from_the_nasopharynx_to_the_trachea(people):
    for seed, painted in people.items():
        parts, _ = ndimage.label((painted.canvas.hu < -450) & (painted.frames.skin < -2))
        top = parts[painted.voxel(painted.person.landmarks["nasopharynx"][0])]
        below = parts[painted.voxel(painted.person.landmarks["air"][0])]
        assert top > 0, seed
        assert top == below, seed


def test_no_other_bone_touches_the_vertebrae(people):
    for painted in people.values():
        hard = painted.canvas.hu > 600
        assert not (hard & (painted.frames.bone < 0.3)).any()


def test_the_occipital_condyles_rest_on_the_atlas(people):
    for seed, painted in people.items():
        x, y, z = painted.frames.head
        joint = (np.abs(np.abs(x) - 17) < 9) & (np.abs(y + 13) < 13) & (z > 0) & (z < 16)
        hard = joint & (painted.canvas.hu > 450)
        for side in (-1, 1):
            gap = painted.frames.bone[hard & (x * side > 0)].min()
            assert 0.8 < gap < 3.5, f"seed {seed}: {gap:.1f} mm"


def test_the_canal_holds_neither_bone_nor_air(people):
    for painted in people.values():
        f = painted.frames
        for level in ("C2", "C3", "C4", "C5", "C6", "C7", "T1"):
            r, a = (float(np.interp(f.level[level], f.heights, q)) for q in (f.canal_r, f.canal_a))
            k, j, i = painted.voxel([r, a, f.level[level]])
            around = painted.canvas.hu[k - 1 : k + 2, j - 2 : j + 3, i - 3 : i + 4]
            assert around.min() > -130
            assert around.max() < 120


def test_couch_headrest_and_collar_lie_outside_the_body():
    painted = paint(4)
    before = painted.canvas.hu.copy()
    added = 0
    for seed in range(5):
        painted.canvas.hu[:] = before
        paint_table(painted.frames, painted.frames.skin, np.random.default_rng(seed))
        changed = np.abs(painted.canvas.hu - before) > 1
        inside = painted.frames.skin < -2
        assert (changed & inside).sum() <= 0.0005 * inside.sum()
        added += bool((changed & (painted.frames.skin > 4)).sum() > 300)
    assert added >= 3


def test_the_same_generator_gives_the_same_voxels_and_another_does_not(people):
    again = paint(1)
    np.testing.assert_array_equal(again.canvas.hu, people[1].canvas.hu)
    other = Canvas.covering((-95, -130, -10), (95, 110, 10), (4.0,) * 3)
    one, two = (Surroundings(again.person.spine, np.random.default_rng(n)) for n in (1, 2))
    one.paint(other)
    first = other.hu.copy()
    other.hu[:] = -1000
    two.paint(other)
    assert (np.abs(first - other.hu) > 20).mean() > 0.1


def test_left_and_right_are_not_mirror_images():
    spine = sample_spine(stream(1, "spine"))
    straight = [replace(v, centre=v.centre * [0, 1, 1], axes=_upright(v.axes)) for v in spine.vertebrae]
    painted = paint(1, replace(spine, vertebrae=straight))
    hu = painted.canvas.hu
    body = (painted.frames.skin < -3) & (painted.frames.skin[:, :, ::-1] < -3)
    apart = np.abs(hu - hu[:, :, ::-1])[body]
    assert (apart > 20).mean() > 0.1
    assert np.corrcoef(hu[body], hu[:, :, ::-1][body])[0, 1] > 0.5


def _upright(axes: np.ndarray) -> np.ndarray:
    """Axes without turn and sideways bend, with the same forward lean."""
    lean = np.arctan2(axes[2][1], axes[2][2])
    c, s = np.cos(lean), np.sin(lean)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def test_cartilage_and_arteries_harden_with_age():
    spine = sample_spine(stream(2, "spine"))
    hard = []
    for age in (20.0, 90.0):
        painted = paint(1, replace(spine, age=age), wide=70)
        f = painted.frames
        heights = f.heights[:, None, None]
        larynx = (np.abs(f.tu) < 24) & (np.abs(f.tv) < 28) & (f.bone > 4)
        larynx &= (heights < f.level["C4"] - 4) & (heights > f.level["T1"])
        hard.append(int((larynx & (painted.canvas.hu > 180)).sum()))
    assert hard[1] > 2 * hard[0]
    assert hard[1] > 50


def test_every_crop_can_be_painted():
    spine = sample_spine(stream(9, "spine"))
    middle = spine["C4"].centre
    for below, above in ((-300, -260), (-20, 20), (60, 100), (300, 330)):
        canvas = Canvas.covering(np.add(middle, (-40, -40, below)), np.add(middle, (40, 40, above)), (3.0,) * 3)
        Surroundings(spine, stream(9, "surroundings")).paint(canvas)
        assert np.isfinite(canvas.hu).all()
        assert canvas.hu.min() >= -1024
