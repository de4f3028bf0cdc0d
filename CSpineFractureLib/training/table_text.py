"""A joined table (``paper_tables``) as cells of text, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training.metrics_file import Figure, plain
from CSpineFractureLib.training.paper_figures import Column
from CSpineFractureLib.training.paper_tables import Block, Table

SCHEMA = "cspine-paper-table/1"
NOTHING = "-"


def cell_text(value: Any, column: Column, measured: bool, separator: str = " ") -> str:
    """A cell as text: percent with one digit, printed numbers as they stand, intervals after ``separator``."""
    if isinstance(value, Figure):
        text = cell_text(value.value, column, measured)
        if value.low is None:
            return text
        ends = (cell_text(end, column, measured) for end in (value.low, value.high))
        return f"{text}{separator}({'–'.join(ends)})"
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if column.unit == "%":
        return f"{100 * value:.1f}"
    if column.unit == "count":
        return f"{int(value):,}"
    if isinstance(value, int) or column.key == "value":
        return f"{value:g}"
    if not measured and round(value, 2) == value:
        return f"{value:.2f}"
    return f"{value:.2f}" if column.unit == "labels" else f"{value:.3f}"


def heading_text(column: Column, marks: dict[str, int]) -> str:
    """A heading with its unit and marks of footnotes."""
    unit = " %" if column.unit == "%" else ""
    return f"{column.heading}{unit}{_marks(column.footnotes, marks)}"


def block_text(table: Table, block: Block, separator: str = " ") -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text; how a run was trained is said once, not again in the rows of its strata."""
    marks, measured = note_numbers(table), block is table.measured
    rows, trained = [], None
    for row, notes in zip(block.rows, block.marks, strict=True):
        said, trained = trained, (row["name"], row.get("recipe"))
        if said == trained and row.get("stratum") != "all":
            row = {**row, "recipe": ""}
        cells = [cell_text(row.get(column.key), column, measured, separator) for column in block.columns]
        cells[0] += _marks(notes, marks)
        rows.append(cells)
    return [heading_text(column, {} if measured else marks) for column in block.columns], rows


def note_numbers(table: Table) -> dict[str, int]:
    """The number of each footnote, from 1."""
    return {name: number for number, name in enumerate(table.footnotes, start=1)}


def as_markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [f"## Paper {table.document}, table {table.table}: {table.title}", "", table.reference, ""]
    for block in (table.printed, table.measured):
        headings, rows = block_text(table, block)
        lines += [f"**{block.title}**", "", _line(headings), _line(["---"] * len(headings)), *map(_line, rows), ""]
    if table.trained:
        lines += ["How ours were trained:", ""]
        lines += [*(f"- {name}: `{command}`" for name, command in table.trained.items()), ""]
    if table.missing:
        lines += ["Not measured yet; a command for each:", ""]
        lines += [*(f"- {name}: `{command}`" for name, command in table.missing.items()), ""]
    lines += [f"{number}. {table.footnotes[name]}" for name, number in note_numbers(table).items()]
    return "\n".join(lines).rstrip() + "\n"


def as_document(table: Table) -> dict[str, Any]:
    """The table as plain data: shares as fractions, intervals as ``low`` and ``high``."""
    return plain({"schema": SCHEMA, **asdict(table)})


def write_tables(tables: Sequence[Table], output: Path) -> list[Path]:
    """Write Markdown and JSON; returns the files.

    ``output`` is a Markdown file (all tables; the JSON lies beside it) or a folder (a pair of files per table). Raises
    ``UserError`` for another ending or a place that cannot be written.
    """
    if output.suffix not in ("", ".md") and not output.is_dir():
        message = f"'{output}' cannot be the output: give a file that ends with .md, or a folder."
        raise UserError(message)
    if output.suffix == ".md" and not output.is_dir():
        pairs = [(output, "\n".join(as_markdown(table) for table in tables), [as_document(one) for one in tables])]
    else:
        pairs = [
            (output / f"paper-{one.document}-table-{one.table}.md", as_markdown(one), [as_document(one)])
            for one in tables
        ]
    files = []
    for path, text, documents in pairs:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"'{path.parent}' cannot be made ({error.strerror or error}); choose another place with --output."
            raise UserError(message) from error
        content = documents[0] if len(documents) == 1 else documents
        write_text_atomically(text, path)
        write_text_atomically(json.dumps(content, indent=1, ensure_ascii=False) + "\n", path.with_suffix(".json"))
        files += [path, path.with_suffix(".json")]
    return files


def _marks(names: Sequence[str], numbers: dict[str, int]) -> str:
    found = [str(numbers[name]) for name in names if name in numbers]
    return f" [{','.join(found)}]" if found else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
