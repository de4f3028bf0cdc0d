"""Where a loop of optimiser steps stands, in a file, so that a run that was killed goes on from there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from CSpineFractureLib.errors import UserError


class StepCheckpoint:
    """Saves the state of a loop now and then; written aside and put in place, so that the file is always whole.

    Parameters
    ----------
    path
        The file; ``None`` keeps nothing.
    every_s
        Seconds between two savings.
    """

    def __init__(self, path: Path | None = None, every_s: float = 60.0) -> None:
        self._path = path
        self._every_s = every_s
        self._last = time.monotonic()

    def restore(self, **parts: Any) -> int:
        """Put the saved state into ``parts`` (what has ``load_state_dict``); returns the steps done, 0 for a new loop.

        Raises ``UserError`` when the file is damaged or of another network.
        """
        if self._path is None or not self._path.is_file():
            return 0
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            torch.set_rng_state(state["random"])
            return int(state["done"])
        except Exception as error:  # torch.load raises many kinds for a damaged file
            message = f"'{self._path}' is damaged or of another network: delete it to begin this network anew."
            raise UserError(message) from error

    def save(self, done: int, force: bool = False, **parts: Any) -> None:
        """Save the state after ``done`` steps when it is time; ``force``: now."""
        if self._path is None or not (force or time.monotonic() - self._last >= self._every_s):
            return
        self._last = time.monotonic()
        state = {name: part.state_dict() for name, part in parts.items()}
        partial = self._path.with_name(self._path.name + ".part")
        try:
            torch.save({**state, "done": done, "random": torch.get_rng_state()}, partial)
            os.replace(partial, self._path)
        except (OSError, RuntimeError) as error:  # RuntimeError: torch's own writer when the disk is full
            partial.unlink(missing_ok=True)
            message = f"'{self._path}' cannot be written ({error}): free some space; the same command then goes on."
            raise UserError(message) from error

    def remove(self) -> None:
        """Delete the file: the loop has ended."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
