"""Measuring run folders: figures, strata, plots, and what is refused."""

from __future__ import annotations

import json

import pytest
from small_runs import run_of, write_box_logs, write_boxes, write_levels, write_logs, write_slices

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.measure_run import measure_run
from CSpineFractureLib.training.metrics_file import read_metrics
from CSpineFractureLib.training.read_predictions import stratum_rows


def is_png(path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 5000


@pytest.fixture
def slices(tmp_path):
    run = run_of(tmp_path, "000-slice-classifier", "slice-cnn")
    write_slices(run)
    write_logs(run)
    return run


def test_a_slice_classifier_is_measured_with_intervals_strata_and_plots(slices):
    metrics = measure_run(slices, samples=50)
    assert read_metrics(slices / "metrics-val.json").figures.keys() == metrics.figures.keys()
    assert metrics.data.synthetic
    assert (metrics.data.studies, metrics.data.images) == (6, 120)
    assert metrics.figures["recall"].value == pytest.approx(22 / 25)
    assert metrics.figures["auc"].low < metrics.figures["auc"].value < metrics.figures["auc"].high
    assert set(metrics.strata) == {"displaced", "hairline", "mimics", "sound"}
    assert metrics.strata["sound"]["studies"].value == 1
    assert set(metrics.strata["sound"]) == {"studies", "images", "accuracy", "specificity", "ece"}
    assert metrics.confusion["matrix"] == [[82, 13], [3, 22]]
    assert metrics.parameters["trainable"] > 100_000
    assert (metrics.quick, metrics.seed) == (True, 3)
    assert "--quick" in metrics.command
    for name in ("roc-val", "confusion-val", "curves"):
        assert is_png(slices / "plots" / f"{name}.png")
    assert not list(slices.rglob("*.part"))


def test_the_same_predictions_give_the_same_document(slices):
    first = measure_run(slices, samples=30)
    again = measure_run(slices, samples=30)
    assert (first.figures, first.strata) == (again.figures, again.strata)


def test_another_set_says_where_it_comes_from_and_uses_the_temperature_of_val(slices):
    write_slices(slices, "benchmark-v1", noise=0.4)
    with pytest.raises(UserError, match=r"made\.yaml.*nobody can tell"):
        measure_run(slices, "benchmark-v1", samples=0)
    images = slices.parent / "images-benchmark-v1"
    images.mkdir()
    (images / "made.yaml").write_text("{source: rsna, root: /data/rsna}", encoding="utf-8")
    metrics = measure_run(slices, "benchmark-v1", samples=0)
    assert not metrics.data.synthetic
    assert metrics.data.source == "RSNA-2022, 'rsna'"
    assert metrics.figures["temperature"].value > 0
    assert metrics.figures["ece_scaled"].value != metrics.figures["ece"].value
    assert is_png(slices / "plots" / "roc-benchmark-v1.png")


def test_an_rsna_tree_of_phantoms_is_known_to_be_synthetic(slices, tmp_path):
    write_slices(slices, "tree")
    (tmp_path / "tree" / "phantom_truth").mkdir(parents=True)
    images = slices.parent / "images-tree"
    images.mkdir()
    (images / "made.yaml").write_text(json.dumps({"source": "rsna", "root": str(tmp_path / "tree")}), encoding="utf-8")
    assert measure_run(slices, "tree", samples=0).data.synthetic


def test_level_presence_has_a_report_by_class(tmp_path):
    run = run_of(tmp_path, "004-level-presence", "level-gcvit-tiny")
    write_levels(run)
    metrics = measure_run(run, samples=50)
    assert metrics.figures["exact_match"].low <= metrics.figures["exact_match"].value
    assert metrics.per_class["C1"]["support"] == 15
    assert set(metrics.strata) == {"displaced"}
    assert is_png(run / "plots" / "confusion-val.png")
    assert is_png(run / "plots" / "roc-val.png")
    assert not (run / "plots" / "curves.png").exists()


def test_a_detector_has_its_curves_and_classes(tmp_path):
    run = run_of(tmp_path, "000-vertebra-detector", "yolov8n")
    write_boxes(run)
    write_box_logs(run)
    metrics = measure_run(run, samples=20)
    assert 0.8 < metrics.figures["map50"].value < 1
    assert metrics.figures["map50_95"].low < metrics.figures["map50_95"].high
    assert metrics.per_class["all"]["instances"] == 52
    assert metrics.confusion["labels"][-1] == "background"
    for name in ("pr-val", "confusion-val", "curves"):
        assert is_png(run / "plots" / f"{name}.png")


def test_strata_of_fracture_tasks_have_sound_images_as_negatives():
    studies = ["a", "a", "a", "b", "b"]
    words = [frozenset(w) for w in (["displaced"], ["hairline", "displaced"], [], ["mimics"], ["mimics"])]
    shown = [True, True, False, False, False]
    with_negatives = stratum_rows(studies, words, shown)
    assert with_negatives["hairline"].tolist() == [False, True, True, True, True]
    assert with_negatives["mimics"].tolist() == [False, False, False, True, True]
    assert with_negatives["sound"].tolist() == [False, False, False, True, True]
    assert "displaced" not in with_negatives  # it is everything
    assert stratum_rows(studies, words)["displaced"].tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("name", ["test", "../val", ""])
def test_a_set_that_was_not_predicted_is_refused_with_those_that_were(slices, name):
    with pytest.raises(UserError, match="it holds: val"):
        measure_run(slices, name)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "study|no rows|cannot be used"),
        ("file,study,k,split,strata,truth,probability\n", "no rows"),
        ("file,study,k,split,strata,truth,probability\na,s,0,val,,1,high\n", "cannot be used"),
        ("file,study,k,split,strata,truth,probability\na,s,0,val,,1,1.5\n", "outside 0..1"),
        ("file,study,k,split,truth,probability\na,s,0,val,1,0.5\n", "strata"),
    ],
)
def test_broken_predictions_are_refused_and_nothing_is_written(slices, text, fault):
    (slices / "predictions-val.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=fault):
        measure_run(slices)
    assert not (slices / "metrics-val.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"classes": ["a"], "images": []}',
        '{"classes": ["a"], "images": [{"study": "s", "strata": "", "truth": [[1, 0, 0, 1, 1]], "found": []}]}',
    ],
)
def test_broken_detections_are_refused(tmp_path, text):
    run = run_of(tmp_path, "004-fracture-detector", "yolov8s")
    (run / "detections-val.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"detections-val\.json"):
        measure_run(run)


def test_a_broken_log_is_named(slices):
    (slices / "logs" / "metrics.csv").write_text("epoch,train_loss\n0,low\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.csv.*no log"):
        measure_run(slices, samples=0)
