"""Every network of the source documents fits a few small phantoms well above chance, by the steps of ``cspine train``.

Six phantoms have one burst vertebra each. A network is trained on five and measured on all six: what is asked for is
that the whole way from studies to exported weights learns, not that six studies teach much.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_off import CPU, one_thread

from CSpineFractureLib.phantom.files import make_studies
from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.radiograph_files import make_radiographs
from CSpineFractureLib.training.run_steps import Order, measure_on, prepare, train_model
from CSpineFractureLib.training.systems import load_system

pytestmark = pytest.mark.slow

BROKEN = ("C5", "C6", "C4", "C5", "C3", "C7")


def a_plan(seed: int) -> StudyPlan:
    """112 mm around a column without mimics, in voxels of 1 x 1 x 2 mm."""
    return StudyPlan(
        spacing_mm=(1.0, 1.0, 2.0),
        fractures=parse_fractures([f"{BROKEN[seed]}:burst"]),
        mimics=(),
        width_mm=112,
        depth_mm=112,
        above_mm=15,
        below_mm=15,
        noise_hu=(10, 10),
    )


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    make_studies(root, list(range(len(BROKEN))), a_plan)
    return root


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("radiographs")
    make_radiographs(root, list(range(24)))
    return root


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def figures_of(system: str, model: str, runs: Path, studies: Path, **changes: object) -> dict[str, float]:
    """The figures on all studies after a quick training with ``changes``, whose ``__`` stand for points."""
    recipe = load_system(
        system, quick=True, overrides={key.replace("__", "."): value for key, value in changes.items()}
    )
    order = Order(recipe, runs, "phantom", studies)
    prepare(order, lambda event: None)
    run, _ = train_model(order, model, CPU, lambda event: None)
    measured = measure_on(run, "same", "phantom", studies, "cpu", lambda event: None)
    return {name: figure.value for name, figure in measured.figures.items()}


def without(*augmentations: str) -> dict[str, float]:
    return {f"augmentation__{name}": 0 for name in augmentations}


SMALL = {"data__most_per_study": 10, "training__batch": 8}
FRACTURE_BOXES = {**SMALL, "data__added": 10, "input__size": [128, 128]}
VERTEBRA_BOXES = {
    "data__most_per_study": 12,
    "input__size": [128, 128],
    "training__batch": 8,
    **without("fliplr", "degrees", "translate", "scale", "hsv_v"),
}
LEVELS_SHOWN = {**SMALL, **without("flip", "rotation_deg", "shift", "scale", "blur")}
SEGMENTS = {
    "data__most_per_study": 20,
    "input__size": [64, 64],
    "input__spacing_mm": [1.6, 1.6],
    "training__batch": 8,
    **without("flip", "move", "distort", "dropout", "tone", "blur"),
}
VERTEBRAE = {
    "data__masks": "study",
    "data__normals": None,
    "input__size": [64, 64],
    "input__slices": 10,
    **without("flip_horizontal", "rotation_deg", "shift", "scale", "blur", "distortion", "sharpen", "brightness"),
}

WHOLE = {**VERTEBRAE, "input__size": [96, 96], "input__slices": 1, "data__cracks": False, "training__draw": 0}


def each(system: str, models: str, figure: str, least: float, epochs: int, rate: float, **changes: object) -> list:
    plan = {"training__epochs": epochs, "training__learning_rate": rate, **changes}
    return [pytest.param(system, one, figure, least, plan, id=f"{system}-{one}") for one in models.split()]


CASES = [
    *each("000-slice-classifier", "slice-cnn slice-cnn-fc2 slice-cnn-fc1", "auc", 0.75, 12, 0.001, **SMALL),
    *each("000-slice-classifier", "slice-densenet121", "auc", 0.75, 12, 0.001, **SMALL, input__size=[112, 112]),
    *each("000-slice-classifier", "slice-resnet50", "auc", 0.75, 20, 0.001, **SMALL, input__size=[112, 112]),
    *each("000-vertebra-detector", "yolov8n", "map50", 0.5, 50, 0.002, **VERTEBRA_BOXES),
    *each("000-vertebra-detector", "yolov8s", "map50", 0.5, 40, 0.002, **VERTEBRA_BOXES),
    *each("000-vertebra-detector", "yolov8m", "map50", 0.5, 45, 0.002, **VERTEBRA_BOXES),
    *each("000-vertebra-detector", "yolov8l yolov5l", "map50", 0.5, 25, 0.002, **VERTEBRA_BOXES),
    *each("003-vertebra-detector", "yolov5n", "map50", 0.5, 50, 0.002, **VERTEBRA_BOXES),
    *each("003-vertebra-detector", "yolov5s", "map50", 0.5, 40, 0.002, **VERTEBRA_BOXES),
    *each("003-vertebra-detector", "yolov5m", "map50", 0.5, 30, 0.002, **VERTEBRA_BOXES),
    *each("002-vertebra-crop", "yolov5n", "map50", 0.5, 50, 0.002, **VERTEBRA_BOXES),
    *each("004-fracture-detector", "yolov8s yolov8m yolov5s yolov5m", "map50", 0.5, 30, 0.002, **FRACTURE_BOXES),
    *each("004-level-presence", "level-gcvit-tiny", "macro_f1", 0.5, 30, 1e-4, **LEVELS_SHOWN),
    *each("004-level-presence", "level-vit level-swin level-convnext", "macro_f1", 0.6, 20, 1e-4, **LEVELS_SHOWN),
    *each("004-level-presence", "level-vgg19", "macro_f1", 0.6, 40, 5e-5, **LEVELS_SHOWN),
    *each("004-level-presence", "level-densenet121 level-inceptionv3", "macro_f1", 0.6, 25, 0.001, **LEVELS_SHOWN),
    *each("004-level-presence", "level-resnet152 level-resnet152v1", "macro_f1", 0.6, 30, 5e-4, **LEVELS_SHOWN),
    *each("002-segmentation", "unet-mobilenet", "dice", 0.3, 30, 0.003, **SEGMENTS),
    *each("002-segmentation", "unet-efficientnet-b0 unet-efficientnet-b5", "dice", 0.3, 40, 0.002, **SEGMENTS),
    *each("002-segmentation", "unet-efficientnetv2-s", "dice", 0.3, 30, 0.002, **SEGMENTS),
    *each(
        "002-segmentation",
        "unet-efficientnet-b5-25d",
        "dice",
        0.3,
        40,
        0.002,
        **SEGMENTS,
        data__further=["neighbours:500/2000"],
    ),
    *each(
        "002-segmentation-3d",
        "resnet3d-small resnet3d-18 resnet3d-101",
        "dice",
        0.3,
        30,
        0.003,
        training__batch=1,
        augmentation__move=0,
    ),
    *each(
        "002-vertebra-fracture",
        "cracknet-resnet18-mask vertebra-cnn-lstm cracknet-resnet18",
        "auc",
        0.8,
        15,
        0.002,
        **VERTEBRAE,
    ),
    *each("002-vertebra-fracture", "vertebra-resnet50-whole", "auc", 0.7, 25, 0.001, **WHOLE),
    *each("002-vertebra-fracture", "cracknet-resnet101 cracknet-resnet101-mask", "auc", 0.8, 15, 0.002, **VERTEBRAE),
    *each(
        "002-vertebra-fracture", "cracknet-resnet18-whole cracknet-resnet101-whole", "auc", 0.7, 20, 0.002, **VERTEBRAE
    ),
]


@pytest.mark.parametrize(("system", "model", "figure", "least", "changes"), CASES)
def test_a_network_fits_six_phantoms(tmp_path, phantoms, system, model, figure, least, changes):
    assert figures_of(system, model, tmp_path, phantoms, **changes)[figure] > least


@pytest.mark.parametrize(
    ("model", "size", "rate"),
    [("radiograph-alexnet", 64, 0.003), ("radiograph-googlenet", 96, 0.005), ("radiograph-stacked", 96, 0.005)],
)
def test_a_network_fits_twenty_four_radiographs(tmp_path, radiographs, model, size, rate):
    changes = {
        "data__folds": 3,  # a third to choose the epoch by
        "input__size": [size, size],
        "training__epochs": 60,
        "training__batch": 4,
        "training__learning_rate": rate,
        **without("flip", "rotation_deg", "shift", "scale", "blur"),
    }
    assert figures_of("001-radiograph", model, tmp_path, radiographs, **changes)["auc"] > 0.75
