"""The figures that the source documents print, as data (``Resources/Papers``), and which of them cannot be true."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.resources import resource_path

SCHEMA = "cspine-paper/1"


@dataclass(frozen=True)
class Column:
    """A column: key of the figure, heading, unit (``%``, ``count``, ``labels``, or empty for a plain number)."""

    key: str
    heading: str
    unit: str = ""
    footnotes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PrintedRow:
    """A row: its name, what it is of (``model`` of a system, or ``key`` of a training parameter), and its values.

    Shares are fractions 0..1, also where the paper prints percent. A row without values is not printed in the paper: a
    model of ours only, which is not missed where it is ``optional``. ``system``: that of its model, where it is not the
    table's.
    """

    name: str
    values: dict[str, Any]
    model: str = ""
    key: str = ""
    optional: bool = False
    system: str = ""
    footnotes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PrintedTable:
    """A table; ``kind`` is ``models`` (a row per model), ``classes`` (one per class of ``model``) or ``parameters``."""

    table: str
    title: str
    kind: str
    system: str
    columns: list[Column]
    rows: list[PrintedRow]
    model: str = ""


ROMAN = {"1": "I", "2": "II", "3": "III"}
"""A table may be asked for by its number in either script."""


@dataclass(frozen=True)
class Paper:
    """A document: where it was published, what it was measured on, its tables, and its footnotes by name."""

    document: str
    reference: str
    data: str
    tables: list[PrintedTable]
    footnotes: dict[str, str]

    def choose(self, table: str | None) -> list[PrintedTable]:
        """One table, or all. Raises ``UserError`` for one it does not have."""
        if table is None:
            return self.tables
        wanted = {table, ROMAN.get(table)}
        chosen = [one for one in self.tables if one.table in wanted]
        if not chosen:
            known = ", ".join(one.table for one in self.tables)
            message = f"Paper {self.document} has no table '{table}' with results here: use {known}, or no --table."
            raise UserError(message)
        return chosen


def paper_names() -> list[str]:
    """The documents whose tables are known, sorted."""
    return sorted(path.stem for path in resource_path("Papers").glob("*.json"))


def read_paper(document: str) -> Paper:
    """The tables of a document. Raises ``UserError`` for one that is not known."""
    if document not in paper_names():
        message = f"Paper '{document}' is not known here: use one of {', '.join(paper_names())}."
        raise UserError(message)
    data = json.loads(resource_path(f"Papers/{document}.json").read_text(encoding="utf-8"))
    if data.pop("schema") != SCHEMA:
        message = f"Resources/Papers/{document}.json is not of {SCHEMA}."
        raise ValueError(message)
    return Paper(**{**data, "tables": [_table(one) for one in data["tables"]]})


def _table(data: dict[str, Any]) -> PrintedTable:
    columns = [Column(**column) for column in data["columns"]]
    return PrintedTable(**{**data, "columns": columns, "rows": [PrintedRow(**row) for row in data["rows"]]})
