"""Guards of speed by ratios of CPU times measured right after each other; never absolute times.

CPU time, for other work on the computer disturbs it less; the bounds are wide. ``cspine bench`` measures exactly.
"""

from __future__ import annotations

import time

import pytest
import SimpleITK as sitk

from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import PhantomStudy, make_study
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.training.bench_ct import resized
from CSpineFractureLib.training.bench_study import BenchPlan, measure_study

pytestmark = pytest.mark.slow

MOST_OVERHEAD = 2.5
MOST_GROWTH = 2.6
"""Of the time when slices double."""
LEAST_SPEEDUP = 1.5
SIZE = 128


@pytest.fixture(scope="module")
def neck() -> PhantomStudy:
    plan = StudyPlan((1.4, 1.4, 2.0), parse_fractures(["C5:burst"]), mimics=(), width_mm=150, depth_mm=150)
    return make_study(7, plan)


@pytest.fixture(scope="module")
def figures(neck, tmp_path_factory) -> dict:
    """Of a small CT, with its naive execution."""
    path = tmp_path_factory.mktemp("bench") / "ct.nrrd"
    sitk.WriteImage(resized(neck, 48, SIZE), str(path))
    plan = BenchPlan(device="cpu", repeat=1, queued=0, baseline=True, write=False)
    return measure_study(path, plan, lambda text, done, total: None)


def test_a_run_costs_little_beyond_its_networks(figures):
    assert {"column-locator", "vertebra-detector", "slice-classifier"} <= set(figures["forward_s"])
    assert 0.8 < figures["overhead_cpu"] < MOST_OVERHEAD


def test_a_run_is_faster_than_its_naive_execution_and_finds_the_same(figures):
    assert figures["speedup_cpu"] > LEAST_SPEEDUP
    agreed = figures["agreement"]
    assert agreed["levels_identical"]
    assert agreed["least_box_iou"] > 0.99  # of the same pictures
    assert figures["agreement_as_document"]["least_box_iou"] is not None


def test_twice_the_slices_take_about_twice_as_long(neck, tmp_path):
    engine, seconds = Engine(device="cpu"), {}
    for slices in (30, 60):
        sitk.WriteImage(resized(neck, slices, SIZE), str(tmp_path / f"{slices}.nrrd"))
        engine.run_study(tmp_path / f"{slices}.nrrd")
    for _ in range(2):
        for slices in (30, 60):
            start = time.process_time()
            engine.run_study(tmp_path / f"{slices}.nrrd")
            seconds.setdefault(slices, []).append(time.process_time() - start)
    assert min(seconds[60]) / min(seconds[30]) < MOST_GROWTH
