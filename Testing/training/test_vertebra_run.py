"""Training of the vertebra classifiers on made crops, to weights that can be installed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_off import CPU, one_thread
from made_vertebrae import SIZE, SLICES, STILL, a_run, make_crops

from CSpineFractureLib.datasets.crop_table import read_crop_table
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import from_metadata
from CSpineFractureLib.models.weights_file import read_metadata
from CSpineFractureLib.training import vertebra_run
from CSpineFractureLib.training.metrics_file import read_metrics
from CSpineFractureLib.training.paper_tables import paper_table
from CSpineFractureLib.training.slice_export import exported_network
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.training.vertebra_pictures import Shown, VertebraPictures
from CSpineFractureLib.training.vertebra_report import measure_boxes


@pytest.fixture(autouse=True, scope="module")
def alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run that was trained to the end and looked at its validation set and another one."""
    folder, events = tmp_path_factory.mktemp("runs"), []
    make_crops(folder / "images", train=20, val=10)
    make_crops(folder / "images-other", train=0, val=6, split="test")
    run = a_run(folder, training__epochs=8, training__learning_rate=0.003, **STILL)
    vertebra_run.fit(run, CPU, events.append)
    for name in ("val", "other"):
        vertebra_run.look(run, name, "cpu", events.append)
    return run, events


@pytest.fixture(scope="module")
def measured(fitted):
    """The run's figures on its validation set."""
    run, _ = fitted
    return vertebra_run.measure(run, "val", samples=50)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_gap_in_some_slices_is_learned(fitted) -> None:
    run, events = fitted
    rows = table(run.predictions("val"))
    assert list(rows[0]) == ["file", "study", "level", "split", "strata", "truth", "probability"]
    assert len(rows) == 40
    assert {row["level"] for row in rows} == {"C2", "C3", "C4", "C5"}
    assert np.mean([(float(row["probability"]) > 0.5) == (row["truth"] == "1") for row in rows]) >= 0.85
    assert {event["stage"] for event in events} == {"pictures", "train", "predict"}


def test_figures_come_in_all_by_level_and_by_stratum(fitted, measured) -> None:
    run, metrics = fitted[0], measured
    stored = read_metrics(run.path / "metrics-val.json")
    assert stored.figures["auc"].value == pytest.approx(metrics.figures["auc"].value, abs=1e-5)
    auc = metrics.figures["auc"]
    assert 0.85 <= auc.low <= auc.value <= auc.high <= 1
    assert {"accuracy", "loss", "recall", "specificity", "ece"} <= set(metrics.figures)
    assert {"displaced", "hairline", "mimics", "C2", "C3", "C4", "C5"} <= set(metrics.strata)
    assert metrics.strata["C3"]["images"].value == 10
    assert metrics.strata["C3"]["auc"].low is not None
    assert set(metrics.per_class) == {"C2", "C3", "C4", "C5"}
    assert metrics.per_class["C3"]["support"] == 5
    assert sum(map(sum, metrics.confusion["matrix"])) == 40
    assert {path.name for path in run.plots.iterdir()} >= {"roc-val.png", "confusion-val.png", "curves.png"}
    vertebra_run.measure(run, "other", samples=0)
    assert read_metrics(run.path / "metrics-other.json").data.synthetic


def test_the_loss_is_the_cross_entropy_of_the_answers(fitted, measured) -> None:
    rows = table(fitted[0].predictions("val"))
    right = [float(row["probability"]) if row["truth"] == "1" else 1 - float(row["probability"]) for row in rows]
    assert measured.figures["loss"].value == pytest.approx(-np.log(np.clip(right, 1e-6, None)).mean(), abs=1e-5)


def test_exported_weights_give_the_same_answers_and_say_what_they_take(fitted) -> None:
    run, _ = fitted
    entry = from_metadata(read_metadata(run.weights), run.weights)
    assert entry.task == "vertebra-fracture"
    assert (entry.input["image"], entry.input["slices"], entry.input["size"]) == ("vertebra-crop", SLICES, [SIZE, SIZE])
    pictures = VertebraPictures(run.images, "val", Shown.of(run.setup))
    with torch.inference_mode():
        said = torch.sigmoid(exported_network(run)(torch.stack([pictures[n][0] for n in range(8)])))
    stored = [float(row["probability"]) for row in table(run.predictions("val"))[:8]]
    assert np.allclose(said.numpy(), stored, atol=1e-4)


