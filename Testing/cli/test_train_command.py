"""``cspine train SYSTEM``: what cannot be trained is refused in one sentence before the first training, and leaves
nothing; a run that was begun keeps what it has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from cspine_runner import cspine_here
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from made_pictures import TinyNet
from small_studies import make_phantom_set

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import run_steps
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_steps import Order, check_models, train_model
from CSpineFractureLib.training.systems import load_system, parse_overrides

SLICES, LEVELS, FRACTURES = "000-slice-classifier", "004-level-presence", "004-fracture-detector"
SECONDS = f"{SLICES}-quick/slice-cnn/logs/seconds.txt"


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    return make_phantom_set(tmp_path_factory.mktemp("studies") / "set")


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def order_of(runs: Path, name: str, *changes: str, start: str = "") -> Order:
    return Order(load_system(name, quick=True, overrides=parse_overrides([*changes])), runs, "phantom", runs, 0, start)


def with_foreign_weights(folder: Path) -> list[object]:
    save_file(TinyNet(2).state_dict(), folder / "tiny.safetensors")
    return ["--start", folder / "tiny.safetensors"]


def with_a_pickle(folder: Path) -> list[object]:
    torch.save(torch.nn.Linear(2, 2), folder / "net.pt")
    return ["--start", folder / "net.pt"]


def with_truncated_weights(folder: Path) -> list[object]:
    save_file(TinyNet(2).state_dict(), folder / "half.safetensors")
    whole = (folder / "half.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    return ["--start", folder / "half.safetensors"]


@pytest.mark.parametrize("name", [SLICES, FRACTURES])
@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (with_foreign_weights, "tiny.safetensors"),
        (with_a_pickle, "net.pt"),
        (with_truncated_weights, "half.safetensors"),
        (lambda folder: ["--set", "input.size=7"], "input.size"),
        (lambda folder: ["--set", "input.size=[64, 96]"], "two equal numbers"),
        (lambda folder: ["--set", "training.batch=0"], "training.batch is 0"),
        (lambda folder: ["--set", "training.optimiser=foo"], "foo"),
        (lambda folder: ["--set", "data.fold=1"], "has no data.fold: leave it out"),
        (lambda folder: ["--set", "data.window=5"], "data.window is 5, not a text"),
        (lambda folder: ["--set", "input.slices=9"], "--set cannot change 'input.slices'"),
        (lambda folder: ["--model", "alexnet"], "has no model 'alexnet'"),
        (lambda folder: ["--data", folder / "nowhere"], "nowhere"),
        (lambda folder: ["--data", folder], "/given' holds no"),
        (lambda folder: ["--data", __file__], "is not a folder"),
    ],
)
def test_what_cannot_be_trained_ends_with_one_sentence_and_leaves_nothing(capfd, tmp_path, studies, name, words, fault):
    given = tmp_path / "given"
    given.mkdir()
    ended = cspine_here(capfd, "train", name, "--quick", "--data", studies, "-o", tmp_path / "a/runs", *words(given))
    assert ended.code == 2
    assert fault in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", [SLICES, "two-stage"])
def test_a_seed_that_no_library_takes_is_refused(capfd, tmp_path, studies, name):
    ended = cspine_here(capfd, "train", name, "--data", studies, "-o", tmp_path / "runs", "--seed", 2**32)
    assert ended.code == 2
    assert "--seed" in ended.err
    assert not (tmp_path / "runs").exists()


def test_a_size_that_one_of_all_models_cannot_take_is_refused_before_the_first_one_is_trained(capfd, tmp_path, studies):
    words = ("--quick", "--model", "level-densenet121", "--model", "level-inceptionv3", "--set", "input.size=64")
    ended = cspine_here(capfd, "train", LEVELS, *words, "--data", studies, "-o", tmp_path / "runs")
    assert ended.code == 2
    for part in ("level-inceptionv3", "64 x 64", "at least 75", "use --set input.size=224"):
        assert part in ended.err
    assert not (tmp_path / "runs").exists()


def test_the_quick_recipe_gives_inceptionv3_images_that_it_can_take(tmp_path):
    order = order_of(tmp_path, LEVELS)
    sizes = {name: order.setup(name).size for name in order.system.models}
    assert sizes == {name: 96 if name == "level-inceptionv3" else 64 for name in order.system.models}
    check_models(order, ["level-inceptionv3", "level-densenet121"])
    asked = order_of(tmp_path, LEVELS, "input.size=128")
    assert {asked.setup(name).size for name in asked.system.models} == {128}


@pytest.mark.parametrize(
    ("name", "size", "model", "needed"),
    [
        (SLICES, 96, "slice-cnn-fc1", "use --set input.size=224"),
        (LEVELS, 100, "level-swin", "multiple of 32, not 100"),
        (FRACTURES, 32, "yolov8s", "a multiple of 32 of at least 64"),
        ("002-segmentation", 100, "unet-mobilenet", "no multiples of 32"),
        ("level-regressor", 64, "level-regressor", "leave out input.size"),
    ],
)
def test_every_kind_of_network_says_which_size_it_needs(tmp_path, name, size, model, needed):
    with pytest.raises(UserError, match=needed) as error:
        check_models(order_of(tmp_path, name, f"input.size={size}"), [model])
    assert "\n" not in str(error.value)


def failing_fit(run, options, on_event) -> None:
    (run.logs / "tensorboard").mkdir(parents=True)
    (run.logs / "metrics.csv").write_text("epoch\n", encoding="utf-8")
    run.checkpoints.mkdir()
    message = "It failed."
    raise UserError(message)


def begun_fit(run, options, on_event) -> None:
    run.checkpoints.mkdir(exist_ok=True)
    (run.checkpoints / "last.ckpt").write_bytes(b"state")
    message = "It failed later."
    raise UserError(message)


def later_failing_fit(run, options, on_event) -> None:
    message = "It failed once more."
    raise UserError(message)


def interrupted_fit(run, options, on_event) -> None:
    run.logs.mkdir()
    raise KeyboardInterrupt


@pytest.fixture
def fit_by(monkeypatch):
    def choose(fit) -> None:
        monkeypatch.setattr(run_steps.steps_of("slice-classifier"), "fit", fit)

    return choose


@pytest.mark.parametrize("fit", [failing_fit, interrupted_fit])
def test_a_run_that_fails_before_it_learns_leaves_no_folder(tmp_path, fit_by, fit):
    fit_by(fit)
    with pytest.raises((UserError, KeyboardInterrupt)):
        train_model(order_of(tmp_path / "my/runs", SLICES), "slice-cnn", FitOptions("cpu"), lambda event: None)
    assert list(tmp_path.iterdir()) == []


def test_images_and_files_of_the_user_stay_where_a_run_fails(tmp_path, fit_by):
    fit_by(failing_fit)
    order = order_of(tmp_path, SLICES)
    for path in (order.folder / "images/slices.csv", order.folder / "slice-cnn/logs/notes.txt"):
        path.parent.mkdir(parents=True)
        path.write_text("kept", encoding="utf-8")
    before = files_below(tmp_path)
    with pytest.raises(UserError):
        train_model(order, "slice-cnn", FitOptions("cpu"), lambda event: None)
    assert files_below(tmp_path) == before


def test_a_run_that_was_begun_keeps_what_it_has(tmp_path, fit_by):
    fit_by(begun_fit)
    order = order_of(tmp_path, SLICES)
    with pytest.raises(UserError, match="later"):
        train_model(order, "slice-cnn", FitOptions("cpu"), lambda event: None)
    begun = files_below(tmp_path)
    assert {"system.yaml", "last.ckpt"} <= {Path(name).name for name in begun}
    fit_by(later_failing_fit)
    with pytest.raises(UserError, match="once more"):
        train_model(order, "slice-cnn", FitOptions("cpu"), lambda event: None)
    assert {name for name, _ in begun.items() ^ files_below(tmp_path).items()} <= {SECONDS}
