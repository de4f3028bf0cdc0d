"""Training of a YOLO network on a run folder: it learns, stays on this computer, and exports what it validated."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from yolo_tree import HEIGHT, SIZE, WIDTH, a_run, a_system, write_tree

from CSpineFractureLib.datasets.slice_image import read_image, write_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import ModelEntry, as_metadata, from_metadata
from CSpineFractureLib.models.quiet_ultralytics import ultralytics_parts
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.slice_input import SquareFit
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.weights_file import load_weights, read_metadata, save_weights
from CSpineFractureLib.models.yolo import build_yolo, detect
from CSpineFractureLib.training import yolo_fit, yolo_trainer
from CSpineFractureLib.training.box_report import box_figures
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.yolo_find import find_boxes, found_in, square_picture
from CSpineFractureLib.training.yolo_fit import fit_boxes, training_data
from CSpineFractureLib.training.yolo_gpus import train_on_gpus
from CSpineFractureLib.training.yolo_pictures import SquarePictures
from CSpineFractureLib.training.yolo_settings import trainer_settings
from CSpineFractureLib.training.yolo_start import first_network

CPU = FitOptions("cpu")


def ignore(event) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of ten epochs, its events, what it printed, and what it asked of the network, in an empty folder."""
    folder, here = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("here")
    tree = write_tree(folder)
    before = sorted(tree.rglob("*"))
    run = a_run(folder, a_system(epochs=10))
    events, calls, printed = [], [], io.StringIO()

    def refuse(*arguments, **options):
        calls.append(arguments)
        raise OSError

    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        for name in ("HOME", "USERPROFILE", "APPDATA", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(here))
        patch.chdir(here)
        for owner, name in ((socket, "getaddrinfo"), (socket, "create_connection"), (socket.socket, "connect")):
            patch.setattr(owner, name, refuse)
        threads = torch.get_num_threads()
        fit_boxes(run, CPU, events.append)
        assert torch.get_num_threads() == threads
    left = [path for path in here.rglob("*") if path.is_file()]
    added = sorted(set(tree.rglob("*")) - set(before))
    return run, events, {"calls": calls, "printed": printed.getvalue(), "left": left, "added": added}


def test_it_finds_the_squares_of_pictures_it_did_not_learn_from(trained):
    run = trained[0]
    found = json.loads(find_boxes(run, "val", "cpu", ignore).read_text())
    assert box_figures(found)["map50"] > 0.8
    untrained = build_yolo("yolov8n", 1, 3).eval()
    for image in found["images"]:
        ((_, image["found"]),) = found_in(untrained, [read_image(run.images / image["file"])], SIZE)
    assert box_figures(found)["map50"] < 0.1


def test_nothing_is_asked_of_the_network_printed_or_written_elsewhere(trained):
    assert trained[2] == {"calls": [], "printed": "", "left": [], "added": []}


def test_the_events_count_the_batches_of_all_epochs_and_tell_the_figures(trained):
    events = trained[1]
    assert {event["stage"] for event in events} == {"train"}
    assert {event["total"] for event in events} == {50}
    assert [event["done"] for event in events if "loss" in event["message"]] == list(range(1, 51))
    assert sum("mAP50" in event["message"] for event in events) == 10


def test_the_export_holds_the_best_weights_whole_and_says_what_it_is(trained):
    run = trained[0]
    entry = from_metadata(read_metadata(run.weights), run.weights)
    assert entry == run.entry()
    exported = load_weights(create(entry.architecture, **entry.arguments), run.weights).eval()
    best = load_weights(build_yolo("yolov8n", 1, 3), run.checkpoints / "best.safetensors").eval()
    picture = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(detect(exported, picture, 0.001), detect(best, picture, 0.001), strict=True):
        assert len(ours)
        np.testing.assert_array_equal(ours.boxes_xyxy, theirs.boxes_xyxy)
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_the_best_epoch_is_the_one_of_the_highest_map_in_the_log(trained):
    run = trained[0]
    rows = [line.split(",") for line in (run.logs / "results.csv").read_text().splitlines()]
    column = rows[0].index("metrics/mAP50-95(B)")
    figures = [float(row[column]) for row in rows[1:]]
    assert len(figures) == 10
    epoch = int(read_metadata(run.checkpoints / "best.safetensors")["epoch"])
    assert figures[epoch] == max(figures)


