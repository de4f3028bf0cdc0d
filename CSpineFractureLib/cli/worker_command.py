"""``cspine worker``"""

from __future__ import annotations

from typing import Annotated

import typer


def worker(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Run studies as told by JSON lines on stdin, with events on stdout; used by the Slicer module."""
    from CSpineFractureLib.cli.run_command import checked_device
    from CSpineFractureLib.pipeline.worker import main

    main(checked_device(device))
