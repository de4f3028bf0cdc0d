"""The systems of the source documents as data: a YAML file each in ``Resources/Systems``, and what is changed in them.

A file holds the document's hyper-parameters as the defaults (``stated`` lists those that the document gives; the others
are this project's choice) and under ``quick`` what a small run on a CPU changes.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.resources import resource_path
from CSpineFractureLib.training.tasks import TASKS

TRAINERS = ("lightning", "ultralytics")
MOST_EPOCHS, MOST_RATE = 10**9, 1e38
"""More than can be meant; beyond, numbers overflow in torch."""


@dataclass(frozen=True)
class System:
    """One system of a document: its data, the networks it compares, and how they are trained.

    Attributes
    ----------
    data
        Arguments of ``datasets.study_images.ImageOptions``, and ``split``, the ratios of the split by patient.
    input
        How images are made for the networks, as in the manifest of weights; ``size`` is ``[rows, columns]``.
    models
        By name, ``architecture`` and ``arguments`` for ``models.registry.create``; ``input`` where a model takes other
        images than the system says, such as ``{size: [96, 96]}``.
    training
        ``epochs``, ``batch``, ``optimiser``, ``learning_rate``, ``weight_decay``; ``momentum`` or ``schedule`` and
        ``monitor``.
    search
        Ranges of a random search over ``training``: ``log``, ``uniform`` or ``choice``.
    stated
        Dotted keys of what the document states.
    """

    name: str
    document: str
    title: str
    task: str
    profiles: list[str]
    trainer: str
    data: dict[str, Any]
    input: dict[str, Any]
    models: dict[str, dict[str, Any]]
    default_model: str
    training: dict[str, Any]
    augmentation: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    stated: list[str] = field(default_factory=list)
    quick: bool = False

    @property
    def folder(self) -> str:
        """Name of its folder among the runs; quick runs stand apart."""
        return f"{self.name}-quick" if self.quick else self.name

    @property
    def size(self) -> int:
        """Edge of the square images in pixels, where a model does not say otherwise."""
        return int(self.input["size"][0])

    def input_of(self, model: str) -> dict[str, Any]:
        """How images are made for a model: ``input`` with what the model has of its own."""
        return {**self.input, **self.model(model).get("input", {})}

    def model(self, name: str) -> dict[str, Any]:
        """``architecture`` and ``arguments`` of a model. Raises ``UserError`` for one it does not have."""
        if name not in self.models:
            message = f"System {self.name} has no model '{name}': use one of {', '.join(self.models)}."
            raise UserError(message)
        return {"arguments": {}, **self.models[name]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``from_dict`` takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> System:
        """The system of plain values. Raises ``ValueError`` that says what is wrong."""
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(document) - known)
        if unknown:
            message = f"'{unknown[0]}' is not part of a system"
            raise ValueError(message)
        try:
            system = cls(**document)
        except TypeError as error:
            message = str(error).removeprefix("System.__init__() ")
            raise ValueError(message) from error
        _check(system)
        return system


def system_names() -> list[str]:
    """The systems that come with the program, sorted."""
    return sorted(path.stem for path in resource_path("Systems").glob("*.yaml"))


def load_system(name: str, quick: bool = False, overrides: dict[str, Any] | None = None) -> System:
    """A system by name, or the one of a YAML file of the same form (``name`` ends with .yaml).

    ``quick`` applies its changes for a CPU; ``overrides`` are dotted keys such as ``training.epochs`` and their values.
    Raises ``UserError`` for an unknown system, key or value, and for a file that is not such a system.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else None
    if path is None and name not in system_names():
        message = f"There is no system '{name}': use one of {', '.join(system_names())}, or a YAML file like theirs."
        raise UserError(message)
    path = path or resource_path(f"Systems/{name}.yaml")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        changes = document.pop("quick", {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        message = f"'{path}' cannot be read as the YAML file of a system; copy one of Resources/Systems and change it."
        raise UserError(message) from error
    if quick:
        document = _merged(document, changes)
    for key, value in (overrides or {}).items():
        _put(document, key, value)
    try:
        return System.from_dict({"name": path.stem, **document, "quick": quick})
    except ValueError as error:
        message = f"System '{path.stem}' cannot be used: {error}; correct it."
        raise UserError(message) from error


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """``["training.epochs=5", ...]`` as keys and values, written as in JSON or YAML. Raises ``UserError`` for anything
    else."""
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        try:
            found[key] = _plain_value(value)
        except (yaml.YAMLError, ValueError):
            sign = ""
        if not sign or not key.strip():
            message = f"--set {text!r} is not understood: write it as KEY=VALUE, such as training.epochs=20."
            raise UserError(message)
    return found


def _plain_value(text: str) -> Any:
    """A value as it is meant: YAML 1.1 takes 1e-3 for a text, and the ratios 80:20 for a number to the base of 60."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text.strip() if re.fullmatch(r"\s*\d+(:\d+)+\s*", text) else yaml.safe_load(text)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    """Change one dotted key; only what the training, data, augmentation or input of a system may hold."""
    part, _, name = key.partition(".")
    allowed = {
        "training": {
            "epochs",
            "batch",
            "optimiser",
            "learning_rate",
            "weight_decay",
            "momentum",
            "positive_weight",
            "draw",
            "schedule",
            "step_epochs",
            "step_factor",
            "monitor",
        },
        "data": {
            "window",
            "split",
            "negatives",
            "added",
            "least_pixels",
            "most_per_study",
            "unannotated_as_negative",
            "slice_ratios",
            "fold",
            "folds",
            "empty",
            "further",
            "boxes",
            "normals",
            "whole",
            "cracks",
            "least_visible",
            "masks",
            "more",
        },
        "input": {"size", "slices", "spacing_mm"} & set(document["input"]),
        "augmentation": set(document.get("augmentation", {})),
    }
    if name not in allowed.get(part, ()):
        message = f"--set cannot change '{key}': use training.epochs, training.batch, data.most_per_study and so on."
        raise UserError(message)
    if key == "input.size":
        value = [value, value] if isinstance(value, int) else value
        document["models"] = {name: _without_size(model) for name, model in document["models"].items()}
    document[part] = {**document.get(part, {}), name: value}
    if key == "data.window":
        document["input"] = {**document["input"], "window": value}


def _without_size(model: dict[str, Any]) -> dict[str, Any]:
    """A model without a size of its own: what the user asks for counts for all."""
    kept = {key: value for key, value in model.get("input", {}).items() if key != "size"}
    return {**{key: value for key, value in model.items() if key != "input"}, **({"input": kept} if kept else {})}


def _check(system: System) -> None:
    """Raise ``ValueError`` for values that no run could use."""
    faults = {
        f"task '{system.task}' is not one of {', '.join(TASKS)}": system.task not in TASKS,
        f"trainer '{system.trainer}' is not one of {', '.join(TRAINERS)}": system.trainer not in TRAINERS,
        f"model '{system.default_model}' is not among its models": system.default_model not in system.models,
        **_size_faults(system),
        **_data_faults(system),
    }
    for key, kind, least, most in (
        ("epochs", int, 1, MOST_EPOCHS),
        ("batch", int, 1, MOST_EPOCHS),
        ("learning_rate", float, 0, MOST_RATE),
        ("weight_decay", float, 0, MOST_RATE),
    ):
        value = system.training.get(key)
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        faults[f"training.{key} is {value!r}, not a number from {least} to {most:g}"] = (
            not number or not least <= value <= most  # this way round NaN is a fault, too
        )
    fault = next((text for text, wrong in faults.items() if wrong), None)
    if fault:
        raise ValueError(fault)


def _data_faults(system: System) -> dict[str, bool]:
    """Which values of ``data`` are of no kind that they could be, whatever the system makes of them."""
    texts, counts = ("window", "split", "boxes", "masks", "more"), ("folds", "fold")
    odd = {f"data.{key} is {value!r}, not a text": not isinstance(value, str) for key, value in _given(system, texts)}
    for key, value in _given(system, counts):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        odd[f"data.{key} is {value!r}, not a whole number from 0"] = not whole
    return odd


def _given(system: System, keys: tuple[str, ...]) -> list[tuple[str, Any]]:
    return [(key, system.data[key]) for key in keys if system.data.get(key) is not None]


def _size_faults(system: System) -> dict[str, bool]:
    """What may be wrong with the sizes of the system and its models, and whether it is."""
    own = {name: model.get("input", {}).get("size") for name, model in system.models.items()}
    sizes = {"input.size": system.input.get("size")}
    sizes |= {f"the size of model {name}": size for name, size in own.items() if size is not None}
    step, faults = 32 if system.trainer == "ultralytics" else 1, {}
    for what, size in sizes.items():
        sane = isinstance(size, list) and len(size) == 2 and size[0] == size[1] and isinstance(size[0], int)
        faults[f"{what}, {size}, is not two equal numbers of pixels of at least 32"] = not sane or size[0] < 32
        faults[f"{what}, {size}, is not a multiple of 32"] = sane and size[0] % step != 0
    if len(sizes) > 1:
        crops = system.task == "vertebra-fracture"
        faults["its crops are stored at one size, so no model can have a size of its own"] = crops
    return faults
