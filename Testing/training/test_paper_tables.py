"""The papers' figures as data, their footnotes, and the tables that stand beside ours."""

from __future__ import annotations

import itertools
import json

import pytest
from small_runs import run_of

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.metrics_file import DataFacts, Figure, Metrics, write_metrics
from CSpineFractureLib.training.paper_figures import paper_names, read_paper
from CSpineFractureLib.training.paper_tables import Run, paper_table, paper_tables
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.training.table_text import as_markdown, block_text, write_tables


def highest_kappa(accuracy: float) -> float:
    """The highest Cohen's kappa of two classes that goes with an accuracy, whatever the shares of the classes.

    ``kappa = 1 - (1 - a) / (1 - p)`` grows as the agreement by chance ``p`` shrinks; with shares ``s`` of the truth and
    ``t`` of the calls, ``p = s t + (1 - s)(1 - t)`` and ``|s - t| <= 1 - a``, so ``p >= (1 - (1 - a)^2) / 2``. On
    balanced classes ``p`` is a half and kappa is ``2 a - 1``, hardly less.
    """
    return accuracy**2 / (1 + (1 - accuracy) ** 2)


def implied_accuracy(precision: float, recall: float, specificity: float) -> float:
    """The one accuracy that goes with these three: precision fixes the share of positives given the two rates."""
    odds = precision / (1 - precision) * (1 - specificity) / recall
    share = odds / (1 + odds)
    return share * recall + (1 - share) * specificity


def a_measured_run(runs, system, model, value, quick=True, set_name="val", synthetic=True, **changes):
    run = run_of(runs, system, model, "phantom" if synthetic else "rsna", quick)
    document = system.partition("-")[0]
    data = DataFacts(set_name, synthetic, "synthetic studies" if synthetic else "RSNA-2022", 20, 300)
    names = ("precision", "recall", "f1", "accuracy", "kappa", "specificity", "macro_f1", "exact_match", "map50")
    figures = {name: Figure(value, value - 0.1, value + 0.05) for name in names}
    strata = {"hairline": {"studies": Figure(1), "images": Figure(9), "accuracy": Figure(0.25)}}
    metrics = Metrics(system, document, model, set_name, data, figures, strata, quick=quick, epochs=12)
    for key, changed in changes.items():
        setattr(metrics, key, changed)
    write_metrics(run / f"metrics-{set_name}.json", metrics)
    return run


def test_every_row_of_a_paper_names_a_model_of_its_system():
    assert paper_names() == ["000", "001", "002", "003", "004"]
    for name in paper_names():
        paper = read_paper(name)
        for table in paper.tables:
            system = load_system(table.system)
            assert system.document == name
            notes = [note for part in (*table.columns, *table.rows) for note in part.footnotes]
            assert set(notes) <= set(paper.footnotes)
            for row in table.rows:
                if table.kind == "models":
                    assert row.model in load_system(row.system or table.system).models or row.optional
                assert set(row.values) <= {column.key for column in table.columns}


def test_the_parameters_of_our_recipe_are_those_of_table_1():
    table = paper_table("000", "1", None)
    printed = {row["name"]: row["value"] for row in table.printed.rows}
    ours = {row["name"]: row["value"] for row in table.measured.rows}
    assert printed == ours
    assert printed["Momentum"] == 0.937


def test_the_bound_of_kappa_holds_for_all_confusion_matrices():
    gaps = []
    for tp, fn, fp in itertools.product(range(21), repeat=3):
        tn = 20 - tp - fn - fp
        accuracy, chance = (tp + tn) / 20, ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / 400
        if tn >= 0 and accuracy < 1 and chance < 1:
            gaps.append(highest_kappa(accuracy) - (accuracy - chance) / (1 - chance))
    assert min(gaps) == pytest.approx(0, abs=1e-12)  # none beyond, and some reach it
    assert highest_kappa(0.942) == pytest.approx(0.8844, abs=1e-4)


def test_the_figures_with_a_footnote_are_those_that_cannot_be_true():
    rows = read_paper("000").choose("2")[0].rows
    for row in rows:
        v = row.values
        impossible = v["kappa"] - 0.0005 > highest_kappa(v["accuracy"] + 0.0005)
        assert impossible == ("kappa" in row.footnotes)
        accuracy = implied_accuracy(v["precision"], v["recall"], v["specificity"])
        assert (abs(accuracy - v["accuracy"]) > 0.003) == ("specificity" in row.footnotes)
    classes = [row.values["f1"] for row in read_paper("004").choose("2")[0].rows[:7]]
    assert sum(classes) / 7 > 0.965  # table 1 prints .96
    assert implied_accuracy(0.8, 0.8, 0.8) == pytest.approx(0.8)


