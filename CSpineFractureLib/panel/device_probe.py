"""Asked in a process of its own, for it imports torch: which device will be used, and how much memory is free.

Prints ``{"usable": bool, "text": "..."}``.
"""

from __future__ import annotations

import json
import sys

from CSpineFractureLib.errors import UserError


def probe(device: str) -> dict[str, object]:
    """What the panel's device line says of ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    try:
        from CSpineFractureLib.models.device import choose_device, describe_device

        return {"usable": True, "text": f"Will use {describe_device(choose_device(device))}."}
    except UserError as error:
        return {"usable": False, "text": str(error).replace("--device ", "")}
    except Exception as error:
        return {"usable": False, "text": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1] if len(sys.argv) > 1 else "auto")))