def test_a_finished_run_returns_at_once(trained):
    run, events = trained[0], []
    before = run.weights.stat().st_mtime_ns
    fit_boxes(run, CPU, events.append)
    assert events == []
    assert run.weights.stat().st_mtime_ns == before


def test_a_set_of_test_pictures_alone_is_looked_at_with_its_truth_and_strata(trained, tmp_path):
    run = trained[0]
    os.rename(write_tree(tmp_path, train=0, val=0, test=3), run.images_of("elsewhere"))
    events = []
    document = json.loads(find_boxes(run, "elsewhere", "cpu", events.append).read_text())
    assert run.detections("elsewhere").name == "detections-elsewhere.json"
    assert document["classes"] == ["fracture"]
    assert [event["done"] for event in events] == [1, 2, 3]
    image = document["images"][1]
    assert (image["study"], image["k"], image["strata"]) == ("test001", 7, "hairline")
    assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
    assert len(image["truth"]) == 2
    for number, x0, y0, x1, y1 in image["truth"]:
        assert (number, x1 - x0, y1 - y0) == (0, 16, 16)
    for _, score, x0, y0, x1, y1 in image["found"]:
        assert 0.001 <= score <= 1
        assert 0 <= x0 < x1 <= WIDTH
        assert 0 <= y0 < y1 <= HEIGHT


def pictures(run, mode: str, **changes) -> SquarePictures:
    """The pictures of the split ``val`` as the trainer takes them."""
    hyp = ultralytics_parts().get_cfg(overrides={**trainer_settings(run, CPU), **changes})
    data = training_data(run, run.images)
    return SquarePictures(
        img_path=data["val"], imgsz=hyp.imgsz, augment=mode == "train", hyp=hyp, task="detect", data=data
    )


@pytest.mark.parametrize("size", [64, 96, 160])
@pytest.mark.parametrize("mode", ["val", "train"])
def test_training_sees_the_picture_and_the_boxes_that_inference_sees(tmp_path, mode, size):
    tree = write_tree(tmp_path, train=1, val=2)
    colour = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    file = next((tree / "images/val").glob("val001*"))
    write_image(colour, file)
    system = a_system()
    run = a_run(tmp_path, replace(system, input={**system.input, "size": [size, size]}))
    item = pictures(run, mode, fliplr=0.0)[1]
    assert item["im_file"] == str(file)
    expected = torch.from_numpy(square_picture(colour, size, 3)).permute(2, 0, 1)
    assert torch.equal(item["img"], expected)
    truth = json.loads(json.dumps(_truth_of(file, tree)))
    fit = SquareFit.of(HEIGHT, WIDTH, size)
    for (x, y, w, h), box in zip(item["bboxes"].numpy() * size, truth, strict=True):
        corners = [*fit.to_slice(x - w / 2, y - h / 2), *fit.to_slice(x + w / 2, y + h / 2)]
        np.testing.assert_allclose(corners, box, atol=1e-3)


def _truth_of(file: Path, tree: Path) -> list[list[float]]:
    """Left, top, right, bottom in pixels, read from the label file by hand."""
    lines = (tree / "labels/val" / file.name).with_suffix(".txt").read_text().splitlines()
    found = []
    for line in lines:
        x, y, w, h = (float(word) for word in line.split()[1:])
        found.append([(x - w / 2) * WIDTH, (y - h / 2) * HEIGHT, (x + w / 2) * WIDTH, (y + h / 2) * HEIGHT])
    return found


