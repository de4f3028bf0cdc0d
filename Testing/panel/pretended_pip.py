"""A pip that only pretends, in a folder of its own, with the user, the PyTorch extension and the Slicer around it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from CSpineFractureLib.panel import install_plan
from CSpineFractureLib.resources import resource_path


def write_package(site, name, version="", needs=(), module=""):
    """What pip leaves of a package: its code, its metadata and the list of its files."""
    known = [one for one in install_plan.components(resource_path("requirements.txt")) if one.name == name]
    module = module or (known[0].module if known else name.replace("-", "_"))
    if not version:
        version = next(one.version for one in known[0].requirement.specifier if one.operator == ">=")
    entry = site / f"{name.replace('-', '_')}-{version}.dist-info"
    for folder in (site / module, entry):
        folder.mkdir(parents=True, exist_ok=True)
    (site / module / "__init__.py").touch()
    (site / module / "core.so").touch()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    (entry / "METADATA").write_text("\n".join(lines) + "\n")
    files = [f"{module}/__init__.py", f"{module}/core.so", f"{entry.name}/METADATA", f"{entry.name}/RECORD"]
    (entry / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return entry


class Pip:
    """Writes and deletes packages in ``site`` as pip would, and keeps what it was asked."""

    def __init__(self, site):
        self.site, self.calls, self.failing = site, [], ""
        self.needs = {"timm": ["huggingface-hub"]}

    def install(self, arguments, **_options):
        self.calls.append(["install", *arguments])
        options, requirements = set(), []
        arguments = iter(arguments)
        for one in arguments:
            if one in ("-c", "--find-links"):
                next(arguments)
            elif one.startswith("-"):
                options.add(one)
            else:
                requirements.append(Requirement(one))
        for one in requirements:
            if canonicalize_name(one.name) == self.failing:
                raise subprocess.CalledProcessError(1, "pip")
            self.put(one, options)

    def put(self, requirement, options=()):
        there = install_plan.installed_versions([str(self.site)]).get(canonicalize_name(requirement.name))
        satisfied = there is not None and requirement.specifier.contains(there)
        if satisfied and "--ignore-installed" not in options:
            return
        for old in self.entries(requirement.name):
            shutil.rmtree(old)
        write_package(self.site, requirement.name, needs=self.needs.get(requirement.name, ()))
        for name in () if "--no-deps" in options else self.needs.get(requirement.name, ()):
            if not self.entries(name):
                write_package(self.site, name, "1.0")

    def uninstall(self, text, **_options):
        self.calls.append(["uninstall", *text.split()])
        for name in text.split():
            for entry in self.entries(name):
                if not (entry / "RECORD").exists():
                    raise subprocess.CalledProcessError(1, "pip")
                for file in (entry / "RECORD").read_text().split():
                    (self.site / file.split(",")[0]).unlink(missing_ok=True)
                shutil.rmtree(entry)
        for folder in self.site.iterdir():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def entries(self, name):
        start = f"{name.replace('-', '_')}-".lower()
        return [one for one in self.site.glob("*.dist-info") if one.name.lower().startswith(start)]


class Here:
    """An installer on an empty folder, a user who answers, and a pip and a PyTorch extension that only pretend."""

    def __init__(self, slicer, site, record, monkeypatch):
        from CSpineFractureLib.panel.installer import Installer

        self.slicer, self.site, self.record, self.monkeypatch = slicer, site, record, monkeypatch
        self.pip, self.questions, self.answer = Pip(site), [], True
        self.installer = Installer(record, [str(site)])
        monkeypatch.setattr(slicer.util, "pip_install", self.pip.install)
        monkeypatch.setattr(slicer.util, "pip_uninstall", self.pip.uninstall)
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", self.ask)
        monkeypatch.delitem(sys.modules, "torch", raising=False)

    def ask(self, text, windowTitle=None):
        self.questions.append(text)
        return self.answer

    def has_new_packaging(self):
        """Slicer 5.12: ``pip_ensure`` leaves alone what is satisfied."""
        self.ensured = []

        def pip_ensure(requirements, constraints=None, prompt_install=True, prompt_restart=True, requester=None):
            assert not prompt_install, "the user was asked already"
            self.ensured.append((requirements, Path(constraints).read_text()))
            for one in requirements:
                self.pip.put(Requirement(one))

        module = types.ModuleType("slicer.packaging")
        module.pip_ensure = pip_ensure
        self.monkeypatch.setitem(sys.modules, "slicer.packaging", module)

    def has_extension(self, install=None):
        """The PyTorch extension, with this function to install torch."""
        self.torch_asked = []

        def usual(self_, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            self.torch_asked.append((askConfirmation, torchVersionRequirement))
            for text in install_plan.TORCH:
                self.pip.put(Requirement(text))

        module = types.ModuleType("PyTorchUtils")
        module.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": install or usual})
        self.monkeypatch.setitem(sys.modules, "PyTorchUtils", module)

    def put(self, *names):
        for name in names:
            write_package(self.site, name)

    def needed(self):
        return [state.component.name for state in self.installer.plan().needed]
