"""Intervals over studies, calibration, and the document that holds the figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.bootstrap import rows_by_study, with_intervals
from CSpineFractureLib.training.calibration import apply_temperature, expected_calibration_error, fit_temperature
from CSpineFractureLib.training.metrics_file import DataFacts, Figure, Metrics, read_metrics, write_metrics


def mean_of(values):
    return {"mean": float(np.mean(values)) if len(values) else None}


def test_rows_are_grouped_by_study_in_order_of_name():
    assert [rows.tolist() for rows in rows_by_study(["b", "a", "b", "c"])] == [[1], [0, 2], [3]]
    assert rows_by_study([]) == []


def test_intervals_cover_the_true_mean_as_often_as_they_should():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(60):
        values = rng.normal(5, 1, 40)
        figure = with_intervals(mean_of, [str(n) for n in range(40)], values, n=200, seed=trial)["mean"]
        covered += figure.low <= 5 <= figure.high
    assert 51 <= covered <= 60


def test_studies_are_drawn_whole_so_copies_of_a_slice_do_not_narrow_the_interval():
    values = np.random.default_rng(1).normal(0, 1, 20)
    studies = [f"s{n:02d}" for n in range(20)]
    once = with_intervals(mean_of, studies, values)["mean"]
    many = with_intervals(mean_of, np.repeat(studies, 50), np.repeat(values, 50))["mean"]
    assert [many.low, many.high] == pytest.approx([once.low, once.high])
    loose = with_intervals(mean_of, [str(n) for n in range(1000)], np.repeat(values, 50))["mean"]
    assert loose.high - loose.low < 0.3 * (once.high - once.low)


def test_intervals_are_the_same_for_the_same_seed_alone():
    values, studies = np.arange(30.0), [str(n % 7) for n in range(30)]
    first = with_intervals(mean_of, studies, values, n=100, seed=1)
    assert first == with_intervals(mean_of, studies, values, n=100, seed=1)
    assert first != with_intervals(mean_of, studies, values, n=100, seed=2)


def test_one_study_no_samples_and_rarely_defined_figures_have_no_interval():
    assert with_intervals(mean_of, ["a", "a"], np.array([1.0, 3.0]))["mean"] == Figure(2.0)
    assert with_intervals(mean_of, ["a", "b"], np.array([1.0, 3.0]), n=0)["mean"] == Figure(2.0)
    rare = with_intervals(
        lambda rows: {"first": 1.0 if 0 in rows and 1 in rows and 2 in rows else None}, list("abcdef"), np.arange(6)
    )
    assert rare["first"] == Figure(1.0)
    assert with_intervals(lambda rows: {"nothing": None}, ["a", "b"], np.arange(2))["nothing"] == Figure(None)


def test_calibration_error_of_a_bin_is_its_gap():
    assert expected_calibration_error(np.array([1, 0, 0, 0]), np.full(4, 0.25)) == pytest.approx(0)
    assert expected_calibration_error(np.array([1, 1, 0, 0]), np.array([0.9, 0.9, 0.1, 0.1])) == pytest.approx(0.1)
    assert expected_calibration_error(np.ones(2), np.ones(2)) == 0
    assert expected_calibration_error(np.zeros(0), np.zeros(0)) is None


def test_the_temperature_undoes_overconfidence():
    rng = np.random.default_rng(2)
    honest = rng.uniform(0.02, 0.98, 4000)
    truth = rng.random(4000) < honest
    boasted = apply_temperature(honest, 1 / 3)
    temperature = fit_temperature(boasted, truth)
    assert temperature == pytest.approx(3, rel=0.1)
    assert expected_calibration_error(truth, boasted) > 0.1
    assert expected_calibration_error(truth, apply_temperature(boasted, temperature)) < 0.03
    logits = np.log(boasted / (1 - boasted))
    assert fit_temperature(logits, truth, logits=True) == pytest.approx(temperature, rel=1e-3)
    assert fit_temperature(np.array([0.3, 0.6]), np.ones(2)) == 1.0


@pytest.fixture
def metrics():
    data = DataFacts("val", True, "synthetic studies (cspine phantom)", 4, 80)
    figures = {"accuracy": Figure(0.9, 0.8, np.float64(0.95)), "auc": Figure(None)}
    strata = {"sound": {"studies": Figure(2), "specificity": Figure(float("nan"))}}
    return Metrics(
        "000-slice-classifier", "000", "slice-cnn", "val", data, figures, strata, {"trainable": 5, "frozen": 0}
    )


def test_the_document_reads_back(tmp_path, metrics):
    write_metrics(tmp_path / "metrics-val.json", metrics)
    back = read_metrics(tmp_path / "metrics-val.json")
    assert back.figures == {"accuracy": Figure(0.9, 0.8, 0.95), "auc": Figure(None)}
    assert back.strata["sound"]["specificity"] == Figure(None)
    assert back.data == metrics.data
    document = json.loads((tmp_path / "metrics-val.json").read_text(encoding="utf-8"))
    assert document["schema"] == "cspine-metrics/1"
    assert document["data"]["synthetic"] is True


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "cspine-metrics/9"}', '{"schema": "cspine-metrics/1"}'])
def test_a_broken_document_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "metrics-val.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics-val\.json.*measure the run again"):
        read_metrics(tmp_path / "metrics-val.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_metrics(tmp_path / "none.json")
