"""A run: one network of one system, trained on one set of images. Its folder is all that is needed to go on with it.

``RUNS/<system>/images`` holds the images, which the networks of a system share; ``RUNS/<system>/<model>`` the run:
``system.yaml`` what is trained and how, ``checkpoints/`` where to go on, ``logs/``, ``plots/``, what was found on each
set (``predictions-<set>.csv`` or ``detections-<set>.json``), ``metrics-<set>.json`` and the weights.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.tasks import use_of

SETUP_FILE = "system.yaml"
FORMAT = "cspine-run/1"
TRUTH_FOLDER, RADIOGRAPH_TRUTH = "phantom_truth", ("truth.json", b'"cspine-radiographs/1"')
"""Stand in what ``cspine phantom`` made: in trees in the layout of RSNA-2022, and beside radiographs."""


def is_synthetic(source: str, root: Path) -> bool:
    """Whether studies of ``source`` below ``root`` are synthetic, as far as can be told by what made them."""
    if source == "phantom" or (root / TRUTH_FOLDER).is_dir():
        return True
    name, mark = RADIOGRAPH_TRUTH
    try:
        with open(root / name, "rb") as stream:
            return source == "radiographs" and mark in stream.read(200)
    except OSError:
        return False


@dataclass(frozen=True)
class Setup:
    """What a run trains: a system, one of its models, the seed, where the data came from, and where it starts.

    ``source`` is ``phantom``, ``rsna`` or ``corrections``, ``data`` the folder as it was given; ``start`` a file of
    weights, ``shipped``, or empty for random weights.
    """

    system: System
    model: str
    seed: int = 0
    source: str = ""
    data: str = ""
    start: str = ""

    @property
    def input(self) -> dict[str, Any]:
        """How images are made for the model."""
        return self.system.input_of(self.model)

    @property
    def size(self) -> int:
        """Edge of the square images that the model takes, in pixels."""
        return int(self.input["size"][0])

    @property
    def synthetic(self) -> bool:
        """Whether all of its data is synthetic, as far as can be told."""
        return is_synthetic(self.source, Path(self.data))


@dataclass(frozen=True)
class RunFolder:
    """An open run folder."""

    path: Path
    setup: Setup

    @property
    def images(self) -> Path:
        """The images of the system."""
        return self.path.parent / "images"

    def images_of(self, name: str) -> Path:
        """The images of another set that it is measured on, such as ``benchmark-v1``."""
        return self.images if name == "val" else self.path.parent / f"images-{name}"

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps what it needs to go on."""
        return self.path / "checkpoints"

    @property
    def remedy(self) -> str:
        """What helps where the weights of the best epoch, in ``checkpoints``, are missing or damaged."""
        return f"delete '{self.checkpoints}' and give the same command again, which trains anew"

    @property
    def logs(self) -> Path:
        """CSV and TensorBoard logs."""
        return self.path / "logs"

    @property
    def plots(self) -> Path:
        """Curves and matrices."""
        return self.path / "plots"

    @property
    def weights(self) -> Path:
        """The network as it is exported, once training has ended."""
        return self.path / f"{self.setup.model}.safetensors"

    def predictions(self, name: str) -> Path:
        """What a classifier said of each image of a set."""
        return self.path / f"predictions-{name}.csv"

    def detections(self, name: str) -> Path:
        """What a detector found in each image of a set."""
        return self.path / f"detections-{name}.json"

    @property
    def is_begun(self) -> bool:
        """Whether it holds anything that was learnt or measured."""
        kept = ("metrics-*.json", "predictions-*", "detections-*", "checkpoints/*")
        return self.weights.exists() or any(next(self.path.glob(pattern), None) for pattern in kept)

    def entry(self) -> ModelEntry:
        """What the manifest will say of its weights, without figures."""
        system, model = self.setup.system, self.setup.system.model(self.setup.model)
        yolo = system.trainer == "ultralytics"
        scans = "radiographs" if system.task == "radiograph" else "cervical CT"
        data = f"synthetic {scans} (cspine phantom)" if self.setup.synthetic else f"{self.setup.source} data"
        data += " and further CT" if system.data.get("more") else ""
        notice = "research use only, never validated on patients"
        return ModelEntry(
            name=f"{self.setup.model}-{system.document}{'-quick' if system.quick else ''}",
            version="0.1.0",
            task=use_of(system.task),
            profiles=list(system.profiles),
            architecture=model["architecture"],
            arguments=model["arguments"],
            licence="AGPL-3.0 (ultralytics architecture)" if yolo else "Apache-2.0",
            trained_on=data,
            input=self.setup.input,
            notice=f"synthetic, {notice}" if self.setup.synthetic else notice,
        )


def open_run(path: Path, setup: Setup) -> RunFolder:
    """The run folder for ``setup``: made now, or gone on with when it was begun with the same one.

    A folder without a checkpoint, of a command that failed before it trained, is made anew. Raises ``UserError`` when
    it holds another run, or cannot be written.
    """
    file = path / SETUP_FILE
    if file.is_file():
        begun = read_run(path)
        changed = _changed(_document(begun.setup), _document(setup))
        if not changed:
            return begun
        if begun.is_begun:
            message = (
                f"'{path}' holds a run with another {changed}: choose another folder with --output, or delete that one."
            )
            raise UserError(message)
        (begun.logs / "metrics.csv").unlink(missing_ok=True)
        shutil.rmtree(begun.logs / "tensorboard", ignore_errors=True)
    try:
        path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(_document(setup), sort_keys=False, allow_unicode=True)
        write_text_atomically(text, file)
    except OSError as error:
        message = f"'{path}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error
    return RunFolder(path, setup)


def read_run(path: Path) -> RunFolder:
    """The run that a folder holds. Raises ``UserError`` when it holds none."""
    file = path / SETUP_FILE
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise ValueError
        setup = Setup(**{**document, "system": System.from_dict(document["system"])})
        setup.system.model(setup.model)
    except OSError as error:
        message = f"'{path}' holds no run ({SETUP_FILE} is missing): name a folder made by 'cspine train'."
        raise UserError(message) from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"'{file}' is damaged or of another version: train into another folder."
        raise UserError(message) from error
    return RunFolder(path, setup)


def _document(setup: Setup) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(setup)}


def _changed(begun: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first thing in which two runs differ, in words; empty when they are the same."""
    for key in ("model", "seed", "source", "data", "start"):
        if begun[key] != wanted[key]:
            return f"{key} ({begun[key]!r})"
    for key, value in begun["system"].items():
        if value != wanted["system"][key]:
            return f"{key} of its system"
    return ""
