"""The engine: one study after another, with the models loaded once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.pipeline.blanks import without_blanks
from CSpineFractureLib.pipeline.context import Event, RunContext
from CSpineFractureLib.pipeline.profiles import get_profile, runnable_profile
from CSpineFractureLib.pipeline.upright import run_upright
from CSpineFractureLib.volume.ct_volume import CTVolume

if TYPE_CHECKING:
    from CSpineFractureLib.models.manifest import ModelEntry
    from CSpineFractureLib.models.store import WeightsStore


class Engine:
    """Runs studies through profiles; keeps the models it has loaded.

    Parameters
    ----------
    store
        Where weights come from; the project's own ``WeightsStore()`` by default.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` (``"cuda:N"``) or ``"mps"``. Checked when the first study runs, or by
        ``check_device()``.
    """

    def __init__(self, store: WeightsStore | None = None, device: str = "auto") -> None:
        self._store = store
        self._device_wanted = device
        self._device: str | None = None
        self._models: dict[tuple[str, str], tuple[Any, ModelInfo]] = {}

    def check_device(self) -> str:
        """The device that will be used. Raises ``UserError`` when the one asked for is not there."""
        if self._device is None and self._device_wanted == "cpu":
            self._device = "cpu"  # always there: no need to import torch to know it
        if self._device is None:
            from CSpineFractureLib.models.device import choose_device  # imported late: it needs torch

            self._device = str(choose_device(self._device_wanted))
        return self._device

    def run_study(
        self,
        volume_or_path: CTVolume | str | Path,
        profile: str = "default",
        *,
        series: str | None = None,
        thresholds: dict[str, float] | None = None,
        on_event: Callable[[Event], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        exact: bool = False,
        models: dict[str, str] | None = None,
    ) -> tuple[CTVolume, StudyOutput]:
        """Read (where a path is given) and analyse one study.

        ``models`` names networks of the weights store by task, in place of the profile's own. Returns the volume that
        was analysed and the output on its grid. Profile, input and device are checked before any model is loaded.
        Raises ``UserError`` for what the user can put right, and ``Cancelled`` when ``is_cancelled`` answered yes: a
        cancelled run has no output (a caller that keeps a list of studies may note the status ``cancelled`` for
        itself). The models stay loaded either way.
        """
        chosen = runnable_profile(profile)
        chosen.check_tasks(models or {})
        context = RunContext(
            profile=chosen.name,
            thresholds=thresholds,
            exact=exact,
            on_event=on_event,
            is_cancelled=is_cancelled,
            side_by_side=True,
        )
        find = partial(self._find, profile=chosen.name, models=models or {})
        if chosen.name != get_profile("default").name:  # whose weights came with the program
            for task in chosen.tasks:
                find(task)
        for task in models or {}:
            find(task)
        if isinstance(volume_or_path, CTVolume):
            volume = volume_or_path
        else:
            from CSpineFractureLib.volume import read_volume  # imported late: SimpleITK and pydicom

            with context.stage("read", message="Reading the CT"):
                volume = read_volume(volume_or_path, series=series)
        with context.stage("models", total=max(len(chosen.tasks), 1), message="Loading the models"):
            function = chosen.function()
            context.device = self.check_device()
            context.use_models(lambda task: self._load(task, context.entry(task), context.device), find)
            for task in models or {}:
                context.entry(task)
            tasks = [*chosen.tasks, *(task for task in chosen.optional if context.has(task))]
            for done, task in enumerate(tasks, start=1):
                context.check_cancelled()
                context.load(task)
                context.progress("models", done, len(tasks), "Loading the models")
        with closing(context):
            analysed = without_blanks(volume)
            output = run_upright(function, analysed, context)
        context.check_cancelled()
        _complete(output, analysed, context)
        return volume, output

    def _find(self, task: str, profile: str, models: dict[str, str]) -> ModelEntry:
        """The network that the user named for a task, of whatever profile, or else the profile's own."""
        store = self._open_store()
        return store.find(task, name=models[task]) if task in models else store.find(task, profile)

    def _load(self, task: str, entry: ModelEntry, device: str) -> tuple[Any, ModelInfo]:
        """From the cache or the store, by the hash of the weights: newly installed ones take the place of the old.

        Moved to ``device`` where it is not there, for a fallback may have left the network on the CPU.
        """
        key = (task, entry.name)
        cached = self._models.get(key)
        if cached is None or cached[1].sha256 != entry.sha256:
            cached = self._models[key] = self._open_store().load(entry, device)
        weights = [*cached[0].parameters()]  # asked one by one for their device, hundreds of tensors take a while
        if not weights or {str(weights[0].device), str(weights[-1].device)} != {str(device)}:
            cached[0].to(device)
        return cached

    def _open_store(self) -> WeightsStore:
        if self._store is None:
            from CSpineFractureLib.models.store import WeightsStore  # imported late: it needs torch

            self._store = WeightsStore()
        return self._store


def _complete(output: StudyOutput, volume: CTVolume, context: RunContext) -> None:
    """Write into the result what the engine knows: warnings (reader's first), models, thresholds, device, timings."""
    result = output.result
    notices = {(notice.code, notice.message): notice for notice in (*volume.notices, *result.warnings)}
    notices.update({(notice.code, notice.message): notice for notice in context.notices})
    result.warnings = [Notice(code, message) for code, message in notices]
    result.models = context.models
    result.thresholds = {**result.thresholds, **context.thresholds}
    result.timings_s = {**result.timings_s, **context.timings_s}
    result.profile = context.profile
    result.device = str(context.device)
