"""A warning that travels with a volume or a result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """A warning for the user: a stable ``code`` (kebab-case) and one plain sentence."""

    code: str
    message: str
