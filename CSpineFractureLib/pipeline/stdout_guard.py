"""Keeping stdout for what we print ourselves: libraries, C++ code and child processes print to stderr meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def stdout_for_us_alone() -> Iterator[TextIO]:
    """Yield a text stream to the real stdout; everything else written to stdout goes to stderr until the end."""
    python_stdout = sys.stdout
    python_stdout.flush()
    saved = os.dup(1)
    try:
        own = python_stdout.fileno() == 1
    except (OSError, ValueError):  # a stream in memory
        own = False
    ours = os.fdopen(os.dup(saved), "w", encoding="utf-8", newline="\n") if own else python_stdout
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield ours
    finally:
        sys.stdout = python_stdout
        os.dup2(saved, 1)
        os.close(saved)
        if own:
            ours.close()
