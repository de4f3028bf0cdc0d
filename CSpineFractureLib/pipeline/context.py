"""RunContext: what a profile's stages may ask of the run they are part of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from CSpineFractureLib import __version__
from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.findings.study_result import ModelInfo, StudyFinding, StudyResult, VolumeInfo
from CSpineFractureLib.notice import Notice

if TYPE_CHECKING:
    from CSpineFractureLib.models.crew import Crew, Task
    from CSpineFractureLib.models.manifest import ModelEntry
    from CSpineFractureLib.volume.ct_volume import CTVolume

#: An event: ``{"stage": str, "done": int, "total": int, "message": str}``; ``total`` 0 means "not known".
Event = dict[str, Any]
#: Gives the network of a task, on its device and in evaluation mode, and what the result says about it.
Loader = Callable[[str], tuple[Any, ModelInfo]]
#: Gives the manifest entry of a task's network. Raises ``UserError`` where there is none.
Finder = Callable[[str], "ModelEntry"]


class RunContext:
    """One run of one study: device, thresholds, progress, cancelling, warnings, timings and models.

    Parameters
    ----------
    device
        The torch device as a string: ``"cpu"``, ``"cuda:0"``, ``"mps"``.
    profile
        The profile's own name (an alias is already resolved).
    thresholds
        Names to numbers; a stage reads them with ``context.threshold(name, default)``, which also records them.
    exact
        Ask for results that do not depend on speed-ups (no half precision, no skipped slices).
    on_event
        Called with each event, in the thread that runs the study.
    is_cancelled
        Asked between batches (``threading.Event().is_set`` fits).
    loader
        ``task -> (module, ModelInfo)``; the engine gives its cached store.
    finder
        ``task -> ModelEntry``, without loading anything.
    side_by_side
        What stages allow may happen in several threads at once (see ``models.crew``), until ``close()``; by default
        everything happens in the calling thread.
    """

    def __init__(
        self,
        *,
        device: str = "cpu",
        profile: str = "default",
        thresholds: dict[str, float] | None = None,
        exact: bool = False,
        on_event: Callable[[Event], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        loader: Loader | None = None,
        finder: Finder | None = None,
        side_by_side: bool = False,
    ) -> None:
        self.device = device
        self.profile = profile
        self.exact = exact
        self.timings_s: dict[str, float] = {}
        self.thresholds: dict[str, float] = dict(thresholds or {})
        self._on_event = on_event
        self._is_cancelled = is_cancelled
        self._loader = loader
        self._finder = finder
        self._side_by_side = side_by_side
        self._crew: Crew | None = None
        self._entries: dict[str, ModelEntry] = {}
        self._notices: dict[tuple[str, str], Notice] = {}
        self._models: dict[str, ModelInfo] = {}

    def use_models(self, loader: Loader, finder: Finder) -> None:
        """Give the context its models, once the input is known to be good."""
        self._loader, self._finder = loader, finder

    @property
    def notices(self) -> list[Notice]:
        """The warnings so far, each once, in order."""
        return list(self._notices.values())

    @property
    def models(self) -> list[ModelInfo]:
        """The networks loaded so far."""
        return list(self._models.values())

    def threshold(self, name: str, default: float) -> float:
        """The user's threshold, or ``default``; either way the result will state it."""
        return float(self.thresholds.setdefault(name, default))

    def progress(self, stage: str, done: int, total: int, message: str = "") -> None:
        """Tell how far a stage is: ``done`` of ``total`` units (slices, boxes, ...)."""
        if self._on_event is not None:
            self._on_event({"stage": stage, "done": int(done), "total": int(total), "message": message})

    def check_cancelled(self) -> None:
        """Raise ``Cancelled`` if the user asked for it. Call it between batches and between slow steps."""
        if self._is_cancelled is not None and self._is_cancelled():
            message = "The run was cancelled."
            raise Cancelled(message)

    def warn(self, code: str, message: str) -> None:
        """Add a warning to the result; the same warning twice is kept once."""
        self._notices.setdefault((code, message), Notice(code, message))

    @contextmanager
    def stage(self, name: str, total: int = 0, message: str = "") -> Iterator[None]:
        """Time a block into ``timings_s[name]`` (seconds, summed over repeats); events mark its start and end."""
        self.check_cancelled()
        self.progress(name, 0, total, message)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - start
        self.progress(name, max(total, 1), max(total, 1), message)

    def entry(self, task: str) -> ModelEntry:
        """The manifest entry of the network of ``task``: among other things, which images it takes.

        Raises ``UserError`` when there are no weights for it.
        """
        if self._finder is None:
            message = "This run has no models: create it through Engine."
            raise RuntimeError(message)
        if task not in self._entries:
            self._entries[task] = self._finder(task)
        return self._entries[task]

    def has(self, task: str) -> bool:
        """Whether there are weights for ``task``, which the profile can do without."""
        try:
            self.entry(task)
        except UserError:
            return False
        return True

    def load(self, task: str) -> tuple[Any, ModelInfo]:
        """The network of ``task`` on this run's device, and its ``ModelInfo``, which goes into the result.

        Raises ``UserError`` when its weights are missing, damaged or not those of the manifest.
        """
        if self._loader is None:
            message = "This run has no models: create it through Engine."
            raise RuntimeError(message)
        module, info = self._loader(task)
        self._models[task] = info
        return module, info

    def run_batches(
        self,
        stage: str,
        function: Callable[[Sequence[Any], str], Any],
        items: Sequence[Any],
        batch_size: int,
        message: str = "",
        side_by_side: bool = False,
    ) -> list[Any]:
        """``models.batches.run_batches`` with this run's device, progress, cancelling and warnings.

        ``function(batch, device)`` gets a slice of ``items`` and the device to use, which changes to ``"cpu"`` when
        the memory of the accelerator does not suffice even for one item. ``side_by_side``: it bears being called from
        several threads at once, those of the run's crew.
        """
        from CSpineFractureLib.models.batches import run_batches  # imported late: it needs torch

        return run_batches(
            function,
            items,
            batch_size,
            self.device,
            on_progress=lambda done, total: self.progress(stage, done, total, message),
            check_cancelled=self.check_cancelled,
            warn=self.warn,
            crew=self._crew_of_run() if side_by_side else None,
        )

    def start(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Begin ``function(*arguments)`` beside this thread where the run may, or else when its result is asked for.

        It must not tell progress, nor wait for other such tasks.
        """
        return self._crew_of_run().start(function, *arguments)

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """``function`` of each item, in order; several at once where the run may. As for ``start``."""
        tasks = [self.start(function, item) for item in items]
        return [task.result() for task in tasks]

    def close(self) -> None:
        """End the threads of this run; what they have begun is waited for."""
        if self._crew is not None:
            self._crew.close()

    def _crew_of_run(self) -> Crew:
        if self._crew is None:
            from CSpineFractureLib.models.crew import Crew  # imported late: it needs torch

            self._crew = Crew.of(self.device) if self._side_by_side else Crew()
        return self._crew

    def new_result(self, volume: CTVolume, level_rule: str = "") -> StudyResult:
        """An empty result for ``volume``, ready for a profile to fill in.

        The engine completes warnings, models, thresholds and timings when the profile returns.
        """
        info = VolumeInfo(
            shape_kji=list(volume.shape_kji),
            spacing_mm=list(volume.spacing_mm),
            ijk_to_ras=volume.ijk_to_ras.tolist(),
            grid=volume.grid,
            series_uid=volume.series_uid,
            frame_of_reference_uid=volume.frame_of_reference_uid,
            sop_instance_uids=None if volume.sop_instance_uids is None else list(volume.sop_instance_uids),
        )
        return StudyResult(
            id=str(uuid4()),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            software_version=__version__,
            status="complete",
            volume=info,
            profile=self.profile,
            device=str(self.device),
            study=StudyFinding(None, level_rule),
        )
