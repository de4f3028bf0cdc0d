"""A folder that is made study by study: it goes on where it was broken off, and is there whole or not at all.

It grows in ``OUT.part``, where ``.done`` notes the studies that are finished and ``.plan`` what is being made; when all
is there it is renamed to ``OUT``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

Progress = Callable[[int, int], None]
_PLAN, _DONE = ".plan", ".done"


def no_progress(done: int, total: int) -> None:
    """Studies finished and studies in all, told to nobody."""


@contextlib.contextmanager
def part_folder(out: Path, plan: str) -> Iterator[Path]:
    """``OUT.part`` to write into; it becomes ``out`` at the end of the block.

    ``plan`` changes with anything that changes the content: what an earlier try left of the same plan is kept, of
    another one cleared. Where the block fails, finished studies stay for the next try. Raises ``UserError`` where
    ``out`` holds files, ``OUT.part`` is not ours, or it cannot be written.
    """
    part = out.with_name(out.name + ".part")
    try:
        _prepare(out, part, plan)
        try:
            yield part
        except BaseException:
            if not any((part / _DONE).iterdir()):
                shutil.rmtree(part)
            raise
        shutil.rmtree(part / _DONE)
        (part / _PLAN).unlink()
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        message = f"'{out}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into; it becomes ``out`` at the end of the block, and goes where the block fails.

    Raises ``UserError`` where ``out`` exists or cannot be written.
    """
    if out.exists():
        message = f"'{out}' exists: choose another --output, or delete it."
        raise UserError(message)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        part.replace(out)
    except OSError as error:
        message = f"'{out}' cannot be written ({error.strerror or error}): free some space, or choose another --output."
        raise UserError(message) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def note_of(part: Path, name: str) -> Path:
    """The file that tells that a study is finished, and what was made of it."""
    return part / _DONE / f"{name}.json"


def _prepare(out: Path, part: Path, plan: str) -> None:
    """Make ``part`` ready: keep that of the same run, clear that of another one, refuse what is not ours."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"'{out}' exists and is not an empty folder; remove it or choose another one with --output."
        raise UserError(message)
    noted = part / _PLAN
    if part.exists() and not noted.is_file():
        message = f"'{part}' is in the way and was not left by an unfinished run of this command; remove it."
        raise UserError(message)
    if part.exists() and noted.read_text(encoding="utf-8") != plan:
        shutil.rmtree(part)
    (part / _DONE).mkdir(parents=True, exist_ok=True)
    write_text_atomically(plan, noted)
