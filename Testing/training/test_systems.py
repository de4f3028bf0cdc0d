"""The systems as data: what the documents state, quick changes, overrides, and faults in one sentence."""

from __future__ import annotations

import pytest

from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.registry import architectures
from CSpineFractureLib.training.systems import load_system, parse_overrides, system_names
from CSpineFractureLib.training.tasks import TASKS, steps_of


def test_every_system_reads_in_both_sizes_and_names_networks_and_images_that_exist():
    assert len(system_names()) >= 5
    for name in system_names():
        for quick in (False, True):
            system = load_system(name, quick)
            assert system.name == name
            assert {model["architecture"] for model in system.models.values()} <= set(architectures())
            if system.task in ("slice-classifier", "level-presence", "vertebra-detector", "fracture-detector"):
                ImageOptions(**{key: value for key, value in system.data.items() if key != "split"})
            for key in system.stated:
                part, _, rest = key.partition(".")
                assert not rest or rest in getattr(system, part), key


def test_document_000_trains_its_detectors_as_its_table_1_says():
    system = load_system("000-vertebra-detector")
    assert system.size == 512
    wanted = {"epochs": 200, "batch": 16, "optimiser": "SGD", "learning_rate": 0.01, "momentum": 0.937}
    assert {key: system.training[key] for key in wanted} == wanted
    assert system.training["weight_decay"] == 0.0005
    assert set(system.models) == {"yolov5l", "yolov8n", "yolov8s", "yolov8m", "yolov8l"}


def test_quick_runs_are_smaller_and_stand_apart():
    whole, quick = load_system("004-level-presence"), load_system("004-level-presence", quick=True)
    assert quick.folder != whole.folder
    assert quick.size < whole.size
    assert quick.training["epochs"] < whole.training["epochs"] == 25
    assert quick.training["schedule"] == "plateau"


def test_values_can_be_changed_one_by_one():
    system = load_system("000-slice-classifier", overrides=parse_overrides(["training.epochs=3", "input.size=64"]))
    assert system.training["epochs"] == 3
    assert system.input["size"] == [64, 64]


def test_ratios_and_small_numbers_are_read_as_they_are_written():
    given = ["data.split=80:20", "training.learning_rate=1e-4", "input.size=[64, 64]", "data.window=minmax"]
    system = load_system("000-slice-classifier", overrides=parse_overrides(given))
    assert (system.data["split"], system.training["learning_rate"]) == ("80:20", 1e-4)
    assert (system.size, system.data["window"]) == (64, "minmax")


@pytest.mark.parametrize(
    "text",
    [
        "epochs=3",
        "training.epochs=0",
        "training.epochs=many",
        "input.size=20",
        "models.x=1",
        "training.epochs",
        "=3",
        "training.learning_rate=NaN",
        "training.learning_rate=.nan",
        "training.weight_decay=.inf",
        "training.batch=100000000000000000000",
    ],
)
def test_a_change_that_makes_no_sense_is_one_sentence(text):
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        load_system("000-slice-classifier", overrides=parse_overrides([text]))


def test_a_recipe_of_ones_own_is_read_and_its_faults_are_named(tmp_path):
    from CSpineFractureLib.resources import resource_path

    text = resource_path("Systems/000-slice-classifier.yaml").read_text(encoding="utf-8")
    own = tmp_path / "mine.yaml"
    own.write_text(text.replace("epochs: 50", "epochs: 7"), encoding="utf-8")
    assert load_system(str(own)).training["epochs"] == 7
    own.write_text(text + "\nfoo: 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="foo"):
        load_system(str(own))
    own.write_text("just words", encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_system(str(own))
    with pytest.raises(UserError, match="000-slice-classifier"):
        load_system("no-such-system")


def test_every_task_can_be_checked_made_fitted_looked_at_and_measured():
    for task in TASKS:
        steps = steps_of(task)
        assert all(callable(getattr(steps, name)) for name in ("check", "make_images", "fit", "look", "measure")), task
