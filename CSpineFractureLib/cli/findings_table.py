"""The findings on the console: a table, the warnings, and what the result may be used for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from CSpineFractureLib.findings.result_rows import NOT_ASSESSED, result_rows
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.findings.training_sources import training_sources

RESEARCH_USE_ONLY = "Research use only: not a medical device, never validated on real fractures."


def print_findings(result: StudyResult, paths: Sequence[Path], stream: TextIO) -> None:
    """Print the table of findings, the study's probability, warnings and the files written."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 140)
    table = Table(title=f"Findings (profile {result.profile}, device {result.device})", title_justify="left")
    for name in ("Level", "Visible", "Found with", "Fracture probability", "Assessment"):
        table.add_column(name, overflow="fold")
    for row in result_rows(result):
        finding = row.finding
        found = NOT_ASSESSED if finding is None or row.visible == "no" else f"{finding.confidence:.2f}"
        if row.kind == "level":
            table.add_row(row.level, row.visible, found, row.probability_text, Text(row.assessment))
        else:
            table.add_row(row.level, row.kind, found, "see level", f"{finding.id}, {row.assessment}")
    console.print(table)
    probability = result.study.fracture_probability
    text = NOT_ASSESSED if probability is None else f"{probability:.3f}"
    console.print(f"Fracture anywhere in the assessed levels: probability {text}")
    for notice in result.warnings:
        console.print(f"Warning: {notice.message}", soft_wrap=True)
    if paths:
        console.print("Files written:")
        for path in paths:
            console.print(f"  {path}", soft_wrap=True)
    if sources := training_sources(result):
        console.print(f"The weights were trained on {' and on '.join(sources)}.")
    console.print(RESEARCH_USE_ONLY)
