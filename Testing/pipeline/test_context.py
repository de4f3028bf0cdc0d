from __future__ import annotations

import pytest

from CSpineFractureLib.errors import Cancelled
from CSpineFractureLib.pipeline.context import RunContext


def test_a_stage_is_timed_and_its_repeats_are_summed():
    context = RunContext()
    with context.stage("detect"):
        pass
    first = context.timings_s["detect"]
    with context.stage("detect"):
        pass
    assert context.timings_s["detect"] > first > 0


def test_a_stage_that_fails_is_timed_but_not_reported_as_done():
    events = []
    context = RunContext(on_event=events.append)
    with pytest.raises(ValueError, match="broken"), context.stage("detect", total=5):
        raise ValueError("broken")  # noqa: EM101
    assert "detect" in context.timings_s
    assert [event["done"] for event in events] == [0]


def test_no_stage_begins_after_cancelling():
    context = RunContext(is_cancelled=lambda: True)
    entered = []
    with pytest.raises(Cancelled), context.stage("detect"):
        entered.append(True)
    assert entered == []


def test_the_same_warning_is_kept_once():
    context = RunContext()
    for code, message in (("a", "One."), ("b", "Two."), ("a", "One."), ("a", "Three.")):
        context.warn(code, message)
    assert [(notice.code, notice.message) for notice in context.notices] == [
        ("a", "One."),
        ("b", "Two."),
        ("a", "Three."),
    ]


def test_a_threshold_is_the_users_or_the_default_and_is_recorded_either_way():
    context = RunContext(thresholds={"fracture": 0.3})
    assert context.threshold("fracture", 0.5) == 0.3
    assert context.threshold("gradcam", 0.2) == 0.2
    assert context.thresholds == {"fracture": 0.3, "gradcam": 0.2}
