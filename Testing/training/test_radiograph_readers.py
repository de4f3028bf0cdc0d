"""A reader's answers beside a network's, and the figures of three classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from CSpineFractureLib.datasets.radiographs import CLASSES, RadiographRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.radiograph_readers import difference, model_report, reader_report, reader_table
from CSpineFractureLib.training.radiograph_report import class_figures, radiograph_figures, read_answers, write_answers

TRUTH = {f"{kind}/{n}.png": kind for kind in CLASSES for n in range(10)}


def answers_file(path, answers):
    path.write_text("file,answer\n" + "\n".join(f"{file},{answer}" for file, answer in answers))
    return path


def with_errors(count):
    """All answers, the first ``count`` normal ones wrong."""
    return [(file, "fracture" if n < count else kind) for n, (file, kind) in enumerate(TRUTH.items())]


def test_right_and_wrong_answers_are_counted(tmp_path):
    report = reader_report(answers_file(tmp_path / "anna.csv", with_errors(3)), TRUTH)
    assert (report.name, report.right, report.wrong, report.missing) == ("anna", 27, 3, 0)
    assert report.accuracy.value == 0.9
    assert report.accuracy.low < 0.9 < report.accuracy.high
    assert report.per_class["normal"]["recall"] == 0.7
    assert report.confusion[0].tolist() == [7, 3, 0]


def test_a_reader_may_answer_some_in_any_case_and_order(tmp_path):
    report = reader_report(
        answers_file(tmp_path / "x.csv", [("fracture\\2.png", " Fracture "), *with_errors(0)[:2]]), TRUTH
    )
    assert (report.right, report.missing) == (3, 27)


def test_the_difference_is_counted_on_the_same_radiographs(tmp_path):
    good = reader_report(answers_file(tmp_path / "good.csv", with_errors(0)), TRUTH)
    bad = reader_report(answers_file(tmp_path / "bad.csv", with_errors(6)[:20]), TRUTH)
    assert difference(good, bad) == (6, 0, pytest.approx(2 * 0.5**6))
    assert difference(good, good) == (0, 0, 1.0)


def test_the_table_shows_network_and_readers_and_says_synthetic(tmp_path):
    chances = np.eye(3)[[CLASSES.index(kind) for kind in TRUTH.values()]]
    records = [RadiographRecord(file, kind, file) for file, kind in TRUTH.items()]
    write_answers(tmp_path / "predictions-val.csv", records, chances)
    network = model_report(tmp_path / "predictions-val.csv", "stacked")
    text = reader_table(network, [reader_report(answers_file(tmp_path / "anna.csv", with_errors(9)), TRUTH)], True)
    assert "| stacked | 30 | 30 | 0 | 1.000" in text
    assert "| anna | 30 | 21 | 9 | 0.700" in text
    assert "synthetic radiographs" in text
    assert "p = 0.004" in text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("normal/0.png", "sprain")], "no class"),
        ([("other/0.png", "normal")], "none of the radiographs"),
        ([("0.png", "normal")], "name of several"),
        ([("normal/0.png", "normal"), ("normal/0.png", "fracture")], "twice"),
        ([], "holds no answers"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(tmp_path, rows, words):
    with pytest.raises(UserError, match=words):
        reader_report(answers_file(tmp_path / "x.csv", rows), TRUTH)


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"a,b\n1,2\n"])
def test_a_file_that_is_no_table_of_answers_is_refused(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match="columns file,answer"):
        reader_report(tmp_path / "x.csv", TRUTH)


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, chances = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60)
    called = chances.argmax(axis=1)
    figures, classes = radiograph_figures(truth, chances), class_figures(truth, chances)
    for key, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert figures[f"macro_{key}"] == pytest.approx(score(truth, called, average="macro"))
        each = score(truth, called, average=None)
        assert [classes[name][key] for name in CLASSES] == pytest.approx(list(each))
    assert figures["auc"] == pytest.approx(roc_auc_score(truth, chances, multi_class="ovr"))
    others = truth != 1
    assert classes["fracture"]["specificity"] == pytest.approx(np.mean(called[others] != 1))


def test_a_class_that_is_not_there_has_no_figures():
    figures = radiograph_figures(np.zeros(4, int), np.tile([0.8, 0.1, 0.1], (4, 1)))
    assert figures["accuracy"] == 1
    assert figures["macro_f1"] == 1
    assert figures["recall_fracture"] is None
    assert figures["auc"] is None


def test_answers_that_are_damaged_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("file,study,class,strata,p_normal,p_fracture,p_dislocation\na,b,normal,,2,0,0\n")
    with pytest.raises(UserError, match="no probabilities"):
        read_answers(tmp_path / "x.csv")
    with pytest.raises(UserError, match="missing or damaged"):
        read_answers(tmp_path / "none.csv")
