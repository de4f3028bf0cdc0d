"""From a folder of radiographs to weights and figures."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from broken_off import one_thread
from drawn_radiographs import radiographs_in, small_system

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import from_metadata
from CSpineFractureLib.models.weights_file import read_metadata
from CSpineFractureLib.training import radiograph_run as steps
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.metrics_file import read_metrics
from CSpineFractureLib.training.radiograph_pictures import RadiographPictures
from CSpineFractureLib.training.run_folder import Setup, open_run
from CSpineFractureLib.training.slice_export import exported_network
from CSpineFractureLib.training.systems import System

MODEL = "radiograph-alexnet"
CPU = FitOptions(device="cpu")


def quiet(event):
    """Nobody listens."""


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    return radiographs_in(tmp_path_factory.mktemp("data"))


def run_in(folder, radiographs, system, seed=0):
    steps.make_images(system, "phantom", radiographs, folder / "images", seed)
    return open_run(folder / MODEL, Setup(system, MODEL, seed, "phantom", str(radiographs)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, radiographs):
    run = run_in(tmp_path_factory.mktemp("runs"), radiographs, small_system(epochs=8, learning_rate=0.02))
    steps.fit(run, CPU, quiet)
    steps.look(run, "val", "cpu")
    return run, steps.measure(run, "val")


def test_a_small_network_learns_what_can_be_seen(trained):
    _, metrics = trained
    assert metrics.figures["accuracy"].value > 0.6
    assert metrics.figures["auc"].value > 0.75
    low, high = metrics.figures["accuracy"].low, metrics.figures["accuracy"].high
    assert low <= metrics.figures["accuracy"].value <= high
    assert metrics.data.synthetic


def test_every_figure_is_there_for_each_class(trained):
    _, metrics = trained
    assert {"precision", "recall", "f1", "specificity", "auc", "images"} <= metrics.per_class["dislocation"].keys()
    assert {"recall_normal", "f1_fracture"} <= metrics.figures.keys()
    matrix = metrics.confusion["matrix"]
    assert sum(map(sum, matrix)) == metrics.data.images
    assert sum(matrix[n][n] for n in range(3)) == metrics.figures["right"].value


def test_the_split_for_testing_is_measured_as_well(trained):
    run, _ = trained
    test = read_metrics(run.path / "metrics-test.json")
    assert test.set == "test"
    seen = {row["file"] for row in csv.DictReader(run.predictions("test").open())}
    kept = {row["file"] for row in csv.DictReader(run.predictions("val").open())}
    assert seen
    assert not seen & kept
    assert {"confusion-val.png", "roc-val.png", "confusion-test.png", "curves.png"} <= {
        path.name for path in run.plots.iterdir()
    }


def test_strata_with_and_without_mimics_are_measured(trained):
    _, metrics = trained
    assert set(metrics.strata) == {"mimics", "no mimics"}


def test_the_baselines_learn_too_and_are_not_kept(trained):
    run, _ = trained
    for name in ("svm", "random-forest"):
        folder = run.path.parent / f"baseline-{name}"
        assert sorted(path.name for path in folder.iterdir()) == ["metrics-test.json", "metrics-val.json"]
        assert read_metrics(folder / "metrics-val.json").figures["accuracy"].value > 0.6


def test_the_weights_say_what_they_are(trained):
    run, _ = trained
    entry = from_metadata(read_metadata(run.weights), run.weights)
    assert (entry.task, entry.profiles, entry.image) == ("radiograph", ["radiograph"], "radiograph")
    assert "synthetic radiographs" in entry.trained_on


def test_the_exported_network_gives_the_answers_that_were_measured(trained):
    run, _ = trained
    pictures = RadiographPictures(run.images, "val", 64)
    with torch.inference_mode():
        chances = torch.softmax(exported_network(run)(pictures[0][0][None]), 1)[0].tolist()
    first = next(csv.DictReader(run.predictions("val").open()))
    told = [float(first[f"p_{name}"]) for name in ("normal", "fracture", "dislocation")]
    assert told == pytest.approx(chances, abs=1e-4)


def test_the_stacked_network_starts_from_the_weights_of_either_part(trained, tmp_path):
    run, _ = trained
    system = small_system().to_dict()
    system["models"]["radiograph-stacked"]["arguments"] = {"fc_width": 16, "hidden": 8, "batch_norm": True}
    setup = Setup(System.from_dict(system), "radiograph-stacked", start=str(run.weights))
    network = steps._new_network(setup)
    learned, started = exported_network(run).state_dict(), network.alexnet.state_dict()
    assert all(torch.equal(tensor, learned[name]) for name, tensor in started.items())
    torch.save({"x": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="another architecture"):
        steps._new_network(replace(setup, start=str(tmp_path / "x.pth")))


def test_a_finished_run_is_left_alone(trained):
    run, _ = trained
    before = run.weights.stat().st_mtime_ns
    steps.fit(run, CPU, quiet)
    assert run.weights.stat().st_mtime_ns == before


def test_a_run_that_was_broken_off_ends_as_the_undisturbed_one(tmp_path, radiographs):
    whole = run_in(tmp_path / "whole", radiographs, small_system())
    steps.fit(whole, CPU, quiet)

    class Broken(Exception):
        """Stands for a kill."""

    def breaks(event):
        # after the first epoch was saved, inside the second
        if event["done"] > event["total"] // 2 and (broken.checkpoints / "last.ckpt").is_file():
            raise Broken

    broken = run_in(tmp_path / "broken", radiographs, small_system())
    with pytest.raises(Broken):
        steps.fit(broken, CPU, breaks)
    assert not broken.weights.is_file()
    steps.fit(broken, CPU, quiet)

    one, other = (exported_network(run).state_dict() for run in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_table_is_made_once_and_refuses_other_data(tmp_path, radiographs):
    system = small_system()
    steps.make_images(system, "phantom", radiographs, tmp_path / "images")
    before = (tmp_path / "images" / "radiographs.csv").read_bytes()
    steps.make_images(system, "phantom", radiographs, tmp_path / "images")
    assert (tmp_path / "images" / "radiographs.csv").read_bytes() == before
    assert yaml.safe_load((tmp_path / "images" / "made.yaml").read_text())["source"] == "phantom"
    with pytest.raises(UserError, match="other data or options"):
        steps.make_images(system, "radiographs", radiographs, tmp_path / "images")


def test_a_set_of_its_own_is_all_for_testing(tmp_path, radiographs):
    steps.make_images(small_system(), "radiographs", radiographs, tmp_path / "images", single_set=True)
    assert len(RadiographPictures(tmp_path / "images", "test", 64)) == 60


def test_unknown_sources_and_missing_classes_are_refused(tmp_path, radiographs):
    with pytest.raises(UserError, match="--source rsna does not hold radiographs"):
        steps.make_images(small_system(), "rsna", radiographs, tmp_path / "images")
    some = shutil.copytree(radiographs, tmp_path / "some")
    shutil.rmtree(some / "dislocation")
    with pytest.raises(UserError, match="shows class dislocation"):
        steps.make_images(small_system(), "phantom", some, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_a_radiograph_that_is_damaged_stops_the_training_with_its_name(tmp_path, radiographs):
    some = shutil.copytree(radiographs, tmp_path / "some")
    for path in (some / "normal").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    run = run_in(tmp_path / "runs", some, small_system())
    with pytest.raises(UserError, match=r"'\d+\.png' is cut off or damaged"):
        steps.fit(run, CPU, quiet)


def test_radiographs_that_are_gone_are_missed_in_one_sentence(tmp_path, radiographs):
    some = shutil.copytree(radiographs, tmp_path / "some")
    run = run_in(tmp_path / "runs", some, small_system())
    shutil.rmtree(some)
    with pytest.raises(UserError, match="which is gone"):
        steps.fit(run, CPU, quiet)


def test_the_recipe_states_what_the_document_states():
    from CSpineFractureLib.training.systems import load_system

    training = load_system("001-radiograph").training
    assert (training["epochs"], training["batch"], training["learning_rate"]) == (30, 10, 0.001)
    assert (training["optimiser"], training["schedule"], training["step_epochs"]) == ("sgd", "step", 4)


def test_the_printed_figures_of_the_document_agree_with_each_other_where_no_footnote_stands():
    paper = json.loads((Path(__file__).parents[2] / "Resources/Papers/001.json").read_text(encoding="utf-8"))
    classes = next(table for table in paper["tables"] if table["table"] == "classes")["rows"]
    for row in classes:
        precision, recall, f1 = (row["values"][name] for name in ("precision", "recall", "f1"))
        assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=1e-4)
    assert round(81 / 82, 4) == classes[0]["values"]["precision"]
    assert round(110 / 111, 3) == classes[2]["values"]["recall"]
    assert round(302 / 303, 4) == 0.9967
