"""The random search over training values: drawn from the seed, gone on with, and the best of them kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from yolo_tree import a_system, write_tree

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import yolo_search
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import Setup, read_run
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.training.yolo_search import drawn_values, search_boxes

CPU = FitOptions("cpu")
RANGES = {"learning_rate": {"log": [0.001, 0.1]}, "momentum": {"uniform": [0.8, 0.98]}, "batch": {"choice": [4, 8]}}
COLUMNS = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)")


@pytest.fixture
def setup() -> Setup:
    return Setup(replace(a_system(), search=RANGES), "yolov8n", 3, "phantom")


@pytest.fixture
def short_work(monkeypatch):
    """Runs that train nothing: the nearer the momentum to 0.9, the better; the runs that were asked for."""
    asked = []

    def fit(run, options, on_event, images):
        asked.append(run)
        run.logs.mkdir(parents=True, exist_ok=True)
        score = 1 - abs(run.setup.system.training["momentum"] - 0.9)
        rows = [",".join(COLUMNS), f"0.1,0.1,0.1,{score / 2}", f"0.7,0.6,0.9,{score}", f"0.1,0.1,0.1,{score / 3}"]
        (run.logs / "results.csv").write_text("\n".join(rows) + "\n")
        run.checkpoints.mkdir()
        on_event({"stage": "train", "done": 1, "total": 2, "message": "half"})

    monkeypatch.setattr(yolo_search, "fit_boxes", fit)
    return asked


def test_values_are_drawn_within_their_ranges_and_from_the_seed(setup):
    drawn = drawn_values(setup.system, 40, 1)
    assert drawn[:10] == drawn_values(setup.system, 10, 1)
    assert drawn != drawn_values(setup.system, 40, 2)
    rates = [one["learning_rate"] for one in drawn]
    assert all(0.001 <= rate <= 0.1 for rate in rates)
    assert 12 <= sum(rate < 0.01 for rate in rates) <= 28  # half of a logarithmic range
    assert all(0.8 <= one["momentum"] <= 0.98 for one in drawn)
    assert {one["batch"] for one in drawn} == {4, 8}
    assert all(type(one["batch"]) is int and type(one["momentum"]) is float for one in drawn)


@pytest.mark.parametrize("name", ["000-vertebra-detector", "003-vertebra-detector", "004-fracture-detector"])
@pytest.mark.parametrize("quick", [False, True])
def test_every_detector_that_comes_with_the_program_can_be_searched(name, quick):
    system = load_system(name, quick)
    assert all(set(one) <= set(system.training) for one in drawn_values(system, 3, 0))


@pytest.mark.parametrize(
    "rule", [{"log": [0, 1]}, {"uniform": [2, 1]}, {"log": [1]}, {"normal": [0, 1]}, [1, 2], {}, {"choice": 3}]
)
def test_a_wrong_range_is_one_sentence(setup, rule):
    system = replace(setup.system, search={"momentum": rule})
    with pytest.raises(UserError, match=r"The range of momentum under search of system .* is wrong"):
        drawn_values(system, 2, 0)


def test_a_system_without_ranges_cannot_be_searched(setup):
    with pytest.raises(UserError, match="has no ranges to search"):
        drawn_values(replace(setup.system, search={}), 2, 0)


def test_the_values_of_the_best_try_are_put_into_the_system(tmp_path, setup, short_work):
    events = []
    found = search_boxes(tmp_path, setup, 4, 5, CPU, events.append)
    drawn = drawn_values(setup.system, 4, 3)
    best = min(drawn, key=lambda values: abs(values["momentum"] - 0.9))
    assert found.training == {**setup.system.training, **best}
    assert replace(found, training=setup.system.training) == setup.system
    table = (tmp_path / "search/yolov8n/search.csv").read_text().splitlines()
    assert table[0] == "trial," + ",".join(drawn[0]) + ",precision,recall,map50,map50_95"
    assert [line.split(",")[-4:-1] for line in table[1:]] == [["0.7", "0.6", "0.9"]] * 4
    assert [event["done"] for event in events] == [500, 1500, 2500, 3500]
    assert {event["total"] for event in events} == {4000}
    assert {event["stage"] for event in events} == {"search"}
    assert [run.setup.system.training["epochs"] for run in short_work] == [5] * 4
    assert not list(tmp_path.rglob("checkpoints"))


def test_finished_tries_are_not_run_again(tmp_path):
    write_tree(tmp_path, train=8, val=2)
    setup = Setup(replace(a_system(), search=RANGES), "yolov8n", 3, "phantom")

    def stop(event):
        if event["done"] > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_boxes(tmp_path, setup, 2, 1, CPU, stop)
    first = read_run(tmp_path / "search/yolov8n/000")
    written = first.weights.stat().st_mtime_ns
    events = []
    found = search_boxes(tmp_path, setup, 2, 1, CPU, events.append)
    assert first.weights.stat().st_mtime_ns == written
    assert min(event["done"] for event in events) > 1000
    assert found.training["momentum"] in [one["momentum"] for one in drawn_values(setup.system, 2, 3)]
    assert len((tmp_path / "search/yolov8n/search.csv").read_text().splitlines()) == 3