def test_what_augmentation_brings_in_from_outside_is_air(tmp_path):
    tree = write_tree(tmp_path, train=1, val=2)
    for file in (tree / "images/val").iterdir():
        write_image(np.full((SIZE, SIZE), 255, np.uint8), file)
    run = a_run(tmp_path, a_system())
    moved = pictures(run, "train", degrees=20.0, translate=0.3, scale=0.3, hsv_v=0.0)
    values = torch.stack([moved[n % 2]["img"] for n in range(20)])
    assert (values == 0).float().mean() > 0.05
    assert ((values > 0) & (values < 255)).float().mean() < 0.03  # edges between the two


def test_the_pictures_are_the_same_every_time_and_leave_no_cache(tmp_path):
    tree = write_tree(tmp_path, train=1, val=2)
    run = a_run(tmp_path, a_system())
    assert not list(pictures(run, "val").labels[0]["segments"])
    assert not [path for path in tree.rglob("*") if path.suffix in (".cache", ".npy")]


def broken(run, tree) -> None:
    (tree / "data.yaml").unlink()


def without_a_class(run, tree) -> None:
    for path in (tree / "labels/val").iterdir():
        path.write_text("")


def of_other_classes(run, tree) -> None:
    (tree / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: bone}\n")


def with_a_damaged_picture(run, tree) -> None:
    path = sorted((tree / "images/train").iterdir())[0]
    path.write_bytes(path.read_bytes()[:200])


def without_a_picture(run, tree):
    (tree / "images/train/train000_k0007.png").unlink()


