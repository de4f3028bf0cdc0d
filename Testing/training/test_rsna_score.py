"""The score of RSNA-2022 and its submission file."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.rsna_score import (
    BASE_RATES,
    KINDS,
    read_submission,
    rsna_log_loss,
    rsna_losses,
    score_submission,
    write_submission,
)

SOUND = {f"C{n}": False for n in range(1, 8)}
HALF = dict.fromkeys(KINDS, 0.5)


def test_a_guess_of_one_half_scores_log_2_whatever_the_weights():
    truth = np.array([[0] * 8, [1, 0, 0, 0, 0, 0, 0, 1]])
    assert rsna_log_loss(truth, np.full((2, 8), 0.5)) == pytest.approx(math.log(2))
    assert rsna_log_loss(np.zeros((0, 8)), np.zeros((0, 8))) is None


def test_weights_are_1_and_2_for_levels_and_7_and_14_for_the_patient():
    truth = np.array([[0, 1, 0, 0, 0, 0, 0, 1]])
    probability = np.array([[0.1, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.8]])
    summed = 6 * -math.log(0.9) + 2 * -math.log(0.3) + 14 * -math.log(0.8)
    assert rsna_losses(truth, probability)[0] == pytest.approx(summed / (6 + 2 + 14))
    sound = 7 * -math.log(0.9) + 7 * -math.log(0.2)
    assert rsna_losses(truth * 0, np.array([[0.1] * 7 + [0.8]]))[0] == pytest.approx(sound / 14)


def test_certainty_that_is_wrong_costs_much_but_not_infinitely():
    assert 20 < rsna_log_loss(np.zeros((1, 8)), np.ones((1, 8))) < 40


def test_a_submission_reads_back_and_is_scored(tmp_path):
    path = tmp_path / "submission.csv"
    sent = {"1.2.3": {**HALF, "C2": 0.875}, "1.2.4": dict(BASE_RATES)}
    write_submission(path, sent)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "row_id,fractured"
    assert lines[2] == "1.2.3_C2,0.875"
    assert lines[8] == "1.2.3_patient_overall,0.5"
    assert read_submission(path) == sent
    assert score_submission(sent, {"1.2.3": SOUND | {"C2": True}}) < math.log(2)
    with pytest.raises(UserError, match=r"lacks 1\.2\.5"):
        score_submission(sent, {"1.2.5": SOUND})


def test_a_submission_follows_the_order_of_the_test_table(tmp_path):
    table = tmp_path / "test.csv"
    table.write_text(
        "row_id,StudyInstanceUID,prediction_type\n1.2.4_C1,1.2.4,C1\n1.2.3_patient_overall,1.2.3,patient_overall\n",
        encoding="utf-8",
    )
    write_submission(tmp_path / "s.csv", {"1.2.3": HALF, "1.2.4": HALF}, table)
    assert (tmp_path / "s.csv").read_text(encoding="utf-8") == (
        "row_id,fractured\n1.2.4_C1,0.5\n1.2.3_patient_overall,0.5\n"
    )


@pytest.mark.parametrize("sent", [{}, {"1.2.4": HALF}, {"1.2.3": {**HALF, "C1": 1.5}}, {"1.2.3": {"C2": 0.5}}])
def test_a_submission_that_lacks_something_is_not_written(tmp_path, sent):
    table = tmp_path / "test.csv"
    table.write_text("row_id,StudyInstanceUID,prediction_type\n1.2.3_C1,1.2.3,C1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"C1 of study 1\.2\.3"):
        write_submission(tmp_path / "s.csv", sent, table)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("row,fractured\n", "no column row_id"),
        ("row_id,fractured\n", "no rows"),
        ("row_id,fractured\n1.2.3_C9,0.5\n", "line 2"),
        ("row_id,fractured\n1.2.3_C1,high\n", "line 2"),
        ("row_id,fractured\n1.2.3_C1,0.5\n1.2.3_C1,0.5\n", "twice"),
        ("row_id,fractured\n1.2.3_C1,0.5\n", "has no row for C2"),
    ],
)
def test_a_broken_submission_is_refused_in_one_sentence(tmp_path, text, fault):
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=fault):
        read_submission(tmp_path / "s.csv")
