"""Whole studies: levels, patients, boxes and strata, counted by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from test_level_hits import result_with

from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import Box, FractureFinding
from CSpineFractureLib.training.fracture_hits import compare_fractures, fracture_summary
from CSpineFractureLib.training.rsna_score import BASE_RATES
from CSpineFractureLib.training.study_report import (
    TrueFracture,
    case_of,
    case_of_record,
    level_confusion,
    stratum_of,
    study_figures,
    study_report,
)
from CSpineFractureLib.volume.ct_volume import CTVolume

VOLUME = CTVolume(np.full((4, 4, 4), 50, np.int16), np.diag([-2.0, -2.0, 2.0, 1.0]))


def a_result(probabilities: dict[str, float | None], *found: tuple[str, float], overall: float | None = None):
    """A result with levels 20 mm apart (C2 at S -40) and findings (level, S in mm)."""
    result = result_with(VOLUME, **{level: [0, 0, -20.0 * int(level[1])] for level in probabilities})
    for vertebra in result.vertebrae:
        vertebra.fracture_probability = probabilities[vertebra.level]
    result.fractures = [
        FractureFinding(f"f{n}", level, 0.8, Box([0, 0, s], [4.0] * 3)) for n, (level, s) in enumerate(found)
    ]
    result.study.fracture_probability = overall
    return result


def a_truth(level: str, hairline: bool = False) -> TrueFracture:
    middle = -20.0 * int(level[1])
    return TrueFracture(level, "burst", hairline, [[-5, -5, middle - 5], [5, 5, middle + 5]])


@pytest.fixture
def cases():
    """Displaced C2 found; hairline C5 called C6 by its finding; a sound study with mimics and a false alarm."""
    return [
        case_of("a", a_result({"C2": 0.9, "C3": 0.2}, ("C2", -42), overall=0.95), [a_truth("C2")], ["displaced"]),
        case_of("b", a_result({"C5": 0.3, "C6": 0.8}, ("C6", -108)), [a_truth("C5", True)], ["hairline", "mimics"]),
        case_of("c", a_result({"C2": 0.1, "C3": 0.7, "C4": None}, ("C3", -60)), [], ["mimics"]),
    ]


def test_rates_over_studies_are_those_counted_by_hand(cases):
    figures = study_figures(cases, 0.6)
    assert figures["level_sensitivity"] == pytest.approx(1 / 2)
    assert figures["level_specificity"] == pytest.approx(2 / 4)
    # pairs of (0.9, 0.3) and (0.2, 0.8, 0.1, 0.7): 4 + 2 won
    assert figures["level_auc"] == pytest.approx(6 / 8)
    assert figures["study_sensitivity"] == 1.0
    assert figures["study_specificity"] == 0.0
    assert figures["study_auc"] == 1.0
    assert figures["box_sensitivity"] == pytest.approx(1 / 2)
    assert figures["box_ppv"] == pytest.approx(1 / 3)
    assert figures["level_agreement"] == pytest.approx(1 / 2)
    assert figures["false_boxes_per_study"] == pytest.approx(2 / 3)


def test_a_finding_beside_a_fracture_tells_which_level_it_was_taken_for(cases):
    assert level_confusion(cases) == {"C2": {"C2": 1}, "C5": {"C6": 1}}
    far = case_of("d", a_result({"C5": 0.3}, ("C5", -160)), [a_truth("C5")])
    assert level_confusion([far]) == {"C5": {"none": 1}}


def test_strata_hold_their_own_fractures_and_every_sound_study(cases):
    both = case_of(
        "d",
        a_result({"C2": 0.8, "C5": 0.2}, ("C2", -40)),
        [a_truth("C2"), a_truth("C5", True)],
        ["displaced", "hairline"],
    )
    everyone = [*cases, both]
    assert [case.study for case in stratum_of(everyone, "displaced")] == ["a", "d", "c"]
    assert [case.study for case in stratum_of(everyone, "hairline")] == ["b", "d", "c"]
    assert [case.study for case in stratum_of(everyone, "mimics")] == ["b", "c"]
    assert [case.study for case in stratum_of(everyone, "sound")] == ["c"]
    displaced = study_figures(stratum_of(everyone, "displaced"), 0.6)
    hairline = study_figures(stratum_of(everyone, "hairline"), 0.6)
    assert displaced["level_sensitivity"] == 1.0
    assert displaced["box_sensitivity"] == 1.0
    assert displaced["box_ppv"] == pytest.approx(2 / 3)
    assert hairline["level_sensitivity"] == 0.0
    assert hairline["box_ppv"] == 0.0  # the finding of the displaced C2 neither helps nor counts as false
    assert hairline["false_boxes_per_study"] == pytest.approx(2 / 3)
    assert stratum_of([cases[0]], "hairline") == []


def test_levels_that_were_not_judged_are_submitted_with_the_base_rate(cases):
    sent = cases[2].submission()
    assert sent["C3"] == 0.7
    assert sent["C4"] == BASE_RATES["C4"]
    assert sent["patient_overall"] == 0.7  # the highest level, as the profile gives none for the study
    assert cases[0].submission()["patient_overall"] == 0.95


def test_the_log_loss_of_a_study_is_weighted(cases):
    rates = BASE_RATES
    sound = -sum(math.log(1 - rates[level]) for level in ("C1", "C4", "C5", "C6", "C7")) - math.log(0.9) - math.log(0.3)
    assert cases[2].loss == pytest.approx((sound - 7 * math.log(0.3)) / 14)
    assert study_figures(cases, 0.6)["rsna_log_loss"] == pytest.approx(np.mean([case.loss for case in cases]))


def test_intervals_hold_the_figure_and_do_not_change_with_the_order():
    many = [case_of(f"s{n:02d}", a_result({"C2": 0.1 + 0.03 * n}), [a_truth("C2")] if n % 2 else []) for n in range(24)]
    first = study_report(many, 0.5, n=200)
    assert first["level_auc"].low <= first["level_auc"].value <= first["level_auc"].high
    assert first["level_auc"].low < first["level_auc"].high
    again = study_report(many[::-1], 0.5, n=200)
    assert again["level_auc"].low == pytest.approx(first["level_auc"].low)


def test_studies_with_labels_alone_have_no_box_figures():
    record = StudyRecord("r", lambda: None, fractured={f"C{n}": n == 2 for n in range(1, 8)}, strata=("hairline",))
    case = case_of_record(record, a_result({"C2": 0.7, "C3": 0.1}, ("C2", -40)))
    figures = study_figures([case], 0.5)
    assert figures["level_sensitivity"] == 1.0
    assert figures["box_ppv"] is None
    assert figures["false_boxes_per_study"] is None
    assert stratum_of([case], "hairline")


def test_the_summary_of_synthetic_studies_has_strata_intervals_and_plain_values(tmp_path):
    reports = []
    for n in range(6):
        folder = tmp_path / f"phantom_{n}"
        folder.mkdir()
        truth = a_truth("C2", hairline=n == 4)
        entry = {"level": "C2", "type": "burst", "hairline": truth.hairline, "box_ras": truth.box_ras}
        document = {"fractures": [entry] if n % 2 == 0 else [], "mimics": ["C4 canal"] if n < 3 else []}
        (folder / "truth.json").write_text(json.dumps(document), encoding="utf-8")
        found = [("C2", -41)] if n in (0, 4) else []
        reports.append(compare_fractures(folder, a_result({"C2": 0.9 if n in (0, 4) else 0.2, "C3": 0.1}, *found)))
    total = fracture_summary(reports, 0.6, n=100)
    assert json.loads(json.dumps(total)) == total
    assert total["synthetic"] is True
    assert total["level_sensitivity"] == pytest.approx(2 / 3, abs=1e-6)
    low, high = total["intervals"]["level_sensitivity"]
    assert low < 2 / 3 < high
    assert total["strata"]["displaced"]["studies"] == 5
    assert total["strata"]["hairline"]["level_sensitivity"] == 1.0
    assert total["strata"]["mimics"]["studies"] == 3
    assert total["strata"]["sound"]["study_specificity"] == 1.0
    assert total["level_confusion"] == {"C2": {"C2": 2, "none": 1}}
    assert total["per_study"][4]["strata"] == ["hairline"]


def test_a_broken_truth_is_refused_with_its_name(tmp_path):
    (tmp_path / "truth.json").write_text('{"fractures": [{"level": "C2"}]}', encoding="utf-8")
    with pytest.raises(UserError, match=r"truth\.json.*make it again"):
        compare_fractures(tmp_path, a_result({}))
