"""The weights on this computer: those that came with the program and those that the user installed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.models.manifest import (
    SCHEMA,
    ModelEntry,
    from_metadata,
    manifest_fault,
    read_manifest,
    write_manifest,
)
from CSpineFractureLib.models.registry import create, prepare_for_inference
from CSpineFractureLib.models.weights_delta import add_delta, write_delta
from CSpineFractureLib.models.weights_file import (
    REINSTALL,
    fill_from_bytes,
    load_weights,
    read_bytes,
    read_metadata,
    save_weights,
    sha256_of,
)
from CSpineFractureLib.resources import resource_path

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["WeightsStore", "load_weights", "save_weights", "user_models_folder"]

_TRAINED_BY = {
    ("slice-classifier", None): "000-slice-classifier",
    ("vertebra-detector", None): "000-vertebra-detector",
    ("vertebra-detector", "vertebra-yolo"): "003-vertebra-detector",
    ("level-presence", None): "004-level-presence",
    ("fracture-detector", None): "004-fracture-detector",
    ("fracture-detector", "two-stage"): "two-stage",
    ("fracture-volume", None): "two-stage",
    ("segmentation", None): "002-segmentation",
    ("vertebra-fracture", None): "002-vertebra-fracture",
    ("vertebra-detector", "unet-cracknet"): "002-vertebra-crop",
    ("radiograph", None): "001-radiograph",
    ("column-locator", None): "column-locator",
    ("level-regressor", None): "level-regressor",
}
"""What 'cspine train' takes to train a task (of a profile)."""


def user_models_folder() -> Path:
    """Where the user's own weights lie: the folder in ``CSPINE_MODELS``, else the platform's place for user data."""
    chosen = os.environ.get("CSPINE_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "CSpineFracture" / "models"


class WeightsStore:
    """Finds, checks, loads, installs and removes weights. Only safetensors files are read, never pickles.

    Parameters
    ----------
    user
        Folder that ``install`` writes to, made when needed; ``user_models_folder()`` by default.
    bundled
        Folder that came with the program, only read; ``Resources/Models`` by default.
    """

    def __init__(self, user: str | Path | None = None, bundled: str | Path | None = None) -> None:
        self.user = user_models_folder() if user is None else Path(user)
        if bundled is None:
            with contextlib.suppress(FileNotFoundError):
                bundled = resource_path("Models")
        self.bundled = None if bundled is None else Path(bundled)

    def list(self) -> list[ModelEntry]:
        """All entries, the user's first, the newest of them first; then those that came with the program.

        Raises UserError when a manifest is not valid.
        """
        entries = read_manifest(self.user)[::-1]
        if self.bundled is not None and self.bundled.resolve() != self.user.resolve():
            entries += read_manifest(self.bundled, bundled=True)
        return entries

    def find(self, task: str, profile: str | None = None, name: str | None = None) -> ModelEntry:
        """The entry for a task (of a profile, where one is named); with ``name``, that very one.

        Without a name, what came with the program stays in use unless the user installed another version of it, one of
        the same name; a task for which nothing came has the user's newest.

        Raises UserError when there is none, naming the commands that train or install one, and when the one of that
        name is not there or does something else, naming those that fit.
        """
        entries = self.list()
        fitting = [one for one in entries if one.task == task and (profile is None or profile in one.profiles)]
        came = {one.name for one in fitting if one.bundled} or {one.name for one in fitting}
        chosen = [one for one in fitting if one.name == name or (name is None and one.name in came)]
        if chosen:
            return chosen[0]
        whose = f" of profile {profile}" if profile else ""
        ways = _ways_to_weights(task, profile)
        if name is None:
            message = f"There are no weights for the {task}{whose} on this computer: {ways}."
            raise UserError(message)
        known = any(one.name == name for one in entries)
        fault = f"is not a {task}{whose}" if known else "is not on this computer"
        names = ", ".join(dict.fromkeys(one.name for one in fitting))
        remedy = f"for the {task}{whose} there is {names}" if names else f"for the {task}{whose} {ways}"
        message = f"Model {name!r} {fault}: {remedy}; see 'cspine models list'."
        raise UserError(message)

    def load(
        self, what: str | ModelEntry, device: torch.device | str = "cpu", profile: str | None = None
    ) -> tuple[nn.Module, ModelInfo]:
        """A network ready for use on ``device``, and what a result says about it.

        ``what`` is a task, as for ``find``, or an entry. The network is in evaluation mode, float32, without gradients
        for its weights, and fused where its kind can be. Raises UserError when the weights are missing, truncated,
        altered (another SHA-256), or those of another network.
        """
        entry = self.find(what, profile) if isinstance(what, str) else what
        return prepare_for_inference(self._filled(entry)).to(device), entry.info

    def load_for_training(
        self, task: str, profile: str | None = None, name: str | None = None
    ) -> tuple[nn.Module, ModelInfo]:
        """What ``find`` finds, on the CPU, as it was trained: not fused, in training mode, with gradients."""
        entry = self.find(task, profile, name)
        return self._filled(entry).float().train(), entry.info

    def verify(self, entry: ModelEntry) -> None:
        """Raise UserError when a file of an entry is missing, truncated or altered."""
        for one in filter(None, (entry.before, entry)):
            self._checked_bytes(one)

    def install(self, weights: str | Path, entry: ModelEntry | None = None) -> ModelEntry:
        """Copy a safetensors file into the user's folder and enter it in the manifest there.

        ``entry`` says what it is (``file``, ``size`` and ``sha256`` are filled in here); without it the file must say
        so itself (``manifest.as_metadata``). An entry of the same name is replaced, its file deleted only when the new
        one stands in the manifest. Raises UserError when the file is not such a network or cannot be copied; the
        entries are then as before.
        """
        weights = Path(weights)
        entry = from_metadata(read_metadata(weights), weights) if entry is None else entry
        data = read_bytes(weights)
        digest = sha256_of(data)
        file = f"{entry.name}-{entry.version}-{digest[:8]}.safetensors"
        entry = replace(entry, file=file, size=len(data), sha256=digest, folder=self.user, bundled=False)
        try:
            document = {"schema": SCHEMA, "models": [entry.to_dict()]}
            json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
            fault = manifest_fault(document)
        except (ValueError, RecursionError) as error:  # not finite, no text, nested without end
            fault = str(error)
        if fault:
            message = f"{weights} cannot be installed, for its description is not valid ({fault}): correct it."
            raise UserError(message)
        network = fill_from_bytes(self._network(entry), data, weights)
        if not all(bool(one.isfinite().all()) for one in network.state_dict().values()):
            message = f"{weights} holds values that are not finite: train the network again."
            raise UserError(message)
        before = read_manifest(self.user)
        self._copy(data, entry)
        self.verify(entry)
        after = [other for other in before if other.name != entry.name] + [entry]
        write_manifest(self.user, after)
        self._delete_unused(before, after)
        return entry

    def remove(self, name: str) -> ModelEntry:
        """Take an entry out of the user's manifest and delete its file. Raises UserError when it is not there."""
        before = read_manifest(self.user)
        gone = next((entry for entry in before if entry.name == name), None)
        if gone is None:
            came = any(entry.name == name for entry in self.list())
            why = "came with the program and cannot be removed" if came else "is not installed"
            message = f"Model {name!r} {why}: see 'cspine models list'."
            raise UserError(message)
        after = [entry for entry in before if entry is not gone]
        write_manifest(self.user, after)
        self._delete_unused(before, after)
        return gone

    def save_delta(self, weights: str | Path, path: str | Path) -> ModelEntry:
        """Write how weights of 'cspine train' differ from those of the same name here (see ``weights_delta``).

        Returns the entry of those. Raises UserError when there are none, when they are of another network, and when a
        file cannot be read or written.
        """
        trained = from_metadata(read_metadata(weights), weights)
        base = self.find(trained.task, name=trained.name)
        if base.base is not None or (base.architecture, base.arguments) != (trained.architecture, trained.arguments):
            message = f"{base.name} {base.version} cannot be the base of {weights}: it is no such network or a delta."
            raise UserError(message)
        after = fill_from_bytes(self._network(trained), read_bytes(weights), weights)
        write_delta(after, self._filled(base), path)
        return base

    def _filled(self, entry: ModelEntry) -> nn.Module:
        """The network with its weights, which may be those of another file and what ``entry.file`` changes in them."""
        whole = entry.before or entry
        data = self._checked_bytes(entry)
        module = fill_from_bytes(self._network(entry), self._checked_bytes(whole) if entry.base else data, whole.path)
        return add_delta(module, data, entry.path) if entry.base else module

    def _checked_bytes(self, entry: ModelEntry) -> bytes:
        """The file's content, which is what gets loaded, after comparing its size and SHA-256 with the manifest."""
        data = read_bytes(entry.path)
        if len(data) < entry.size:
            message = f"{entry.path} is truncated ({len(data)} of {entry.size} bytes): {REINSTALL}."
            raise UserError(message)
        if len(data) != entry.size or sha256_of(data) != entry.sha256:
            message = f"{entry.path} is not the file that its manifest describes (another SHA-256): {REINSTALL}."
            raise UserError(message)
        return data

    def _network(self, entry: ModelEntry) -> nn.Module:
        try:
            return create(entry.architecture, **entry.arguments)
        except (ValueError, TypeError, RuntimeError) as error:  # torch: sizes below 0 or beyond the memory
            cause = str(error).splitlines()[0].rstrip(".?")
            message = f"Model {entry.name!r} needs another version of CSpineFracture ({cause}): install that version."
            raise UserError(message) from error

    def _copy(self, data: bytes, entry: ModelEntry) -> None:
        """Write beside the target, then rename, so that the target is whole or absent."""
        temporary: str | None = None
        try:
            self.user.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.user, prefix=".install-", suffix=".partial")
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, entry.path)
        except OSError as error:
            cause = error.strerror or error
            message = (
                f"{self.user} cannot take the weights ({cause}): free some space or set CSPINE_MODELS to a folder."
            )
            raise UserError(message) from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def _delete_unused(self, before: list[ModelEntry], after: list[ModelEntry]) -> None:
        for file in {entry.file for entry in before} - {entry.file for entry in after}:
            with contextlib.suppress(OSError):
                (self.user / file).unlink()


def _ways_to_weights(task: str, profile: str | None) -> str:
    """How weights for a task come onto this computer, as half a sentence."""
    system = _TRAINED_BY.get((task, profile)) or _TRAINED_BY.get((task, None)) or "SYSTEM"
    return f"train them with 'cspine train {system}' or install them with 'cspine models install FILE'"
