"""A table of a paper beside what was measured here: two blocks that share columns and never a number."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.metrics_file import Metrics, metrics_path, read_metrics
from CSpineFractureLib.training.paper_figures import Column, Paper, PrintedRow, PrintedTable, read_paper
from CSpineFractureLib.training.run_command import command_of
from CSpineFractureLib.training.run_folder import SETUP_FILE, Setup, read_run
from CSpineFractureLib.training.systems import System, load_system

VALIDATION = "val"
HEADINGS = {"models": "Model", "classes": "Class", "parameters": "Parameter"}
OURS = (Column("recipe", "Training"), Column("data", "Data"), Column("stratum", "Stratum"))


@dataclass
class Block:
    """Rows by key of column. A cell is a ``Figure``, a number, a text, or ``None``; ``marks`` are names of footnotes
    of the row of the same index."""

    title: str
    columns: list[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    marks: list[list[str]] = field(default_factory=list)

    def add(self, row: dict[str, Any], marks: list[str] | None = None) -> None:
        self.rows.append(row)
        self.marks.append(marks or [])


@dataclass
class Table:
    """One table: what the paper prints, what was measured here on the set ``set_name``, and what is missing.

    ``trained`` holds the command that trained each of our rows, ``missing`` what no run was measured for, with the
    command that does. ``footnotes`` are texts by name, those in use alone.
    """

    document: str
    table: str
    title: str
    reference: str
    set_name: str
    printed: Block
    measured: Block
    trained: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    footnotes: dict[str, str] = field(default_factory=dict)


RADIOGRAPHS = "001"
"""The paper that reads radiographs; the others read CT."""


@dataclass(frozen=True)
class Run:
    """A measured run: its folder and its figures."""

    path: Path
    metrics: Metrics

    @property
    def recipe(self) -> str:
        """How it was trained: by the paper's recipe, the quick one, or with changes; from which weights, how long, on
        what."""
        quick, data = self.metrics.quick, ""
        kind = "quick recipe" if quick else "paper's recipe"
        setup = self.setup
        if setup is not None:
            system = setup.system
            data = f" on {synthetic_name(system.document) if setup.synthetic else setup.source}"
            if system.to_dict() != load_system(system.name, quick).to_dict():
                kind = f"{kind}, changed"
            if setup.start:
                data += f", from weights '{Path(setup.start).stem}'"
        epochs = self.metrics.epochs
        return f"{kind}, {epochs} {'epoch' if epochs == 1 else 'epochs'}{data}"

    @property
    def setup(self) -> Setup | None:
        """What it trained; ``None`` where its folder does not say so."""
        return read_run(self.path).setup if (self.path / SETUP_FILE).is_file() else None


def paper_tables(document: str, table: str | None, runs: Path | None, set_name: str = VALIDATION) -> list[Table]:
    """One table of a paper, or all of them (``table`` is ``None``); see ``paper_table``."""
    paper = read_paper(document)
    chosen = paper.choose(table)
    measured = find_runs(runs, set_name) if runs else []
    return [_joined(paper, one, measured, runs, set_name) for one in chosen]


def paper_table(document: str, table: str, runs: Path | None, set_name: str = VALIDATION) -> Table:
    """A table of a paper with the figures of the runs below ``runs``, joined by system and model.

    Our rows tell how the network was trained (``quick`` where by the quick recipe) and on what it was measured
    (``synthetic`` where so), then follow its strata. Raises ``UserError`` for an unknown paper or table and for a
    folder that does not exist.
    """
    return paper_tables(document, table, runs, set_name)[0]


def find_runs(runs: Path, set_name: str) -> list[Run]:
    """The runs below a folder that were measured on a set, by path. Folders of images are not searched."""
    if not runs.is_dir():
        message = f"'{runs}' does not exist; name the folder that 'cspine train' wrote its runs into."
        raise UserError(message)
    found = []
    for place, folders, files in os.walk(runs):
        folders[:] = sorted(name for name in folders if not name.startswith("images") and SETUP_FILE not in files)
        if metrics_path(Path(place), set_name).name in files:
            found.append(Run(Path(place), read_metrics(metrics_path(Path(place), set_name))))
    return found


def synthetic_name(document: str) -> str:
    """What the synthetic images of a paper's systems are."""
    return "synthetic radiographs" if document == RADIOGRAPHS else "synthetic CT"


def training_command(system: str, model: str, quick: bool = False) -> str:
    """The command that trains a model of a system and measures it on its validation images."""
    source = "radiographs" if system.startswith(RADIOGRAPHS) else "rsna"
    return f"cspine train {system} --model {model} --source {source} --data DATA -o RUNS{' --quick' if quick else ''}"


def _joined(paper: Paper, table: PrintedTable, runs: list[Run], folder: Path | None, set_name: str) -> Table:
    name = Column("name", HEADINGS[table.kind])
    of = "" if table.kind == "parameters" else f": {paper.data}"
    printed = Block(f"Printed in {paper.document}, table {table.table}{of}", [name, *table.columns])
    for row in table.rows:
        if row.values:
            printed.add({"name": row.name, **row.values}, row.footnotes)
    systems = {table.system, *(row.system for row in table.rows)}
    own = [run for run in runs if run.metrics.system in systems]
    measured = Block(_title(own, set_name), [name, *OURS, *table.columns])
    joined = Table(paper.document, table.table, table.title, paper.reference, set_name, printed, measured)
    {"models": _models, "classes": _classes, "parameters": _parameters}[table.kind](joined, table, own, folder)
    used = [note for column in table.columns for note in column.footnotes]
    used += [note for block in (joined.printed, joined.measured) for marks in block.marks for note in marks]
    joined.footnotes = {name: paper.footnotes[name] for name in dict.fromkeys(used)}
    return joined


