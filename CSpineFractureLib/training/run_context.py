"""A run of a profile's networks outside the engine, for making training data with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.profiles import get_profile

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_result import ModelInfo
    from CSpineFractureLib.models.manifest import ModelEntry


def run_context(profile: str, device: str = "auto") -> RunContext:
    """A context with the installed networks of ``profile``, which stay loaded; ``UserError`` for no such device."""
    store, where, loaded = WeightsStore(), str(choose_device(device)), {}
    context = RunContext(device=where, profile=get_profile(profile).name)

    def find(task: str) -> ModelEntry:
        return store.find(task, context.profile)

    def load(task: str) -> tuple[Any, ModelInfo]:
        if task not in loaded:
            loaded[task] = store.load(find(task), where)
        return loaded[task][0].to(where), loaded[task][1]  # a batch may have moved it

    context.use_models(load, find)
    return context
