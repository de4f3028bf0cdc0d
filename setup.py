"""Only what pyproject.toml cannot say: the wheel carries the top-level Resources folder inside the package."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).resolve().parent
NOT_IN_THE_WHEEL = {"Screenshots"}


def resource_files() -> list[Path]:
    """The files under Resources that a wheel needs, relative to the top."""
    files = (path.relative_to(TOP) for path in sorted((TOP / "Resources").rglob("*")) if path.is_file())
    return [path for path in files if path.parts[1] not in NOT_IN_THE_WHEEL and not path.name.startswith(".")]


class BuildWithResources(build_py):
    """Copies Resources to CSpineFractureLib/Resources; an editable install finds them beside the package instead."""

    def _copies(self) -> dict[Path, Path]:
        package = Path(self.build_lib) / "CSpineFractureLib"
        return {TOP / path: package / path for path in resource_files()}

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source, target in self._copies().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, *args: object, **kwargs: object) -> list[str]:
        copies = [] if self.editable_mode else [str(target) for target in self._copies().values()]
        return [*super().get_outputs(*args, **kwargs), *copies]


setup(cmdclass={"build_py": BuildWithResources})
