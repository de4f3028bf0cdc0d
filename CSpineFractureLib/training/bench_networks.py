"""The bare time of the networks of a run: their calls are written down once and repeated without anything around them.

This is the limit that a run cannot beat with the same weights, pictures, batches and number types.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.store import WeightsStore

WITH_BACKWARD = "+backward"
"""Ends the name of a task whose calls are timed with their backward pass (Grad-CAM)."""


@dataclass(frozen=True)
class Call:
    """One call of a network: its arguments (copies), the parameters that took gradients, and the autocast type."""

    network: nn.Module
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    learning: tuple[nn.Parameter, ...]
    autocast: torch.dtype | None

    @property
    def images(self) -> int:
        """How many pictures the call looked at."""
        return len(self.arguments[0])

    def repeat(self) -> None:
        """Run the network again; with its backward pass, from the sum of the outputs, where gradients were taken."""
        kind = self.arguments[0].device.type
        with torch.autocast(kind, self.autocast, enabled=self.autocast is not None):
            if not self.learning:
                with torch.inference_mode():
                    self.network(*self.arguments, **self.options)
                return
            with _learning_alone(self.network, self.learning), torch.inference_mode(False), torch.enable_grad():
                self.network(*self.arguments, **self.options).sum().backward()


class _learning_alone:
    """Only ``parameters`` of a network take gradients; afterwards those that did before, and no gradient is left."""

    def __init__(self, network: nn.Module, parameters: tuple[nn.Parameter, ...]) -> None:
        self._before = [(one, one.requires_grad) for one in network.parameters()]
        self._wanted = {id(one) for one in parameters}

    def __enter__(self) -> None:
        for one, _ in self._before:
            one.requires_grad_(id(one) in self._wanted)

    def __exit__(self, *fault: object) -> None:
        for one, took in self._before:
            one.requires_grad_(took)
            one.grad = None


@dataclass
class CallRecorder:
    """Notes the calls of networks while ``is_on``, by task; those with gradients under ``task+backward``.

    A call with the very pictures of the call before, of the same kind, counts once: a limit repeats nothing. A
    network whose parts were exchanged for the time of a call (``vertebra_fractures`` explains in parts, to save
    memory) is not noted for that call, so that the limit is rather too low.
    """

    is_on: bool = False
    calls: dict[str, list[Call]] = field(default_factory=dict)

    def watch(self, task: str, network: nn.Module) -> None:
        """Note the calls of ``network`` from now on."""
        whole = [id(part) for part in network.modules()]

        def note(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if self.is_on and [id(part) for part in module.modules()] == whole:
                self._note(task, module, arguments, options)

        network.register_forward_pre_hook(note, with_kwargs=True)

    def _note(self, task: str, network: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        learning = tuple(one for one in network.parameters() if one.requires_grad) if torch.is_grad_enabled() else ()
        noted = self.calls.setdefault(task + WITH_BACKWARD * bool(learning), [])
        if noted and _same(noted[-1].arguments, arguments):
            return
        copies = tuple(one.detach().clone() if isinstance(one, torch.Tensor) else one for one in arguments)
        kind = arguments[0].device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        noted.append(Call(network, copies, dict(options), learning, autocast))

    def repeat(self) -> dict[str, float]:
        """Seconds for all noted calls of each task, one after another."""
        return {task: _seconds(calls) for task, calls in self.calls.items()}


class RecordingStore(WeightsStore):
    """The weights store whose networks are watched by ``recorder`` from the moment they are loaded."""

    def __init__(self, recorder: CallRecorder, **folders: Any) -> None:
        super().__init__(**folders)
        self._recorder = recorder

    def load(
        self, what: str | ModelEntry, device: torch.device | str = "cpu", profile: str | None = None
    ) -> tuple[nn.Module, ModelInfo]:
        """As ``WeightsStore.load``."""
        network, info = super().load(what, device, profile)
        self._recorder.watch(info.task, network)
        return network, info


def _same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    pairs = list(zip(first, second, strict=False))
    return len(first) == len(second) and all(
        isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
        for a, b in pairs
    )


def _seconds(calls: list[Call]) -> float:
    _wait()
    start = time.perf_counter()
    for call in calls:
        call.repeat()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Until an accelerator has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