def _models(joined: Table, table: PrintedTable, runs: list[Run], folder: Path | None) -> None:
    for row in table.rows:
        system = row.system or table.system
        own = [run for run in runs if (run.metrics.system, run.metrics.model) == (system, row.model)]
        for run in own:
            _add_run(joined, table, row, run)
        if not own and not row.optional:
            _miss(joined, row, system, row.model, folder)


def _add_run(joined: Table, table: PrintedTable, row: PrintedRow, run: Run) -> None:
    block, metrics = joined.measured, run.metrics
    _tell_training(joined, row.name, run)
    whole = (metrics.per_class or {}).get("all", {})
    counts = {**(metrics.parameters or {}), "images": metrics.data.images, "instances": whole.get("instances")}
    first = {"name": row.name, "recipe": run.recipe, "data": _data(metrics), "stratum": "all"}
    block.add({**first, **_cells(table, counts | metrics.figures)}, _own_marks(row))
    for name, figures in metrics.strata.items():
        size = _size(*(int(figures[key].value or 0) for key in ("studies", "images")))
        part = {"name": row.name, "recipe": run.recipe, "data": size, "stratum": name}
        block.add({**part, **_cells(table, figures | {"images": figures["images"].value})})


def _tell_training(joined: Table, name: str, run: Run) -> None:
    if run.setup is not None:
        joined.trained[f"{name}, {run.recipe}"] = command_of(run.setup)


def _classes(joined: Table, table: PrintedTable, runs: list[Run], folder: Path | None) -> None:
    own = [run for run in runs if run.metrics.model == table.model]
    for run in own:
        _tell_training(joined, "all classes", run)
        for row in table.rows:
            values = (run.metrics.per_class or {}).get(row.name, {})
            first = {"name": row.name, "recipe": run.recipe, "data": _data(run.metrics), "stratum": "all"}
            joined.measured.add({**first, **_cells(table, values)})
    if not own:
        _miss(joined, PrintedRow("all classes", {}), table.system, table.model, folder)


def _parameters(joined: Table, table: PrintedTable, runs: list[Run], folder: Path | None) -> None:
    """What our recipe says, and what each run was really trained with."""
    joined.measured = Block("Set in this project", [joined.printed.columns[0], OURS[0], *table.columns])
    _add_parameters(joined.measured, table, load_system(table.system), f"recipe {table.system}")
    for run in runs:
        if run.setup is not None:
            _add_parameters(joined.measured, table, run.setup.system, f"run {run.metrics.model}, {run.recipe}")


def _add_parameters(block: Block, table: PrintedTable, system: System, name: str) -> None:
    for row in table.rows:
        part, key = row.key.split(".")
        value = getattr(system, part).get(key)
        block.add({"name": row.name, "recipe": name, "value": value[0] if isinstance(value, list) else value})


def _miss(joined: Table, row: PrintedRow, system: str, model: str, folder: Path | None) -> None:
    joined.measured.add({"name": row.name}, _own_marks(row))
    trained = [
        place for quick in ("", "-quick") if folder and _is_trained(place := folder / f"{system}{quick}" / model)
    ]
    measure = f"cspine evaluate run {trained[0] if trained else 'RUN'} --set {joined.set_name}"
    if joined.set_name != VALIDATION:
        measure += " --data STUDIES"
    steps = [] if trained else [training_command(system, model)]
    if trained or joined.set_name != VALIDATION:
        steps.append(measure)
    joined.missing[row.name] = ", then ".join(steps)


def _is_trained(place: Path) -> bool:
    """Whether a folder holds a run that ended; what was broken off wants the training command again."""
    try:
        return (place / SETUP_FILE).is_file() and read_run(place).weights.is_file()
    except UserError:  # damaged
        return False


def _own_marks(row: PrintedRow) -> list[str]:
    """Footnotes of a row that only our block has."""
    return [] if row.values else row.footnotes


def _cells(table: PrintedTable, values: dict[str, Any]) -> dict[str, Any]:
    return {column.key: values.get(column.key) for column in table.columns}


def _size(studies: int, images: int) -> str:
    return f"{studies} {'study' if studies == 1 else 'studies'}, {images} {'image' if images == 1 else 'images'}"


def _data(metrics: Metrics) -> str:
    kind = "synthetic" if metrics.data.synthetic else metrics.data.source
    return f"{metrics.data.name}, {kind}: {_size(metrics.data.studies, metrics.data.images)}"


def _title(runs: list[Run], set_name: str) -> str:
    if not runs:
        return f"Measured here, set '{set_name}': nothing yet"
    kinds = {
        synthetic_name(run.metrics.document) if run.metrics.data.synthetic else run.metrics.data.source for run in runs
    }
    return f"Measured here on {' and '.join(sorted(kinds))}, set '{set_name}', with 95 % intervals over studies"
