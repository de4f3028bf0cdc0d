from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.output_folder import all_or_nothing, check_output_folder


def fill(folder, text="new"):
    (folder / "result.json").write_text(json.dumps({"schema": "cspine-result/1", "text": text}))
    (folder / "views").mkdir()
    (folder / "views" / "axial.png").write_text(text)


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def fill_and_fail(folder, fault):
    with all_or_nothing(folder) as temporary:
        fill(temporary)
        raise fault


def test_the_files_appear_together_at_the_end(tmp_path):
    folder = tmp_path / "a" / "out"
    with all_or_nothing(folder) as temporary:
        fill(temporary)
        assert not folder.exists()
    assert names_below(tmp_path) == ["a", "a/out", "a/out/result.json", "a/out/views", "a/out/views/axial.png"]
    assert folder.stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("fault", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(143)])
def test_a_run_that_fails_leaves_nothing_not_even_new_parents(tmp_path, fault):
    with pytest.raises(type(fault)):
        fill_and_fail(tmp_path / "a" / "b" / "out", fault)
    assert names_below(tmp_path) == []


def test_a_full_disk_is_a_plain_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="No space left"):
        fill_and_fail(tmp_path / "out", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert names_below(tmp_path) == []


def test_a_users_error_about_a_file_names_it_where_it_would_have_been(tmp_path):
    def write():
        with all_or_nothing(tmp_path / "out") as temporary:
            message = f"{temporary / 'scene.mrb'} could not be written."
            raise UserError(message)

    with pytest.raises(UserError) as caught:
        write()
    assert str(caught.value) == f"{tmp_path / 'out' / 'scene.mrb'} could not be written."


def test_the_system_refusing_to_write_on_leaves_nothing(tmp_path):
    """A true refusal by the kernel (a limit on file size), in a process of its own."""
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from CSpineFractureLib.errors import UserError\n"
        "from CSpineFractureLib.pipeline.output_folder import all_or_nothing\n"
        "try:\n"
        "    with all_or_nothing(sys.argv[1]) as folder:\n"
        "        (folder / 'gradcam.nrrd').write_bytes(bytes(100_000))\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert "cannot be written (File too large)" in done.stdout
    assert names_below(tmp_path) == []


def test_the_files_of_an_earlier_run_are_replaced(tmp_path):
    fill(tmp_path, "old")
    (tmp_path / "gradcam.nrrd").write_text("old")
    with all_or_nothing(tmp_path) as temporary:
        fill(temporary)
    assert names_below(tmp_path) == ["result.json", "views", "views/axial.png"]
    assert (tmp_path / "views" / "axial.png").read_text() == "new"


def test_the_files_of_an_earlier_run_stay_when_a_new_one_fails(tmp_path):
    fill(tmp_path, "old")
    with pytest.raises(RuntimeError):
        fill_and_fail(tmp_path, RuntimeError())
    assert names_below(tmp_path) == ["result.json", "views", "views/axial.png"]
    assert (tmp_path / "views" / "axial.png").read_text() == "old"


@pytest.mark.parametrize("name", ["notes.txt", "result.json"])
def test_a_folder_with_a_users_own_files_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="--overwrite"):
        check_output_folder(tmp_path)
    assert names_below(tmp_path) == [name]


def test_overwrite_keeps_the_users_own_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with all_or_nothing(tmp_path, overwrite=True) as temporary:
        fill(temporary)
    assert names_below(tmp_path) == ["notes.txt", "result.json", "views", "views/axial.png"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    for folder in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(UserError, match="out"):
            check_output_folder(folder)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, which not even root may write to")
def test_a_folder_nobody_may_write_to_is_refused():
    with pytest.raises(UserError, match="cannot be written"):
        check_output_folder("/proc/self/out")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="cannot be written"):
        check_output_folder(tmp_path / "out")
