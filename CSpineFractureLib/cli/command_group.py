"""How every group of commands is made."""

from __future__ import annotations

from typing import Any

import typer


def command_group(**options: Any) -> typer.Typer:
    """A ``typer.Typer`` with plain help, whose faults are left to ``failures``."""
    return typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False, **options)
