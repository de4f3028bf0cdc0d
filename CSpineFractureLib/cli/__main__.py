"""``python -m CSpineFractureLib.cli``, the same as ``cspine``."""

from CSpineFractureLib.cli import main

main()
