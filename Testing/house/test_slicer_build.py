"""The CMake files stage the module, the library and the resources as Slicer's macros will.

A Slicer build tree is gigabytes, so ``slicer_stand_in/SlicerConfig.cmake`` has the one rule of Slicer's macro that
matters: a file keeps its path relative to the folder of the CMakeLists.txt that names it, and one that does not exist
is fatal (Slicer's SlicerMacroBuildScriptedModule.cmake and CTK's ctkMacroCompilePythonScript.cmake).
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import RESOURCES, TOP, WHERE, run_python

STAND_IN = Path(__file__).parent / "slicer_stand_in"


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that would be ``lib/Slicer-X.Y/qt-scripted-modules``."""
    if importlib.util.find_spec("cmake") is None:
        pytest.skip("the package cmake (extra dev) is not installed")
    from cmake import CMAKE_BIN_DIR

    build = tmp_path_factory.mktemp("build")
    # Nothing is compiled: any program passes for the compilers, so that none is needed.
    settings = [
        f"-D{name}={value}"
        for language in ("C", "CXX")
        for name, value in ((f"CMAKE_{language}_COMPILER", sys.executable), (f"CMAKE_{language}_COMPILER_WORKS", "1"))
    ]
    command = [f"{CMAKE_BIN_DIR}/cmake", "-S", TOP, "-B", build, f"-DSlicer_DIR={STAND_IN}", *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "qt-scripted-modules"


def files_below(folder: Path, pattern: str) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file())
    return {name for name in found if "__pycache__" not in name}


def test_every_python_file_of_the_library_is_staged(staged: Path) -> None:
    assert files_below(staged / "CSpineFractureLib", "*.py") == files_below(TOP / "CSpineFractureLib", "*.py")


def test_every_resource_but_the_screenshots_is_staged(staged: Path) -> None:
    wanted = {name for name in files_below(TOP / "Resources", "*") if not name.startswith("Screenshots/")}
    wanted = {name for name in wanted if not Path(name).name.startswith(".")}
    assert files_below(staged / "Resources", "*") == wanted


def test_the_staged_library_finds_its_resources(staged: Path, tmp_path: Path) -> None:
    package, *resources = run_python(WHERE, cwd=tmp_path, path=staged).split("\n")[:-1]
    assert package == str(staged / "CSpineFractureLib")
    assert resources == [str(staged / "Resources" / name) for name in RESOURCES]


ASK_THE_MODULE = """
import ast, sys
from pathlib import Path
script = Path(sys.argv[1])
wanted = [node for node in ast.parse(script.read_text(encoding="utf-8")).body
          if isinstance(node, ast.FunctionDef) and node.name == "addLibraryToPath"]
scope = {"Path": Path, "sys": sys, "__file__": str(script)}
exec(compile(ast.Module(wanted, []), str(script), "exec"), scope)
sys.path.remove("")  # what -c adds; Slicer adds the folder of the script instead
sys.path.insert(0, str(script.parent))
scope["addLibraryToPath"]()
import CSpineFractureLib
print(CSpineFractureLib.__path__[0])
"""


@pytest.mark.parametrize("place", ["source tree", "build"])
def test_the_module_script_finds_the_library(place: str, staged: Path, tmp_path: Path) -> None:
    """Qt has no wheel, so only the function that extends the path is run, in a Python without the installed package."""
    folder, top = (TOP / "CSpineFracture", TOP) if place == "source tree" else (staged, staged)
    isolated = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; sys.meta_path[:] = "
    isolated += "[f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
    output = run_python(isolated + ASK_THE_MODULE, str(folder / "CSpineFracture.py"), cwd=tmp_path)
    assert output.strip() == str(top / "CSpineFractureLib")


def test_the_extension_is_described_in_lines_the_index_can_read() -> None:
    text = (TOP / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf'^set\(EXTENSION_{name} "[^"]+"\)$', text, re.MULTILINE), name
    urls = re.findall(r'^set\(EXTENSION_(?:ICONURL|SCREENSHOTURLS) "([^"]+)"\)$', text, re.MULTILINE)
    assert [url.rpartition("/main/")[2] for url in urls] == [
        "Resources/Icons/CSpineFracture.png",
        "Resources/Screenshots/overview.png",
    ]


def test_the_module_script_stays_thin() -> None:
    lines = (TOP / "CSpineFracture/CSpineFracture.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100
