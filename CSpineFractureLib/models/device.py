"""Which device the networks run on."""

from __future__ import annotations

import torch

from CSpineFractureLib.errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` (or ``cuda:N``) or ``mps``.

    ``auto`` takes CUDA, else MPS, else the CPU, whichever works. Raises UserError for a name that is none of these,
    and for a device that this computer or this build of torch does not have.
    """
    wanted = str(name).strip().lower()
    kind, _, number = wanted.partition(":")
    if kind not in DEVICES or (number and (kind != "cuda" or not number.isdecimal())):
        message = f"--device {name} is not known: use auto, cpu, cuda, cuda:N or mps."
        raise UserError(message)
    if kind == "auto":
        return next((torch.device(kind) for kind in ("cuda", "mps") if _works(kind)), torch.device("cpu"))
    if kind != "cpu" and not _works(kind):
        message = f"--device {name} cannot be used, because {_why_not(kind)}: use --device cpu or --device auto."
        raise UserError(message)
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        message = f"--device {name} is not there; this computer has {count} CUDA device(s), counted from cuda:0."
        raise UserError(message)
    return torch.device(wanted)


def describe_device(device: torch.device | str) -> str:
    """One line for logs: the device, its name and its free memory where torch can tell."""
    device = torch.device(device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{device}: {torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    free = _free_ram()
    memory = "" if free is None else f", {free / 2**30:.1f} GiB of memory free"
    title = "Apple GPU" if device.type == "mps" else f"{torch.get_num_threads()} thread(s)"
    return f"{device}: {title}{memory}"


def _works(kind: str) -> bool:
    if kind == "mps":
        return torch.backends.mps.is_available()
    return torch.cuda.is_available() and torch.cuda.device_count() > 0


def _why_not(kind: str) -> str:
    if kind == "mps":
        return "this computer has no Apple GPU that torch can use"
    if torch.version.cuda is None and torch.version.hip is None:
        return "the installed torch was built without CUDA"
    return "torch finds no CUDA device or driver on this computer"


def _free_ram() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().available