def test_ours_stand_in_a_block_of_their_own_with_data_recipe_and_strata(tmp_path):
    a_measured_run(tmp_path, "000-slice-classifier", "slice-cnn", 0.8)
    table = paper_table("000", "2", tmp_path)
    headings, rows = block_text(table, table.measured)
    proposed = [dict(zip(headings, row, strict=True)) for row in rows if row[0] == "Proposed model"]
    assert proposed[0]["Acc %"] == "80.0 (70.0–85.0)"
    assert proposed[0]["Training"] == "quick recipe, 12 epochs on synthetic CT"
    assert proposed[0]["Data"] == "val, synthetic: 20 studies, 300 images"
    assert proposed[1]["Stratum"] == "hairline"
    assert proposed[1]["Training"] == ""
    assert proposed[1]["Acc %"] == "25.0"
    assert proposed[1]["Data"] == "1 study, 9 images"
    assert "synthetic CT" in table.measured.title
    printed = [row["accuracy"] for row in table.printed.rows]
    assert printed == [0.942, 0.949, 0.978]


def test_a_missing_run_shows_a_dash_and_the_command_that_makes_it(tmp_path):
    a_measured_run(tmp_path, "000-slice-classifier", "slice-cnn", 0.8)
    table = paper_table("000", "2", tmp_path)
    assert set(table.missing) == {"DenseNet121", "ResNet50"}
    assert "cspine train 000-slice-classifier --model slice-resnet50" in table.missing["ResNet50"]
    assert block_text(table, table.measured)[1][0][1:] == ["-"] * 9
    folder = tmp_path / "000-slice-classifier-quick" / "slice-cnn"
    broken_off = paper_table("000", "2", tmp_path, "benchmark-v1").missing["Proposed model"]
    assert broken_off.startswith("cspine train 000-slice-classifier --model slice-cnn")
    (folder / "slice-cnn.safetensors").touch()
    other = paper_table("000", "2", tmp_path, "benchmark-v1")
    assert other.missing["Proposed model"] == f"cspine evaluate run {folder} --set benchmark-v1 --data STUDIES"
    assert "nothing yet" in other.measured.title


@pytest.mark.parametrize(("epochs", "told"), [(1, "quick recipe, 1 epoch"), (2, "quick recipe, 2 epochs")])
def test_a_single_epoch_is_told_as_one(tmp_path, epochs, told):
    data = DataFacts("val", True, "synthetic", 2, 4)
    metrics = Metrics("004-level-presence", "004", "level-vit", "val", data, {}, quick=True, epochs=epochs)
    assert Run(tmp_path, metrics).recipe == told


def test_quick_and_full_runs_and_other_systems_are_never_mixed(tmp_path):
    a_measured_run(tmp_path, "000-vertebra-detector", "yolov8n", 0.7, synthetic=False, quick=False)
    a_measured_run(tmp_path, "000-vertebra-detector", "yolov8n", 0.5)
    a_measured_run(tmp_path, "003-vertebra-detector", "yolov5l", 0.6)
    rows = [row for row in paper_table("000", "3", tmp_path).measured.rows if row["name"] == "YOLOv8n"]
    assert [(row["recipe"], row["map50"].value) for row in rows if row["stratum"] == "all"] == [
        ("paper's recipe, 12 epochs on rsna", 0.7),
        ("quick recipe, 12 epochs on synthetic CT", 0.5),
    ]
    (only,) = paper_tables("003", None, tmp_path)
    assert [row["map50"].value for row in only.measured.rows if row.get("stratum") == "all"] == [0.6]
    assert "RSNA-2022 and synthetic CT" in paper_table("000", "3", tmp_path).measured.title


def test_a_changed_recipe_is_called_so(tmp_path):
    run = a_measured_run(tmp_path, "000-slice-classifier", "slice-cnn", 0.8)
    setup = (run / "system.yaml").read_text(encoding="utf-8")
    (run / "system.yaml").write_text(setup.replace("rotation_deg: 15", "rotation_deg: 5"), encoding="utf-8")
    row = paper_table("000", "4", tmp_path).measured.rows[2]
    assert row["recipe"].startswith("quick recipe, changed")


