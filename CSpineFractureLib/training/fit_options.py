"""How a training run uses the computer; nothing here changes what is trained."""

from __future__ import annotations

from dataclasses import dataclass

from CSpineFractureLib.errors import UserError

PRECISIONS = ("32", "16-mixed", "bf16-mixed")


@dataclass(frozen=True)
class FitOptions:
    """Device (auto, cpu, cuda, mps), number of GPUs, arithmetic and loader processes of a training run."""

    device: str = "auto"
    devices: int = 1
    precision: str = "32"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            message = f"--precision {self.precision} is not known: use one of {', '.join(PRECISIONS)}."
            raise UserError(message)
        if self.devices > 1 and not self.device.startswith(("cuda", "auto")):
            message = f"--gpus {self.devices} needs --device cuda."
            raise UserError(message)
