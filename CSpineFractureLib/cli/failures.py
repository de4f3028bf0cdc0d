"""How a command ends: exit codes, and one plain sentence instead of a traceback.

0 done; 1 a fault of the program; 2 something the user can put right; 130 cancelled (Ctrl-C); 143 told to end.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.pipeline.threads import prepare_process

#: click's base of all faults of usage; found through typer, which may bring its own copy of click.
_UsageFault = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
CANCELLED, LEFT_NOTHING = 130, "Cancelled: nothing half-written was left behind."
TERMINATED = 143


def exit_code_of(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words  # wherever it stands
    prepare_process()
    try:
        with _quiet_libraries(debug), _end_on_sigterm():
            from CSpineFractureLib.cli.app import app

            code = app([word for word in words if word != "--debug"], prog_name="cspine", standalone_mode=False)
        if code == CANCELLED:  # typer makes a code of Ctrl-C
            _say(LEFT_NOTHING)
        return code if isinstance(code, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        if debug:
            traceback.print_exception(error)
        return _report(error)


def _report(error: BaseException) -> int:
    """Say on stderr what happened; the exit code."""
    if isinstance(error, _UsageFault):
        error.show()
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, Cancelled, typer.Abort)):
        _say(LEFT_NOTHING)
        return CANCELLED
    if isinstance(error, UserError):
        _say(f"Error: {error}")
        return 2
    if isinstance(error, MemoryError):
        _say("Error: there is not enough memory for this volume: close other programs or use a computer with more.")
        return 1
    _say(f"Error: unexpected fault ({type(error).__name__}: {error}): run again with --debug to see where it arose.")
    return 1


def _say(sentence: str) -> None:
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)


@contextmanager
def _quiet_libraries(debug: bool) -> Iterator[None]:
    """Warnings and log lines of libraries are for developers; users get the warnings of the result."""
    with warnings.catch_warnings():
        if debug:
            yield
            return
        warnings.simplefilter("ignore")
        last_resort, logging.lastResort = logging.lastResort, None
        try:
            yield
        finally:
            logging.lastResort = last_resort


@contextmanager
def _end_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as an exception does, so that half-written output is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
