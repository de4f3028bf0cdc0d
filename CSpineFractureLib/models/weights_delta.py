"""What a further training changed in a network, as a safetensors file a seventh the size of its weights.

Weights change little in a further training, and the change bears being rounded: Liu et al. (BitDelta, NeurIPS 2024)
keep one bit of each change. Here it is two, a sign and which of two sizes that each output channel has of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.weights_file import REINSTALL, save_tensors

if TYPE_CHECKING:
    from torch import nn

CODES, SIZES = ".codes", ".sizes"
PACKED = 4
"""Weights in a byte."""
ROUNDS = 20
"""Of Lloyd's method (IEEE Trans. Inf. Theory 1982), which finds the two sizes of a channel."""


def write_delta(model: nn.Module, base: nn.Module, path: str | Path) -> Path:
    """Write how ``model`` differs from ``base``, the same network before; the file is whole or absent.

    Kernels and matrices ``[out, ...]`` become ``NAME.codes`` (uint8, four weights in a byte, the first in the lowest
    bits) and ``NAME.sizes`` (float32 ``[out, 2]``); what has one dimension or none is kept as ``model`` has it. Raises
    ValueError when the networks differ or a weight is not finite, UserError when the file cannot be written.
    """
    before, tensors = base.state_dict(), {}
    if {name: one.shape for name, one in before.items()} != {n: one.shape for n, one in model.state_dict().items()}:
        message = "A delta needs the same network twice: names or shapes differ."
        raise ValueError(message)
    for name, tensor in model.state_dict().items():
        if tensor.ndim < 2:
            tensors[name] = tensor.detach().cpu()
        else:
            codes, sizes = _coded((tensor - before[name]).detach().cpu().float().flatten(1))
            tensors[name + CODES], tensors[name + SIZES] = codes, sizes
    return save_tensors(tensors, path)


def add_delta(model: nn.Module, data: bytes, path: str | Path) -> nn.Module:
    """Change ``model``, which holds the weights before, as the bytes of a file of ``write_delta`` say.

    ``path`` names the file. Raises UserError when it is damaged or belongs to another network; the network is then
    unchanged.
    """
    try:
        stored = tensors_from_bytes(data)
    except SafetensorError as error:
        message = f"{path} is damaged or not a safetensors file ({error}): {REINSTALL}."
        raise UserError(message) from error
    state = {name: one.clone() for name, one in model.state_dict().items()}
    wanted = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            wanted[name] = tuple(tensor.shape)
        else:
            wanted[name + CODES], wanted[name + SIZES] = (-(-tensor.numel() // PACKED),), (len(tensor), 2)
    if {name: tuple(one.shape) for name, one in stored.items()} != wanted:
        message = f"{path} holds changes of another network (names or shapes differ): {REINSTALL}."
        raise UserError(message)
    for name, tensor in state.items():
        if tensor.ndim < 2:
            state[name] = stored[name]
        else:
            rows = tensor.flatten(1).shape
            state[name] = tensor + _decoded(stored[name + CODES], stored[name + SIZES], rows).view_as(tensor)
    model.load_state_dict(state)
    return model


def _coded(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = change.abs()
    small, large = size.quantile(0.3, dim=1, keepdim=True), size.quantile(0.85, dim=1, keepdim=True)
    for _ in range(ROUNDS):
        is_large = size > (small + large) / 2
        large = (size * is_large).sum(1, keepdim=True) / is_large.sum(1, keepdim=True).clamp(min=1)
        small = (size * ~is_large).sum(1, keepdim=True) / (~is_large).sum(1, keepdim=True).clamp(min=1)
    codes = ((change < 0).to(torch.uint8) + 2 * (size > (small + large) / 2).to(torch.uint8)).flatten()
    codes = torch.nn.functional.pad(codes, (0, -len(codes) % PACKED)).view(-1, PACKED)
    packed = sum(codes[:, place] << (2 * place) for place in range(PACKED))
    return packed.to(torch.uint8), torch.cat([small, large], dim=1)


def _decoded(packed: torch.Tensor, sizes: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    codes = torch.stack([(packed >> (2 * place)) & 3 for place in range(PACKED)], dim=1).flatten()
    codes = codes[: shape.numel()].view(shape).long()
    return sizes.float().gather(1, codes >> 1) * (1 - 2 * (codes & 1))
