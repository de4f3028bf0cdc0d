"""Showing progress events: bars on a terminal, plain lines elsewhere, JSON lines where asked."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

Event = dict[str, Any]
EVERY_SECONDS = 30.0


@contextmanager
def shown_progress(kind: str, json_stream: TextIO) -> Iterator[Callable[[Event], None]]:
    """Yield the function that shows an event. ``kind``: ``"json"`` (lines on ``json_stream``) or ``"auto"``."""
    if kind == "json":
        yield lambda event: print(json.dumps(event, ensure_ascii=False), file=json_stream, flush=True)
    elif sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _PlainLines()


class _PlainLines:
    """A line at the start of each stage and every ``EVERY_SECONDS`` of a long one, on stderr: fit for log files."""

    def __init__(self) -> None:
        self._stage: str | None = None
        self._said = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        begins = event["stage"] != self._stage
        if begins or now - self._said >= EVERY_SECONDS:
            counted = "" if begins or not event["total"] else f" {event['done']} of {event['total']}"
            print(f"{event['message'] or event['stage']} ...{counted}", file=sys.stderr, flush=True)
            self._stage, self._said = event["stage"], now


@contextmanager
def _bars() -> Iterator[Callable[[Event], None]]:
    """One bar a stage on stderr, with count and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as progress:
        tasks: dict[str, Any] = {}

        def show(event: Event) -> None:
            stage = event["stage"]
            total = event["total"] or None
            if stage not in tasks:
                tasks[stage] = progress.add_task(event["message"] or stage, total=total)
            progress.update(tasks[stage], completed=event["done"], total=total, description=event["message"] or stage)

        yield show
