"""The ``data`` of a recipe as arguments of what makes its images; keys that mean nothing there are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.systems import System

Options = TypeVar("Options")


def check_keys(system: System, known: Sequence[str]) -> None:
    """Raise ``UserError`` for a key of ``system.data`` that is not among ``known``."""
    unknown = sorted(set(system.data) - set(known))
    if unknown:
        message = f"System {system.name} has no data.{unknown[0]}: leave it out, or use one of {', '.join(known)}."
        raise UserError(message)


def options_of(kind: type[Options], system: System, apart: Sequence[str], **given: Any) -> Options:
    """``kind``, a dataclass, of what ``system.data`` says beside the keys ``apart``, and of what is ``given``.

    Raises ``UserError`` as ``check_keys`` does.
    """
    names = [one.name for one in fields(kind) if one.name not in given]
    check_keys(system, [*apart, *names])
    return kind(**{key: value for key, value in system.data.items() if key not in apart}, **given)
