"""What ``cspine bench`` measures of one CT, in one process: the run, the limit its networks set, memory and writing."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.pipeline.naive_run import LEFT_OUT, NaiveEngine
from CSpineFractureLib.pipeline.naive_run import PROFILE as NAIVE_PROFILE
from CSpineFractureLib.pipeline.outputs import write_outputs
from CSpineFractureLib.pipeline.profiles import get_profile, runnable_profile
from CSpineFractureLib.training.bench_agreement import agreement
from CSpineFractureLib.training.bench_memory import peak_rss_gb
from CSpineFractureLib.training.bench_networks import CallRecorder, RecordingStore
from CSpineFractureLib.volume.ct_volume import CTVolume


@dataclass(frozen=True)
class BenchPlan:
    """What to measure: timed ``repeat``s of each figure, ``queued`` studies after each other (0: not measured)."""

    profile: str = "default"
    device: str = "auto"
    repeat: int = 3
    queued: int = 3
    baseline: bool = False
    write: bool = True

    def check(self) -> None:
        """Raise ``UserError`` for what cannot be measured; nothing is loaded."""
        chosen = get_profile(self.profile)
        if chosen.name == "radiograph":
            message = "Profile radiograph reads no CT, so there is nothing to measure: choose another with --profile."
            raise UserError(message)
        runnable_profile(self.profile)
        if self.baseline and chosen.name != NAIVE_PROFILE:
            message = (
                f"--baseline executes the profile {NAIVE_PROFILE} naively, not {chosen.name}: leave it out, or use"
                f" --profile {NAIVE_PROFILE}."
            )
            raise UserError(message)


@dataclass
class Samples:
    """The repeats of each figure; figures inside a group (such as ``stages_s``) by name."""

    values: dict[str, list[float]] = field(default_factory=dict)
    groups: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def add_group(self, group: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.groups.setdefault(group, {}).setdefault(name, []).append(value)

    def medians(self) -> dict[str, Any]:
        """Each figure's median."""
        return self._of(statistics.median)

    def ranges(self) -> dict[str, Any]:
        """Each figure's lowest and highest value."""
        return self._of(lambda values: [min(values), max(values)])

    def _of(self, take: Callable[[list[float]], Any]) -> dict[str, Any]:
        single = {name: take(values) for name, values in self.values.items()}
        grouped = {group: {name: take(v) for name, v in one.items()} for group, one in self.groups.items()}
        return {**single, **grouped}


