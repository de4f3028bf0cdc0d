"""Figures of box detectors, on sets whose answers are known."""

from __future__ import annotations

import pytest

from CSpineFractureLib.training.box_report import (
    MOST_BOXES,
    box_classes,
    box_confusion,
    box_figures,
    matched_boxes,
    report_of,
)

SQUARE, OTHER, FAR = [0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 80, 80]


def a_set(*images: tuple[list, list], classes=("C1", "C2")) -> dict:
    return {"classes": list(classes), "images": [{"truth": truth, "found": found} for truth, found in images]}


@pytest.fixture
def perfect():
    """Twenty images with one box of each class, all found."""
    boxes = ([[0, *SQUARE], [1, *OTHER]], [[0, 0.9, *SQUARE], [1, 0.8, *OTHER]])
    return a_set(*[boxes] * 20)


def test_perfect_boxes_reach_the_highest_figures(perfect):
    figures = box_figures(perfect)
    assert figures["map50"] == pytest.approx(0.995)  # ultralytics' AP of a perfect class
    assert figures["map50_95"] == pytest.approx(0.995)
    assert figures["precision"] == pytest.approx(1)
    assert figures["recall"] == pytest.approx(1)
    assert figures["box_ppv"] == 1


def test_a_class_that_is_never_found_halves_the_means(perfect):
    for image in perfect["images"]:
        image["found"] = [box for box in image["found"] if box[0] == 0]
    figures = box_figures(perfect)
    assert figures["map50"] == pytest.approx(0.995 / 2)
    assert figures["recall"] == pytest.approx(0.5)


def test_boxes_count_up_to_their_overlap():
    images = [([[0, *SQUARE]], [[0, 0.9, 0, 0, 7.2, 10]]) for _ in range(20)]  # IoU 0.72: thresholds 0.5 to 0.7
    figures = box_figures(a_set(*images))
    assert figures["map50"] == pytest.approx(0.995)
    assert figures["map50_95"] == pytest.approx(0.995 * 5 / 10)


def test_one_of_two_boxes_of_an_image_is_right_when_both_claim_one_truth():
    images = [([[0, *SQUARE]], [[0, 0.9, *SQUARE], [0, 0.8, *SQUARE]]) for _ in range(10)]
    matched = matched_boxes(a_set(*images))
    assert matched[0].right[:, 0].tolist() == [True, False]
    report = report_of(matched)
    assert report.threshold > 0.8
    assert report.ppv == 1  # at the best score only the first ones are left


def test_false_boxes_lower_the_predictive_value():
    images = [([[0, *SQUARE]], [[0, 0.9, *SQUARE], [0, 0.9, *FAR]]) for _ in range(10)]
    assert box_figures(a_set(*images))["box_ppv"] == pytest.approx(0.5)


def test_the_confusion_matrix_counts_mistaken_missed_and_false_boxes():
    detections = a_set(
        ([[0, *SQUARE]], [[0, 0.9, *SQUARE]]),
        ([[0, *SQUARE]], [[1, 0.9, *SQUARE]]),
        ([[1, *OTHER]], []),
        ([], [[1, 0.9, *FAR], [0, 0.1, *FAR]]),
    )
    names, matrix = box_confusion(detections)
    assert names == ["C1", "C2", "background"]
    assert matrix.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]  # rows predicted; a score of 0.1 does not count


def test_the_class_table_counts_images_and_instances(perfect):
    matched = matched_boxes(perfect)
    table = box_classes(report_of(matched), matched, perfect["classes"])
    assert table["all"]["images"] == 20
    assert table["all"]["instances"] == 40
    assert table["C2"]["instances"] == 20
    assert table["C2"]["map50"] == pytest.approx(0.995)


def test_images_without_true_boxes_have_no_figures_but_count_as_false_alarms(perfect):
    empty = a_set(([], [[0, 0.95, *FAR]]))
    assert set(box_figures(empty).values()) == {None}
    perfect["images"] += empty["images"] * 20
    assert box_figures(perfect)["precision"] < 0.9


def test_only_the_boxes_of_highest_score_count():
    boxes = [[0, 0.001 + n / 1e6, *FAR] for n in range(MOST_BOXES)]
    matched = matched_boxes(a_set(([[0, *SQUARE]], [*boxes, [0, 0.9, *SQUARE]])))
    assert len(matched[0].score) == MOST_BOXES
    assert matched[0].right[0].all()