def test_the_start_is_named_and_the_command_that_trained_a_row_stands_below_the_table(tmp_path):
    run = a_measured_run(tmp_path, "000-slice-classifier", "slice-cnn", 0.8)
    setup = (run / "system.yaml").read_text(encoding="utf-8")
    changed = setup.replace("rotation_deg: 15", "rotation_deg: 5").replace(
        "start: ''", "start: /some/where/cnn.safetensors"
    )
    (run / "system.yaml").write_text(changed, encoding="utf-8")
    table = paper_table("000", "2", tmp_path)
    recipe = "quick recipe, changed, 12 epochs on synthetic CT, from weights 'cnn'"
    assert {row["recipe"] for row in table.measured.rows if row["name"] == "Proposed model"} == {recipe}
    command = (
        "cspine train 000-slice-classifier --model slice-cnn --source phantom --data studies --quick "
        "--start cnn.safetensors --seed 3 --set augmentation.rotation_deg=5"
    )
    assert table.trained == {f"Proposed model, {recipe}": command}
    assert f"- Proposed model, {recipe}: `{command}`" in as_markdown(table)


def test_classes_parameters_and_counts_are_shown(tmp_path):
    per_class = {"C1": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1234}}
    a_measured_run(
        tmp_path,
        "004-level-presence",
        "level-gcvit-tiny",
        0.9,
        per_class=per_class,
        parameters={"trainable": 13080663, "frozen": 14683998},
    )
    table = paper_table("004", "1", tmp_path)
    headings, rows = block_text(table, table.measured)
    first = dict(zip(headings, rows[0], strict=True))
    assert first["Macro F1"] == "0.900 (0.800–0.950)"
    assert first["Trainable"] == "13,080,663"
    table = paper_table("004", "2", tmp_path)
    assert block_text(table, table.measured)[1][0][4:] == ["0.500", "1.000", "0.667", "1,234"]
    assert block_text(table, table.printed)[1][2][1:] == ["1.00", "0.98", "0.99", "264"]


def test_markdown_and_json_are_written_together(tmp_path):
    a_measured_run(tmp_path / "runs", "000-slice-classifier", "slice-cnn", 0.8)
    tables = paper_tables("000", None, tmp_path / "runs")
    files = write_tables(tables, tmp_path / "out" / "RESULTS.md")
    assert [path.name for path in files] == ["RESULTS.md", "RESULTS.json"]
    text = files[0].read_text(encoding="utf-8")
    assert text.count("## Paper 000, table") == 4
    assert "| ResNet50 [1,2] | 96.8 | 92.8 |" in text
    assert as_markdown(tables[1]) in text
    document = json.loads(files[1].read_text(encoding="utf-8"))
    assert document[1]["measured"]["rows"][2]["accuracy"] == {"value": 0.8, "low": 0.7, "high": 0.85}
    assert document[1]["printed"]["rows"][2]["accuracy"] == 0.978
    pairs = write_tables(tables[:2], tmp_path / "folder")
    assert [path.name for path in pairs[:2]] == ["paper-000-table-1.md", "paper-000-table-1.json"]
    with pytest.raises(UserError, match=r"\.md, or a folder"):
        write_tables(tables, tmp_path / "table.txt")


@pytest.mark.parametrize(
    ("paper", "table", "fault"), [("009", None, "000, 001, 002, 003, 004"), ("000", "9", "use 1, 2, 3, 4")]
)
def test_an_unknown_paper_or_table_is_refused_with_those_there_are(paper, table, fault):
    with pytest.raises(UserError, match=fault):
        paper_tables(paper, table, None)


def test_a_missing_folder_and_a_broken_document_are_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        paper_tables("000", "2", tmp_path / "no-such")
    run = a_measured_run(tmp_path, "000-slice-classifier", "slice-cnn", 0.8)
    (run / "metrics-val.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics-val\.json"):
        paper_tables("000", "2", tmp_path)


def test_folders_of_images_are_not_searched(tmp_path):
    run = a_measured_run(tmp_path / "r", "000-slice-classifier", "slice-cnn", 0.8)
    images = run.parent / "images" / "deep"
    images.mkdir(parents=True)
    (images / "metrics-val.json").write_text("{}", encoding="utf-8")
    assert len(paper_table("000", "2", tmp_path).missing) == 2
