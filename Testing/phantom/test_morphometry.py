"""Fifty synthetic people, measured in their voxels and compared with published ranges of means."""

from __future__ import annotations

import numpy as np
import pytest
from bones import column_of

from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.truth import LABELS
from CSpineFractureLib.phantom.vertebral_arch import canal_centre

PEOPLE = 50
PLAN = StudyPlan(spacing_mm=(0.7, 0.7, 0.7), fractures=(), mimics=())
SUBAXIAL = ("C3", "C4", "C5", "C6", "C7")

# Ranges that hold the published means, mm. Width and depth of end-plates: Panjabi et al., Spine 1991;16:861-869, up to
# the transverse diameters of the Galloway collection (C3 22.1 to C6 24.7). Height: Panjabi (posterior) to Gilad &
# Nissan, Spine 1986;11:154-157 (anterior). Canal: Parihar et al. (CT, asymptomatic) to Panjabi (specimens).
# Disc: middle height, Shin et al., Surg Neurol Int 2024;15:196 (4.1 +- 1.2) to Gilad & Nissan (up to 5.6).
RANGES = {
    "width": {"C3": (15.8, 22.1), "C4": (17.0, 22.7), "C5": (17.5, 23.6), "C6": (18.5, 24.7), "C7": (21.8, 27.0)},
    "depth": {"C3": (14.5, 16.5), "C4": (14.5, 16.5), "C5": (14.5, 17.9), "C6": (15.0, 18.5), "C7": (15.5, 18.5)},
    "height": {"C3": (11.6, 15.0), "C4": (11.4, 14.6), "C5": (11.4, 14.4), "C6": (10.9, 14.4), "C7": (12.8, 15.8)},
    "canal depth": {"C3": (13.2, 17.0), "C4": (12.8, 17.7), "C5": (13.0, 17.4), "C6": (13.2, 18.1), "C7": (13.4, 16.5)},
    "canal width": {"C3": (20.4, 24.5), "C4": (20.4, 24.7), "C5": (21.0, 24.9), "C6": (21.0, 25.8), "C7": (20.5, 25.5)},
    "disc": {"C3": (2.9, 5.6), "C4": (2.9, 5.6), "C5": (2.9, 5.6), "C6": (2.9, 5.6)},
}


@pytest.fixture(scope="module")
def measured():
    """Per measure and level, one value per person (mm); and HU samples per tissue."""
    sizes = {name: {level: [] for level in levels} for name, levels in RANGES.items()}
    hu = {"trabecular": [], "cortical": [], "ages": []}
    for seed in range(PEOPLE):
        person = column_of(500 + seed, PLAN)
        for level in SUBAXIAL:
            for name, value in _sizes(person, level).items():
                if level in sizes[name]:
                    sizes[name][level].append(value)
        inside, shell = _bone_hu(person)
        hu["trabecular"].append(inside)
        hu["cortical"].append(shell)
        hu["ages"].append(person.spine.age)
    return sizes, hu


def _line(person, v, start, direction, reach=34.0, step=0.1):
    """Labels along a line from ``start`` (local mm) both ways, with positions (mm)."""
    t = np.arange(-reach, reach + step, step)
    local = np.asarray(start, float) + t[:, None] * np.asarray(direction, float)
    world = v.centre + local @ v.axes
    ijk = np.rint((np.c_[world, np.ones(len(t))] @ np.linalg.inv(person.canvas.ijk_to_ras).T)[:, :3]).astype(int)
    shape = np.array(person.labels.shape[::-1])
    inside = ((ijk >= 0) & (ijk < shape)).all(axis=1)
    values = np.zeros(len(t), int)
    values[inside] = person.labels[ijk[inside, 2], ijk[inside, 1], ijk[inside, 0]]
    return t, values


def _run(t, hit):
    """Length (mm) of the run of hits that holds the middle of the line."""
    middle = len(t) // 2
    if not hit[middle]:
        return 0.0
    low, high = middle, middle
    while low > 0 and hit[low - 1]:
        low -= 1
    while high < len(t) - 1 and hit[high + 1]:
        high += 1
    return float(t[high] - t[low] + (t[1] - t[0]))


def _sizes(person, level):
    v, label = person.spine[level], LABELS[level]
    own = lambda start, direction: (lambda t, x: _run(t, x == label))(*_line(person, v, start, direction))  # noqa: E731
    free = lambda start, direction: (lambda t, x: _run(t, x == 0))(*_line(person, v, start, direction))  # noqa: E731
    half, depth = v.height / 2, v.depth / 2
    canal = canal_centre(v)
    sizes = {
        "width": own((0, 0.35 * depth, -0.6 * half), (1, 0, 0)),
        "depth": own((0, 0, 0.4 * half), (0, 1, 0)),
        "height": np.mean([own((0, y * depth, 0), (0, 0, 1)) for y in (-0.6, 0.6)]),
        "canal width": free((0, canal + 0.15 * v.canal_depth, 0), (1, 0, 0)),
        "canal depth": min(free((0, canal, z), (0, 1, 0)) for z in (-2.0, -3.5, -5.0, -6.5)),
    }
    below = person.spine.vertebrae[person.spine.vertebrae.index(v) + 1]
    middle = (v.centre - v.axes[2] * half + below.centre + below.axes[2] * below.height / 2) / 2
    sizes["disc"] = free((middle - v.centre) @ v.axes.T, (0, 0, 1))
    return sizes


def _bone_hu(person):
    """Mean HU in the middle of the bodies C3-C5, and the cortex as the 99th percentile of the vertebrae."""
    values = []
    for level in ("C3", "C4", "C5"):
        v = person.spine[level]
        i, j, k = np.rint(np.linalg.inv(person.canvas.ijk_to_ras) @ [*v.centre, 1])[:3].astype(int)
        values.append(person.canvas.hu[k - 3 : k + 4, j - 4 : j + 5, i - 5 : i + 6].mean())
    bone = person.canvas.hu[(person.labels > 0) & (person.labels < 8)]
    return float(np.mean(values)), float(np.percentile(bone, 98))


@pytest.mark.parametrize(("name", "level"), [(name, level) for name, levels in RANGES.items() for level in levels])
def test_the_mean_over_fifty_people_lies_within_the_published_range(measured, name, level):
    values = np.array(measured[0][name][level])
    assert len(values) == PEOPLE
    low, high = RANGES[name][level]
    assert low <= values.mean() <= high, f"{name} of {level}: {values.mean():.1f} +- {values.std():.1f} mm"
    assert 0.03 <= values.std() / values.mean() <= 0.5, "people must differ, and not wildly"


def test_bodies_are_deeper_than_high_as_katz_found(measured):
    for level in ("C4", "C5", "C6"):
        assert np.mean(measured[0]["depth"][level]) > np.mean(measured[0]["height"][level])


def test_bone_density_lies_in_range_and_falls_with_age(measured):
    """Cervical trabecular means of 200-420 HU; cortex 700-1450 HU."""
    hu = measured[1]
    assert 200 <= np.mean(hu["trabecular"]) <= 420
    assert min(hu["trabecular"]) > 80
    assert 700 <= np.mean(hu["cortical"]) <= 1450
    assert np.corrcoef(hu["ages"], hu["trabecular"])[0, 1] < -0.4
