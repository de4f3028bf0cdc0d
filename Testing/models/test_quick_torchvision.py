"""torchvision without torch's compiler, until that is asked for; in processes of their own, for imports stay."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT = """
import sys
from CSpineFractureLib.models.quick_torchvision import import_torchvision
torchvision = import_torchvision()
import torch
"""
QUICK = """
assert torchvision is sys.modules["torchvision"]
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
assert torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]
"""
LATER = """
from torchvision.ops.roi_align import is_compile_supported
import torch._dynamo.utils
assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
"""
OTHERS = """
import sys, types
import torch
from CSpineFractureLib.models import quick_torchvision
asked = {}
def needs_more(name):
    import torch._dynamo.utils
    from torch._dynamo.utils import is_compile_supported, counters
    asked["counters"] = counters
    return types.ModuleType(name)
real = quick_torchvision.importlib.import_module
quick_torchvision.importlib = types.SimpleNamespace(
    import_module=lambda name: needs_more(name) if name == "torchvision" else real(name)
)
quick_torchvision.import_torchvision()
import torch._dynamo.utils
assert asked["counters"] is torch._dynamo.utils.counters
"""


@pytest.mark.parametrize("code", [IMPORT + QUICK, IMPORT + LATER, OTHERS], ids=["quick", "later", "more than expected"])
def test_torchvision_comes_without_the_compiler_which_comes_when_asked_for(code):
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