def measure_study(source: Path, plan: BenchPlan, show: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Measure the runs of one CT; a dictionary of plain values, described in docs/PERFORMANCE.md.

    The order matters: what is to be held against the bar of memory runs first (a run that loads the networks, writing,
    queued studies). Then one run is noted call by call, and each timed run is followed at once by its limit and its
    naive execution, so that ratios suffer little from what else the computer does. ``show`` gets a text and how many
    steps of how many are done. Raises ``UserError`` as the engine does.
    """
    plan.check()
    steps = itertools.count()
    total = 2 + plan.queued + plan.repeat * (2 + plan.baseline) + plan.baseline
    samples, recorder = Samples(), CallRecorder()
    engine = Engine(RecordingStore(recorder), plan.device)

    def tell(text: str) -> None:
        show(text, min(next(steps), total), total)

    report = _measure_whole_studies(engine, source, plan, tell)
    tell("Noting the calls of the networks")
    recorder.is_on = True
    _, volume, output = _timed_run(engine, source, plan.profile)
    recorder.is_on = False
    naive, found = _naive_engine(str(output.result.device)) if plan.baseline else None, None
    for _ in range(plan.repeat):
        del volume
        tell("Timing the run")
        worked = {"run": -time.process_time()}
        seconds, volume, output = _timed_run(engine, source, plan.profile)
        worked["run"] += time.process_time()
        samples.add("run_s", seconds)
        samples.add_group("stages_s", _stages(output, seconds))
        tell("Timing the networks alone")
        _add_limit(samples, recorder, seconds, worked)
        if naive is not None:
            tell("Timing the naive execution")
            found = _add_baseline(samples, naive, source, seconds, worked)
        samples.add_group("cpu_s", worked)
    agreements = {"agreement": None, "agreement_as_document": None}
    if naive is not None:
        agreements["agreement_as_document"] = agreement(output.result, found.result)
        del naive, found
        tell("Comparing with the naive execution")
        agreements["agreement"] = agreement(output.result, _naive_findings(source, str(output.result.device)))
    absent = {"overhead": None, "speedup_over_baseline": None, "forward_s": {}}
    return {
        "profile": output.result.profile,
        "device": output.result.device,
        "shape_kji": list(volume.shape_kji),
        "repeat": plan.repeat,
        "queued": plan.queued,
        **absent,
        **samples.medians(),
        **report,
        **agreements,
        "calls": {task: {"calls": len(c), "images": sum(o.images for o in c)} for task, c in recorder.calls.items()},
        "ranges": samples.ranges(),
    }


def _measure_whole_studies(
    engine: Engine, source: Path, plan: BenchPlan, tell: Callable[[str], None]
) -> dict[str, float | None]:
    """Loading, writing, a queue, and the memory that they take."""
    tell("First run")
    seconds, volume, output = _timed_run(engine, source, plan.profile)
    report = {"first_run_s": seconds, "peak_rss_findings_gb": peak_rss_gb(), "writing_s": None, "rendering_s": None}
    if plan.write:
        report |= _time_writing(volume, output)
    del volume, output  # as in a queue, a study is gone when the next one begins
    queued = []
    for _ in range(plan.queued):
        tell("Queued studies")
        queued.append(_timed_run(engine, source, plan.profile)[0])
    report["studies_per_minute"] = 60 * len(queued) / sum(queued) if queued else None
    report["peak_rss_gb"] = peak_rss_gb()
    return report


def _add_limit(samples: Samples, recorder: CallRecorder, seconds: float, worked: dict[str, float]) -> None:
    """The networks alone, beside a run of so many seconds; ``worked``: CPU times, which get that of the networks."""
    worked["limit"] = -time.process_time()
    forward = recorder.repeat()
    worked["limit"] += time.process_time()
    samples.add_group("forward_s", forward)
    samples.add("limit_s", sum(forward.values()))
    if forward:
        samples.add("overhead", seconds / sum(forward.values()))
        samples.add("overhead_cpu", worked["run"] / worked["limit"])


def _add_baseline(
    samples: Samples, naive: NaiveEngine, source: Path, seconds: float, worked: dict[str, float]
) -> StudyOutput:
    """The naive execution, beside a run of so many seconds; ``worked``: CPU times, which get that of it."""
    worked["baseline"] = -time.process_time()
    found = naive.run(source)
    worked["baseline"] += time.process_time()
    whole = sum(found.seconds.values())
    samples.add("baseline_s", whole)
    samples.add("speedup_over_baseline", whole / seconds)
    samples.add("speedup_same_slices", (whole - found.seconds[LEFT_OUT]) / seconds)
    samples.add("speedup_cpu", worked["baseline"] / worked["run"])
    samples.add_group("baseline_stages_s", found.seconds)
    return found.output


def _timed_run(engine: Engine, source: Path, profile: str) -> tuple[float, CTVolume, StudyOutput]:
    start = time.perf_counter()
    volume, output = engine.run_study(source, profile)
    return time.perf_counter() - start, volume, output


def _stages(output: StudyOutput, seconds: float) -> dict[str, float]:
    """The stages of a run, and as ``other`` what lies between them."""
    stages = {name: value for name, value in output.result.timings_s.items() if name not in ("scene", "render")}
    return {**stages, "other": max(0.0, seconds - sum(stages.values()))}


def _time_writing(volume: CTVolume, output: StudyOutput) -> dict[str, float | None]:
    """Seconds for writing all files but the pictures, and for rendering those (``None`` without the Slicer
    libraries)."""
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        start = time.perf_counter()
        write_outputs(volume, output, Path(folder) / "result", render=True)
        whole = time.perf_counter() - start
    rendering = output.result.timings_s.get("render")
    return {"writing_s": whole - (rendering or 0.0), "rendering_s": rendering}


def _naive_findings(source: Path, device: str) -> StudyResult:
    """What the naive execution finds where its networks see the same pictures."""
    return NaiveEngine(WeightsStore(), device, same_pictures=True).run(source).output.result


def _naive_engine(device: str) -> NaiveEngine:
    engine = NaiveEngine(WeightsStore(), device)
    engine.warm_up()
    return engine