def test_boxes_of_a_fracture_detector_answer_for_vertebrae(fitted, tmp_path) -> None:
    run, _ = fitted
    rows = [row for row in read_crop_table(run.images) if row.split == "val"]
    images = []
    for row in rows:
        found = [[0, 0.8 if row.label else 0.2, 1, 1, 9, 9], [0, 0.1, 1, 1, 5, 5]]
        image = {"file": row.file, "study": row.study, "k": row.k0 + 4, "strata": "", "truth": [], "found": found}
        images.append(image | {"width": 32, "height": 32})
    file = tmp_path / "detections-val.json"
    file.write_text(json.dumps({"classes": ["fracture"], "images": images}), encoding="utf-8")
    before = {path: path.read_bytes() for path in run.path.glob("*-val*")}
    metrics = measure_boxes(run, "val", file, samples=0)
    assert {path: path.read_bytes() for path in run.path.glob("*-val*")} == before
    for number in ("II", "III"):
        table = paper_table("002", number, run.path.parent)
        row = next(row for row in table.measured.rows if row["name"].endswith("YOLOv5") and row.get("accuracy"))
        assert (row["accuracy"].value, row["recipe"]) == (1, "quick recipe, 0 epochs")
    assert metrics.figures["accuracy"].value == 1
    assert metrics.figures["loss"].value == pytest.approx(-np.log(0.8), abs=1e-4)
    file.write_text(json.dumps({"classes": ["fracture"], "images": images[:1]}), encoding="utf-8")
    with pytest.raises(UserError, match="nothing of study"):
        measure_boxes(run, "val", file, samples=0)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("cracknet-resnet18", (SLICES, 3, SIZE, SIZE)),
        ("cracknet-resnet18-mask", (SLICES, 4, SIZE, SIZE)),
        ("cracknet-resnet18-whole", (SLICES, 3, SIZE, SIZE)),
        ("vertebra-resnet50-whole", (1, 3, SIZE, SIZE)),
    ],
)
def test_each_model_sees_its_own_pictures(tmp_path, model: str, shape) -> None:
    make_crops(tmp_path / "images", train=1, val=1)
    run = a_run(tmp_path, model)
    pictures = VertebraPictures(run.images, "train", Shown.of(run.setup))
    crop, target, _cracks = pictures[0]
    assert crop.shape == shape
    assert target == 0
    assert vertebra_run.new_network(run.setup)(torch.stack([crop, crop])).shape == (2,)


def test_the_recipes_hold_what_the_document_says() -> None:
    system = load_system("002-vertebra-fracture")
    assert (system.input["slices"], system.size) == (30, 512)
    assert (system.training["optimiser"], system.training["schedule"]) == ("adamw", "cosine")
    assert load_system("002-vertebra-crop").task == "vertebra-detector"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training__optimiser": "magic"}, "training.optimiser"),
        ({"augmentation__blur": 3}, "augmentation.blur"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(tmp_path, change, words) -> None:
    make_crops(tmp_path / "images", train=1, val=1)
    run = a_run(tmp_path, "cracknet-resnet18", **change)
    with pytest.raises(UserError, match=words) as caught:
        vertebra_run.fit(run, CPU, lambda event: None)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_network_for_other_channels_is_one_sentence(tmp_path) -> None:
    run = a_run(tmp_path, "cracknet-resnet18")
    run.setup.system.models["cracknet-resnet18"]["input"] = {"mask": True}
    with pytest.raises(UserError, match=r"cannot judge crops of 32 x 32 pixels in 4 channels"):
        vertebra_run.new_network(run.setup)
    run.setup.system.models["cracknet-resnet18"]["input"] = {"slices": 9}
    with pytest.raises(UserError, match=r"1 to 5 slices"):
        vertebra_run.new_network(run.setup)


def test_missing_crops_and_answers_are_one_sentence(tmp_path) -> None:
    run = a_run(tmp_path)
    with pytest.raises(UserError, match="make the crops again"):
        vertebra_run.fit(run, CPU, lambda event: None)
    with pytest.raises(UserError, match="predict that set"):
        vertebra_run.measure(run, "val")
    (run.predictions("val")).write_text("study,strata,truth,probability\na,,1,0.5\n", encoding="utf-8")
    with pytest.raises(UserError, match="no answers for vertebrae"):
        vertebra_run.measure(run, "val")