def with_a_wrong_label(run, tree) -> None:
    sorted((tree / "labels/train").iterdir())[0].write_text("0 0.5 0.5 a b\n")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (broken, r"data\.yaml' does not exist"),
        (without_a_class, "No picture of the split 'val' has a box of fracture"),
        (of_other_classes, "has the classes bone, not fracture"),
        (with_a_damaged_picture, "cannot be read as a picture"),
        (without_a_picture, r"train000_k0007\.png' is missing though 'slices\.csv' lists it: make the images again"),
        (with_a_wrong_label, "line 1: it is not a class id"),
    ],
)
def test_pictures_that_cannot_be_learnt_from_are_one_sentence(tmp_path, harm, sentence):
    tree = write_tree(tmp_path, train=3, val=2)
    run = a_run(tmp_path, a_system(epochs=1))
    harm(run, tree)
    with pytest.raises(UserError, match=sentence) as error:
        fit_boxes(run, CPU, ignore)
    assert "\n" not in str(error.value)
    assert not run.weights.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input": {"size": [100, 100]}}, "100 x 100 pixels: use --set input.size with a multiple of 32"),
        ({"input": {"size": [32, 32]}}, "yolov8n cannot take images of 32 x 32 pixels.*of at least 64"),
        ({"augmentation": {"sharpen": 1}}, "sharpen"),
        ({"augmentation": {"fliplr": 7.0}}, "fliplr"),
        (
            {"training": {"epochs": 1, "batch": 2, "optimiser": "Adagrad", "learning_rate": 1, "weight_decay": 0}},
            "adagrad",
        ),
    ],
)
def test_a_system_that_cannot_be_trained_is_one_sentence(tmp_path, change, sentence):
    run = a_run(tmp_path, replace(a_system(), **change))
    with pytest.raises(UserError, match=sentence) as error:
        trainer_settings(run, CPU)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that is asked for")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (FitOptions("cuda"), "--device cuda cannot be used"),
        (FitOptions("cpu", precision="16-mixed"), "--precision 16-mixed needs a CUDA device"),
        (FitOptions("auto", devices=2), r"--gpus 2 cannot be used.* 0 CUDA"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(tmp_path, options, sentence):
    write_tree(tmp_path, train=2, val=2)
    with pytest.raises(UserError, match=sentence):
        fit_boxes(a_run(tmp_path, a_system()), options, ignore)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that is asked for")
def test_what_the_processes_of_several_gpus_complain_of_is_told(tmp_path):
    write_tree(tmp_path, train=2, val=2)
    run = a_run(tmp_path, a_system())
    with pytest.raises(UserError, match=r"--gpus 2 cannot be used"):
        train_on_gpus(run, FitOptions("auto", devices=2), ignore, run.images)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(folder, state):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_tree(tmp_path, train=3, val=2)
    run = a_run(tmp_path, a_system(epochs=1))
    monkeypatch.setattr(yolo_trainer, "write_last", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        fit_boxes(run, CPU, ignore)
    assert not run.weights.exists()


def test_a_loss_that_is_no_number_ends_the_training_with_one_sentence(tmp_path, monkeypatch):
    def spoilt(run):
        model = first_network(run)
        torch.nn.init.constant_(model.model[0].conv.weight, float("nan"))
        return model

    write_tree(tmp_path, train=3, val=2)
    run = a_run(tmp_path, a_system(epochs=2))
    monkeypatch.setattr(yolo_fit, "first_network", spoilt)
    with pytest.raises(UserError, match=r"unstable in epoch 1 .*smaller training\.learning_rate"):
        fit_boxes(run, CPU, ignore)
    assert not run.weights.exists()
    assert not (run.checkpoints / "last.pt").exists()


def test_the_weights_on_this_computer_are_taken_over_but_for_the_head_of_other_classes(tmp_path):
    torch.manual_seed(3)
    shipped = build_yolo("yolov8n", 8, 3)
    entry = ModelEntry("mine", "1", "fracture-detector", ["default"], "yolov8n", "x", "y", {}, {"classes": 8})
    file = save_weights(shipped, tmp_path / "mine.safetensors", torch.float32, as_metadata(entry))
    store = WeightsStore(tmp_path / "store", bundled=tmp_path / "none")
    store.install(file, replace(entry, input={"windows": [], "size": [96, 96], "spacing_mm": [1, 1]}))
    run = a_run(tmp_path, a_system(), start="shipped")
    state = first_network(run, store).state_dict()
    assert torch.equal(state["model.0.conv.weight"], shipped.state_dict()["model.0.conv.weight"])
    assert state["model.22.cv3.0.2.bias"].tolist() == pytest.approx([-np.log(99)])
    other = a_run(tmp_path, a_system(architecture="yolov5n"), start="shipped")
    with pytest.raises(UserError, match=r"No weights of a yolov5n .*there: yolov8n"):
        first_network(other, store)


def test_shipped_weights_of_other_channels_are_named_with_the_remedy(tmp_path):
    entry = ModelEntry("grey", "1", "fracture-detector", [], "yolov8n", "x", "y", {}, {"classes": 1, "channels": 1})
    file = save_weights(build_yolo("yolov8n", 1, 1), tmp_path / "grey.safetensors", torch.float32, as_metadata(entry))
    store = WeightsStore(tmp_path / "store", bundled=tmp_path / "none")
    store.install(file, replace(entry, input={"windows": [[400, 1800]], "size": [96, 96], "spacing_mm": [1, 1]}))
    run = a_run(tmp_path, a_system(), start="shipped")
    with pytest.raises(UserError, match=r"other arguments \(channels=1, wanted channels=3\).*--start FILE") as caught:
        first_network(run, store)
    assert "there: yolov8n" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_weights_is_taken_over_and_random_weights_follow_the_seed(tmp_path):
    torch.manual_seed(3)
    given = build_yolo("yolov8n", 80, 3)
    file = save_weights(given, tmp_path / "coco.safetensors", torch.float32)
    started = first_network(a_run(tmp_path / "a", a_system(), start=str(file))).state_dict()
    assert torch.equal(started["model.4.cv1.conv.weight"], given.state_dict()["model.4.cv1.conv.weight"])
    first, again, other = (
        first_network(a_run(tmp_path / str(n), a_system(), seed=seed)).state_dict()["model.0.conv.weight"]
        for n, seed in enumerate((1, 1, 2))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_run_without_weights_cannot_look_at_pictures(tmp_path):
    write_tree(tmp_path, train=1, val=1)
    with pytest.raises(UserError, match="no trained network yet"):
        find_boxes(a_run(tmp_path, a_system()), "val", "cpu", ignore)
