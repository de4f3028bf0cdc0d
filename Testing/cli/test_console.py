from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from cspine_runner import TESTING

sys.path.insert(0, str(TESTING / "findings"))

from sample_result import make_result

from CSpineFractureLib.cli import progress
from CSpineFractureLib.cli.findings_table import print_findings
from CSpineFractureLib.cli.progress import shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(result, paths=()):
    stream = io.StringIO()
    print_findings(result, paths, stream)
    return stream.getvalue()


def test_each_level_and_each_suspected_fracture_has_a_line():
    text = printed(make_result())
    for level in ("C1", "C2", "C3", "C4", "C5", "C6", "C7"):
        assert len(re.findall(rf"^\W*{level} ", text, re.MULTILINE)) == (2 if level == "C3" else 1)
    assert "not assessed: C6 was not found in the scan" in text
    assert "not assessed: motion artefact" in text


def test_the_reader_is_told_what_the_weights_were_trained_on_and_that_it_is_research():
    text = printed(make_result())
    assert "trained on synthetic CT" in text
    assert text.rstrip().splitlines()[-1].startswith("Research use only")
    assert "synthetic" not in printed(make_result(models=[]))


def test_a_path_is_printed_on_one_line_and_as_it_is():
    path = Path("out") / ("[red]" + "x" * 150) / "result.json"
    assert f"  {path}\n" in printed(make_result(), [path])


def test_progress_on_a_terminal_shows_count_and_stage(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress("auto", io.StringIO()) as show:
        show({"stage": "read", "done": 0, "total": 0, "message": "Reading the CT"})
        show({"stage": "read", "done": 1, "total": 1, "message": "Reading the CT"})
        show({"stage": "classify", "done": 30, "total": 90, "message": "Looking for fractures"})
    assert "Reading the CT" in terminal.getvalue()
    assert "30/90" in terminal.getvalue()


def test_a_log_file_gets_the_start_of_each_stage_and_now_and_then_how_far_a_long_one_is(monkeypatch, capsys):
    seconds = iter([100.0, 110.0, 131.0, 132.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with shown_progress("auto", io.StringIO()) as show:
        for stage, done in (("train", 0), ("train", 1), ("train", 2), ("measure", 0)):
            show({"stage": stage, "done": done, "total": 5, "message": f"Doing {stage}"})
    assert capsys.readouterr().err.splitlines() == ["Doing train ...", "Doing train ... 2 of 5", "Doing measure ..."]


@pytest.mark.parametrize("message", ["plain", "ümläut"])
def test_json_events_are_one_line_each(message):
    stream = io.StringIO()
    event = {"stage": "read", "done": 0, "total": 0, "message": message}
    with shown_progress("json", stream) as show:
        show(event)
        show(event)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [event, event]
