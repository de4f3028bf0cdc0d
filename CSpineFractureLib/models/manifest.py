"""The manifest of a folder of weights: what each network is, where its file lies, how it was made."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.resources import resource_path

SCHEMA = "cspine-models/1"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class ModelEntry:
    """One network with weights; the fields of ``Resources/Models/manifest.schema.json``.

    ``base`` is the file (``file``, ``size``, ``sha256``) that holds the weights which ``file`` only changes, if any.
    ``folder`` (where the manifest lies) and ``bundled`` (whether it came with the program) are not stored.
    """

    name: str
    version: str
    task: str
    profiles: list[str]
    architecture: str
    licence: str
    trained_on: str
    input: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notice: str = ""
    file: str = ""
    size: int = 0
    sha256: str = ""
    base: dict[str, Any] | None = None
    folder: Path = field(default=Path(), compare=False)
    bundled: bool = field(default=False, compare=False)

    @property
    def path(self) -> Path:
        """The weights file. Raises UserError when it would lie outside the manifest's folder."""
        path = self.folder / self.file
        if Path(self.file).name != self.file or path.resolve().parent != self.folder.resolve():
            message = f"{self.folder / MANIFEST_FILE} names a weights file outside its folder ({self.file}): remove it."
            raise UserError(message)
        return path

    @property
    def image(self) -> str:
        """What it sees: ``slice``, a whole axial slice, or ``column-crop``, also where the manifest does not say."""
        return self.input.get("image", "column-crop")

    @property
    def info(self) -> ModelInfo:
        """What a result says about this network; the notice stands with the training data."""
        trained_on = f"{self.trained_on} ({self.notice})" if self.notice else self.trained_on
        return ModelInfo(self.task, self.name, self.version, self.sha256, self.licence, trained_on)

    def to_dict(self) -> dict[str, Any]:
        """As stored in a manifest."""
        document = asdict(self)
        del document["folder"], document["bundled"]
        if self.base is None:
            del document["base"]
        return document

    @property
    def before(self) -> ModelEntry | None:
        """The entry that ``base`` would be, or None."""
        return None if self.base is None else replace(self, **self.base, base=None)


def read_manifest(folder: str | Path, bundled: bool = False) -> list[ModelEntry]:
    """The entries of a folder's manifest; none when it has no manifest. Raises UserError when it is not valid."""
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        message = f"{path} could not be read ({error.strerror or error}): make it readable or {_remedy(bundled)}."
        raise UserError(message) from error
    except ValueError as error:
        message = f"{path} is not a JSON file ({error}): {_remedy(bundled)}."
        raise UserError(message) from error
    fault = _fault_of_text(text)
    if fault:
        message = f"{path} is not a valid {SCHEMA} file ({fault}): {_remedy(bundled)}."
        raise UserError(message)
    return [ModelEntry(**entry, folder=folder, bundled=bundled) for entry in document["models"]]


def write_manifest(folder: str | Path, entries: list[ModelEntry]) -> None:
    """Write a folder's manifest; the file is whole or as before.

    Raises ValueError when an entry breaks the schema, UserError when the file cannot be written.
    """
    document = {"schema": SCHEMA, "models": [entry.to_dict() for entry in entries]}
    fault = manifest_fault(document)
    if fault:
        message = f"The manifest does not follow {SCHEMA}: {fault}."
        raise ValueError(message)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_text_atomically(text + "\n", Path(folder) / MANIFEST_FILE)


@functools.lru_cache(4)
def _fault_of_text(text: str) -> str | None:
    """Of the JSON document that a text holds: a run asks for each of its networks, the files hardly ever change."""
    return manifest_fault(json.loads(text))


def manifest_fault(document: Any) -> str | None:
    """The first place where a JSON document is not a manifest, in words, or None."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return f"it does not say that its schema is {SCHEMA!r}"
    fault = min(_validator().iter_errors(document), key=lambda error: [str(part) for part in error.path], default=None)
    if fault is not None:
        place = "/".join(str(part) for part in fault.absolute_path) or "the document"
        text = " ".join(fault.message.split())
        return f"{place}: {text if len(text) <= 160 else text[:159] + '…'}"
    names = [entry["name"] for entry in document["models"]]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"the name {twice!r} stands there twice"


def as_metadata(entry: ModelEntry) -> dict[str, str]:
    """An entry as metadata for ``save_weights``, so that the file alone suffices to install it."""
    document = {k: v for k, v in entry.to_dict().items() if k not in ("file", "size", "sha256", "base")}
    return {SCHEMA: json.dumps(document, ensure_ascii=False, allow_nan=False)}


def from_metadata(metadata: dict[str, str], path: str | Path) -> ModelEntry:
    """The entry that ``as_metadata`` put into a file. Raises UserError when there is none or it is not whole."""
    try:
        document = json.loads(metadata[SCHEMA])
        entry = ModelEntry(**document)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        message = f"{path} does not say which network it is: give a .safetensors file made by 'cspine train'."
        raise UserError(message) from error
    return replace(entry, file="", size=0, sha256="", base=None, folder=Path(), bundled=False)


def _remedy(bundled: bool) -> str:
    return (
        "reinstall CSpineFracture"
        if bundled
        else "delete it and install the weights again with 'cspine models install'"
    )


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # imported late: it takes a tenth of a second

    schema = json.loads(resource_path("Models/manifest.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
