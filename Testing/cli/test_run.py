from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cspine_runner import cspine_arguments, cspine_here, cspine_outside, make_ct

from CSpineFractureLib import __version__
from CSpineFractureLib.findings.result_file import read_result


@pytest.fixture
def ct(tmp_path):
    return make_ct(tmp_path / "ct.nii.gz")


def fake_run(ct, folder, *words):
    return ("run", ct, "-o", folder, "--profile", "fake", "--device", "cpu", "--no-render", *words)


def test_a_run_prints_findings_files_and_its_limits(capfd, ct, tmp_path):
    out = tmp_path / "out"
    ended = cspine_here(capfd, *fake_run(ct, out))

    assert ended.code == 0, ended.err
    for level in ("C1", "C7"):
        assert level in ended.out
    assert "fracture suspected" in ended.out
    assert "Warning: These findings are pretended." in ended.out
    assert str(out / "result.json") in ended.out
    assert "Research use only" in ended.out
    assert read_result(out / "result.json").profile == "fake"
    with open(out / "findings.csv", newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 8


def test_every_file_it_names_is_there_and_no_other(capfd, ct, tmp_path):
    out = tmp_path / "out"
    ended = cspine_here(capfd, *fake_run(ct, out))
    assert ended.code == 0
    named = [line.strip() for line in ended.out.splitlines() if line.startswith("  " + str(out))]
    assert sorted(named) == sorted(str(path) for path in out.rglob("*") if path.is_file())


def test_a_second_run_replaces_the_first(capfd, ct, tmp_path):
    out = tmp_path / "out"
    first, second = (cspine_here(capfd, *fake_run(ct, out)) for _ in range(2))
    assert (first.code, second.code) == (0, 0)


def test_thresholds_reach_the_result(capfd, ct, tmp_path):
    ended = cspine_here(capfd, *fake_run(ct, tmp_path / "out", "--threshold", "fracture=0.05"))
    assert ended.code == 0
    assert read_result(tmp_path / "out" / "result.json").thresholds["fracture"] == 0.05


def test_events_are_json_lines_and_nothing_else_is_on_stdout(ct, tmp_path):
    ended = cspine_outside(*fake_run(ct, tmp_path / "out", "--events", "json", "--threshold", "noise=1"))
    assert ended.code == 0, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert all({"stage", "done", "total", "message"} <= set(event) for event in events)
    assert {"read", "fake", "write"} <= {event["stage"] for event in events}
    assert str(tmp_path / "out" / "result.json") in events[-1]["files"]
    assert "chats on stdout" in ended.err


def test_progress_in_a_log_is_one_line_a_stage(capfd, ct, tmp_path):
    ended = cspine_here(capfd, *fake_run(ct, tmp_path / "out"))
    assert ended.err.splitlines().count("Pretending ...") == 1
    assert "\x1b" not in ended.err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_cleanly(ct, tmp_path, number, code):
    words = fake_run(ct, tmp_path / "a" / "out", "--threshold", "delay=0.1", "--threshold", "steps=600")
    heard = {"preexec_fn": lambda: signal.signal(number, signal.SIG_DFL)}  # a shell's background jobs ignore SIGINT
    with subprocess.Popen(
        **cspine_arguments(*words), **heard, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while "Pretending" not in process.stderr.readline():
            assert process.poll() is None
        start = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert process.returncode == code
    assert "Traceback" not in err
    assert ("Cancelled" in err) == (number == signal.SIGINT)
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]


def test_a_fault_of_the_program_is_one_sentence_with_a_hint(capfd, ct, tmp_path):
    ended = cspine_here(capfd, *fake_run(ct, tmp_path / "out", "--threshold", "crash=1"))
    assert ended.code == 1
    assert "something broke" in ended.err
    assert "--debug" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_debug_shows_where_a_fault_arose(capfd, ct, tmp_path):
    ended = cspine_here(capfd, *fake_run(ct, tmp_path / "out", "--threshold", "crash=1", "--debug"))
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "fake_profile.py" in ended.err


def test_the_version_is_shown(capfd):
    ended = cspine_here(capfd, "--version")
    assert (ended.code, ended.out) == (0, f"cspine {__version__}\n")


@pytest.mark.parametrize("words", [(), ("run",), ("run", "ct.nrrd"), ("run", "--nonsense"), ("nonsense",)])
def test_wrong_usage_ends_with_code_2(capfd, words):
    ended = cspine_here(capfd, *words)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_suspicious_slices_are_drawn_beside_their_grad_cam_on_request(capfd, ct, tmp_path):
    ended = cspine_here(capfd, *fake_run(ct, tmp_path / "out", "--cam-pictures"))
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "out" / "gradcam").iterdir()} == {"002.png", "003.png"}
    assert str(tmp_path / "out" / "gradcam" / "002.png") in ended.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "vertebra-detector"), "write it as TASK=NAME"),
        (("--model", "=name"), "write it as TASK=NAME"),
        (("--model", "a=x", "--model", "a=y"), "once per task"),
        (("--profile", "two-stage", "--model", "nose-detector=x"), "no network for the task 'nose-detector'"),
        (("--profile", "two-stage", "--model", "vertebra-detector=x"), "'x' is not on this computer"),
        (("--profile", "gcvit-yolo", "--cam-pictures"), "makes no Grad-CAM"),
        (("--profile", "vertebra-yolo"), "cspine train 003-vertebra-detector"),
    ],
)
def test_networks_that_cannot_be_used_end_with_code_2_and_one_sentence(
    capfd, ct, tmp_path, monkeypatch, words, sentence
):
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "models"))
    ended = cspine_here(capfd, *fake_run(ct, tmp_path / "out", *words))
    assert ended.code == 2
    assert sentence in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from CSpineFractureLib.cli.failures import exit_code_of\n"
        "code = exit_code_of(['run', '--help'])\n"
        "heavy = {'torch', 'numpy', 'SimpleITK', 'pydicom', 'vtk', 'slicer', 'ultralytics', 'jsonschema'}\n"
        "sys.exit(code or ', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    arguments = cspine_arguments()
    arguments["args"] = [sys.executable, "-c", program]
    done = subprocess.run(**arguments, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--no-render" in done.stdout
