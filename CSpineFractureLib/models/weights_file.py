"""A network's weights as a safetensors file. No other format is read: pickles can run code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save_file

from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from torch import nn

REINSTALL = "install the weights again with 'cspine models install' or reinstall CSpineFracture"
_LARGEST_HALF = float(torch.finfo(torch.float16).max)


def save_weights(
    model: nn.Module,
    path: str | Path,
    dtype: torch.dtype = torch.float16,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a network's state as safetensors; the file is whole or absent.

    Kernels and matrices are stored as ``dtype`` and become float32 again in use. What has one dimension or none
    (biases, batch-normalisation statistics, which may leave the range of half precision) stays float32; integers stay
    integers.
    ``metadata``: names to strings, kept in the file's header. Raises ValueError when a weight is not finite, UserError
    when the file cannot be written.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            fits = tensor.ndim > 1 and (dtype != torch.float16 or float(tensor.abs().max()) < _LARGEST_HALF)
            tensor = tensor.to(dtype if fits else torch.float32)
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    return save_tensors(tensors, path, metadata)


def save_tensors(tensors: dict[str, torch.Tensor], path: str | Path, metadata: dict[str, str] | None = None) -> Path:
    """Write tensors as safetensors; the file is whole or absent.

    Raises ValueError when a number is not finite, UserError when the file cannot be written.
    """
    path = Path(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            message = f"The weights are damaged: {name} has values that are not finite."
            raise ValueError(message)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        save_file(tensors, temporary, metadata={str(k): str(v) for k, v in (metadata or {}).items()})
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or error
        message = f"{path} could not be written ({cause}): choose a folder you may write to, with enough space."
        raise UserError(message) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return path


def load_weights(model: nn.Module, path: str | Path, remedy: str = REINSTALL) -> nn.Module:
    """Fill a network from a safetensors file, in place; its own precision (float32) is kept.

    Raises UserError when the file is missing, is not whole safetensors, or belongs to another network (names or shapes
    differ), with a ``remedy``; the network is then unchanged.
    """
    return fill_from_bytes(model, read_bytes(path, remedy), path, remedy)


def fill_from_bytes(model: nn.Module, data: bytes, path: str | Path, remedy: str = REINSTALL) -> nn.Module:
    """As ``load_weights``, from the file's bytes (of which a caller may have checked the hash); ``path`` names it."""
    try:
        stored = tensors_from_bytes(data)
    except SafetensorError as error:
        message = f"{path} is damaged or not a safetensors file ({error}): {remedy}."
        raise UserError(message) from error
    wanted = model.state_dict()
    odd = sorted(set(wanted) ^ set(stored))
    if odd:
        message = f"{path} holds another network ({len(odd)} names differ, such as {odd[0]!r}): {remedy}."
        raise UserError(message)
    for name, tensor in stored.items():
        if tensor.shape != wanted[name].shape:
            sizes = f"{list(tensor.shape)} instead of {list(wanted[name].shape)}"
            message = f"{path} holds another network ({name!r} is {sizes}): {remedy}."
            raise UserError(message)
    model.load_state_dict(stored)
    return model


def read_bytes(path: str | Path, remedy: str = REINSTALL) -> bytes:
    """A whole file. Raises UserError when it is missing or cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        message = f"{path} is missing: {remedy}."
        raise UserError(message) from error
    except OSError as error:
        message = f"{path} could not be read ({error.strerror or error}): {remedy}."
        raise UserError(message) from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """The strings of a safetensors header. Raises UserError when it is missing or not whole safetensors."""
    if not Path(path).is_file():
        read_bytes(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        message = f"{path} is damaged or not a safetensors file ({error}): give a .safetensors file of CSpineFracture."
        raise UserError(message) from error


def sha256_of(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
