"""The command line, ``cspine``: one file per command, each registered in ``app.py``.

Nothing heavy is imported before a command needs it, so that ``cspine --help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``cspine``; always ends by ``SystemExit``."""
    from CSpineFractureLib.cli.failures import exit_code_of

    raise SystemExit(exit_code_of(arguments))
