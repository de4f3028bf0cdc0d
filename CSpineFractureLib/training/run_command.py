"""The command that trains a run again, and in what its recipe differs from the one that comes with the program."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from CSpineFractureLib.training.run_folder import Setup
from CSpineFractureLib.training.systems import System, load_system, system_names

PARTS = ("training", "data", "input", "augmentation")
_ABSENT = object()


def changed_values(system: System) -> dict[str, Any]:
    """Dotted keys, such as ``training.epochs``, whose values are not those of the program's recipe (``--quick`` where
    the system is quick), with the values; none for a recipe of the user's own."""
    if system.name not in system_names():
        return {}
    usual, found = load_system(system.name, system.quick), {}
    for part in PARTS:
        own, known = getattr(system, part), getattr(usual, part)
        found |= {f"{part}.{key}": value for key, value in own.items() if value != known.get(key, _ABSENT)}
    if "data.window" in found:
        found.pop("input.window", None)  # follows from it
    return found


def training_words(setup: Setup) -> list[str]:
    """What is unusual about a run, as options: the weights it starts from, the seed, changed values. Paths are
    shortened to their last part."""
    words = ["--start", Path(setup.start).name] if setup.start else []
    words += ["--seed", str(setup.seed)] if setup.seed else []
    for key, value in changed_values(setup.system).items():
        value = Path(value).name if key == "data.more" and value else value
        edge = key == "input.size" and isinstance(value, list)  # of square pictures
        words += ["--set", f"{key}={_as_given(value[0] if edge else value)}"]
    return words


def command_of(setup: Setup) -> str:
    """The command that makes such a run; folders and files are shortened to their names."""
    system = setup.system
    own = [] if system.name in system_names() else ["--recipe", f"{system.name}.yaml"]
    words = ["cspine", "train", system.name, *own, "--model", setup.model, "--source", setup.source]
    words += ["--data", Path(setup.data).name, *(["--quick"] if system.quick else []), *training_words(setup)]
    return shlex.join(words)


def _as_given(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip().replace(" ", "")
