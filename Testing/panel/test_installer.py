"""Installing and removing packages: a made-up pip writes into a folder of its own, and the real code looks there."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")

from pretended_pip import Here, write_package

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel import install_plan
from CSpineFractureLib.panel.install_plan import Condition, Fault
from CSpineFractureLib.resources import resource_path

TOP = Path(__file__).resolve().parents[2]
ALL = [one.name for one in install_plan.components(resource_path("requirements.txt"))]
PACKAGES = [name for name in ALL if not name.startswith("torch")]


@pytest.fixture
def here(slicer_program, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    return Here(slicer_program, tmp_path / "site", tmp_path / "settings" / "packages.json", monkeypatch)


def test_the_list_has_bounds_and_nothing_that_slicer_has_or_the_extension_installs():
    text = resource_path("requirements.txt").read_text(encoding="utf-8")
    listed = {one.name: one for one in map(Requirement, [ln for ln in text.splitlines() if not ln.startswith("#")])}
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {canonicalize_name(one.name): one for one in map(Requirement, project["dependencies"])}
    assert not {"torch", "torchvision", "slicer-core", "vtk", "SimpleITK", "numpy", "scipy", "opencv-python"} & set(
        listed
    )
    for name, one in listed.items():
        operators = {part.operator: part.version for part in one.specifier}
        assert set(operators) == {">=", "<"}, name
        assert str(wanted[canonicalize_name(name)].specifier) == f">={operators['>=']}"
    for text in install_plan.TORCH:
        assert str(wanted[Requirement(text).name].specifier) == str(Requirement(text).specifier)


def test_where_everything_is_there_nothing_is_offered(here):
    here.put(*ALL)
    assert "nothing was installed" in here.installer.install()
    assert (here.questions, here.pip.calls) == ([], [])


def test_the_user_is_asked_once_with_sizes_and_licences_and_a_no_installs_nothing(here):
    here.answer = False
    assert here.installer.install() == "Nothing was installed."
    (question,) = here.questions
    for name in ALL:
        assert f"• {name}: " in question
    assert "torch: 0.7-5.3 GB, licence BSD-3-Clause" in question
    assert "ultralytics-opencv-headless: 400 MB, licence AGPL-3.0" in question
    assert "must give them the source code" in question
    assert here.pip.calls == []
    assert here.needed() == ALL
    assert not here.record.exists()


def test_only_what_is_missing_is_asked_for(here):
    here.put(*(name for name in ALL if name != "timm"))
    here.installer.install()
    assert "timm" in here.questions[0]
    assert "AGPL" not in here.questions[0]
    assert here.pip.calls[0][-1].startswith("timm<2,>=1.0.15")


def test_a_new_slicer_ensures_and_slicers_own_packages_are_held(here):
    here.has_extension()
    here.has_new_packaging()
    write_package(here.site, "numpy", "2.4.6")
    assert here.installer.install() == "Installed. Everything is there."
    assert here.torch_asked == [(False, ">=2.2")]
    ((requirements, constraints),) = here.ensured
    assert [Requirement(one).name for one in requirements] == PACKAGES
    assert constraints.splitlines() == ["numpy==2.4.6", "torch==2.2", "torchvision==0.17"]
    assert here.pip.calls == []
    assert len(here.questions) == 1


def test_an_older_slicer_without_packaging_installs_too(here):
    here.has_extension()
    assert here.installer.install() == "Installed. Everything is there."
    (call,) = here.pip.calls
    assert call[:2] == ["install", "-c"]
    assert [Requirement(one).name for one in call[3:]] == PACKAGES


@pytest.mark.parametrize("spelling", ["torchvisionVersionRequirement", "torchVisionVersionRequirement"])
def test_the_extension_gets_the_keywords_that_it_takes(here, spelling):
    got = {}
    pip = here.pip
    scope = {"got": got, "put": lambda: [pip.put(Requirement(text)) for text in install_plan.TORCH]}
    exec(f"def install(self, askConfirmation=False, {spelling}=None):\n got.update(locals())\n put()", scope)
    here.has_extension(scope["install"])
    here.installer.install()
    assert {name: value for name, value in got.items() if name != "self"} == {
        "askConfirmation": False,
        spelling: ">=0.17",
    }


def test_an_extension_of_long_ago_that_takes_no_keyword_will_do(here):
    here.has_extension(lambda self: [here.pip.put(Requirement(text)) for text in install_plan.TORCH])
    assert here.installer.install() == "Installed. Everything is there."


def test_without_the_extension_the_remedy_is_told_and_the_rest_is_left_out(here):
    here.monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(UserError, match="Extensions Manager"):
        here.installer.install()
    assert here.pip.calls == []


def test_where_torch_was_not_installed_pip_brings_none_along(here):
    here.has_extension(lambda self: None)
    with pytest.raises(UserError, match="torch was not installed"):
        here.installer.install()
    assert here.pip.calls == []


def half_namespace(site, entry):
    """The code was never written: ``torch`` is imported as an empty namespace package."""
    (site / "torch" / "__init__.py").unlink()


def half_no_code(site, entry):
    shutil.rmtree(site / "torch")


def half_no_record(site, entry):
    (entry / "RECORD").unlink()


def half_files_lost(site, entry):
    (site / "torch" / "core.so").unlink()


def half_no_entry(site, entry):
    shutil.rmtree(entry)


def half_folder_alone(site, entry):
    shutil.rmtree(entry)
    (site / "torch" / "__init__.py").unlink()


HALF = {
    half_namespace: Fault.EMPTY_FOLDER,
    half_no_code: Fault.NO_CODE,
    half_no_record: Fault.NO_RECORD,
    half_files_lost: Fault.FILES_LOST,
    half_no_entry: Fault.NOT_LISTED,
    half_folder_alone: Fault.EMPTY_FOLDER,
}


@pytest.mark.parametrize("damage", HALF, ids=lambda damage: damage.__name__)
def test_a_torch_installed_by_halves_is_recognised_explained_and_replaced(here, damage):
    here.put(*ALL)
    damage(here.site, next(here.site.glob("torch-*.dist-info")))
    (state,) = here.installer.plan().needed
    assert (state.component.name, state.condition, state.fault) == ("torch", Condition.BROKEN, HALF[damage])
    here.has_extension()
    if damage is half_no_record:
        with pytest.raises(UserError, match=r"pip cannot remove it: close Slicer, delete .*torch-2\.2\.dist-info"):
            here.installer.install()
        assert here.torch_asked == []
        shutil.rmtree(state.entry)
    assert here.installer.install() == "Installed. Everything is there."
    assert "torch: 0.7-5.3 GB, licence BSD-3-Clause (installed only in part: " in here.questions[0]
    assert here.pip.calls[0] == ["uninstall", "torch", "torchvision"]


def test_a_torch_by_halves_that_is_in_use_needs_a_restart_first(here):
    here.put(*ALL)
    half_files_lost(here.site, None)
    here.monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    with pytest.raises(UserError, match="restart Slicer"):
        here.installer.install()
    assert here.pip.calls == []


def test_a_torchvision_made_for_another_torch_is_recognised(here):
    here.put(*(name for name in ALL if name != "torchvision"))
    write_package(here.site, "torchvision", "0.17", needs=["torch (==2.9.0)"])
    (state,) = here.installer.plan().needed
    assert (state.component.name, state.fault) == ("torchvision", Fault.OTHER_TORCH)


def test_another_package_by_halves_is_put_there_again_without_its_dependencies(here):
    here.put(*ALL)
    half_files = next(here.site.glob("timm-*.dist-info"))
    (half_files / "RECORD").unlink()
    assert here.installer.install() == "Installed. Everything is there."
    again = here.pip.calls[1]
    assert again[1:3] == ["--ignore-installed", "--no-deps"]
    assert Requirement(again[3]).name == "timm"


def test_a_package_that_is_too_old_is_replaced_and_a_restart_asked_for_where_it_is_in_use(here):
    here.put(*(name for name in ALL if name != "psutil"))
    write_package(here.site, "psutil", "5.0")
    (state,) = here.installer.plan().needed
    assert (state.condition, state.version) == (Condition.OTHER_VERSION, "5.0")
    import psutil  # noqa: F401, so that it is in use

    assert here.installer.install() == "Installed. Restart Slicer now: it still uses the earlier psutil."
    assert "psutil: 1 MB, licence BSD-3-Clause (instead of 5.0)" in here.questions[0]


def test_a_folder_of_wheels_is_enough_without_the_internet(here, tmp_path):
    here.has_new_packaging()
    wheels = tmp_path / "from a colleague"
    wheels.mkdir()
    with pytest.raises(UserError, match="holds no wheels"):
        here.installer.install(wheels)
    assert here.questions == []
    (wheels / "timm-1.0.15-py3-none-any.whl").touch()
    assert here.installer.install(wheels) == "Installed. Everything is there."
    assert str(wheels) in here.questions[0]
    assert here.ensured == []
    assert [call[1:4] for call in here.pip.calls] == [["--no-index", "--find-links", str(wheels)]] * 2
    assert here.pip.calls[0][4:] == list(install_plan.TORCH)


def test_removal_removes_what_was_installed_from_here_and_nothing_else(here):
    here.has_extension()
    here.put("highdicom", "PyYAML")
    write_package(here.site, "numpy", "2.4.6")
    here.installer.install()
    new = {canonicalize_name(name) for name in ALL} - {"highdicom", "pyyaml"} | {"huggingface-hub"}
    assert set(here.installer.recorded()) == new
    here.answer = False
    assert here.installer.remove() == "Nothing was removed."
    here.answer = True
    assert here.installer.remove() == "Removed."
    assert set(here.pip.calls[-1][1:]) == new
    assert set(install_plan.installed_versions([str(here.site)])) == {"highdicom", "pyyaml", "numpy"}
    assert not here.record.exists()
    assert "can be removed" in here.installer.remove()


def test_what_another_package_needs_by_now_stays_with_what_it_needs_itself(here):
    here.has_extension()
    here.installer.install()
    write_package(here.site, "nnunet", "2.0", needs=["timm>=1"])
    assert here.installer.remove() == "Removed."
    left = set(install_plan.installed_versions([str(here.site)]))
    assert left == {"nnunet", "timm", "huggingface-hub"}
    assert set(here.installer.recorded()) == {"timm", "huggingface-hub"}


def test_what_was_installed_before_pip_failed_is_remembered(here):
    here.has_extension()
    here.pip.failing = "timm"
    with pytest.raises(UserError, match="check network and free disk space"):
        here.installer.install()
    assert set(here.installer.recorded()) == {canonicalize_name(name) for name in ALL if name != "timm"}


def test_a_damaged_record_removes_nothing(here):
    here.put(*ALL)
    here.record.parent.mkdir()
    here.record.write_text("{", encoding="utf-8")
    assert "can be removed" in here.installer.remove()
    assert here.pip.calls == []


def test_pip_is_never_run_off_the_main_thread(here):
    caught = []

    def work():
        try:
            here.installer.install()
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == ["Packages are installed on the main thread alone."]
    assert here.questions == []


def test_the_panel_opens_where_none_of_the_packages_is_installed(tmp_path):
    listed = install_plan.components(resource_path("requirements.txt"))
    blocked = {one.module for one in listed} | {"cv2"}
    program = f"""
import sys
sys.path[:0] = {[str(TOP / "Testing/panel/qt_stand_in"), str(TOP)]!r}
import stand_in
stand_in.start()
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
for name in [name for name in sys.modules if name.partition(".")[0] in {blocked!r}]:
    del sys.modules[name]
sys.meta_path.insert(0, NotInstalled())
from CSpineFractureLib.panel.self_test_panel import OpenPanel
import slicer
with OpenPanel(slicer.mrmlScene) as opened:
    print(opened.ui.setupLabel.text)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]


def test_no_code_runs_pip_when_it_is_imported():
    for name in ("installer", "install_plan", "install_text", "install_record", "setup_panel"):
        tree = ast.parse((TOP / f"CSpineFractureLib/panel/{name}.py").read_text(encoding="utf-8"))
        allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.Expr)
        assert all(isinstance(node, allowed) for node in tree.body), name
        assert all(isinstance(node.value, ast.Constant) for node in tree.body if isinstance(node, ast.Expr)), name


@pytest.fixture
def section(here, a_panel):
    """The section "Setup" of an open panel, on the empty folder."""
    from CSpineFractureLib.panel.setup_panel import SetupPanel

    a_panel.changes, a_panel.here = [], here
    a_panel.setup = SetupPanel(
        a_panel.ui, lambda: a_panel.changes.append(1), here.installer, lambda parent: str(here.site.parent / "wheels")
    )
    return a_panel


def test_the_section_unfolds_by_itself_only_where_something_is_missing(section):
    ui = section.ui
    ui.setupCollapsibleButton.collapsed = True
    section.here.put(*ALL)
    section.setup.open_where_needed()
    assert ui.setupCollapsibleButton.collapsed
    shutil.rmtree(section.here.site / "timm")
    section.setup.open_where_needed()
    assert not ui.setupCollapsibleButton.collapsed
    assert "✗ timm: installed only in part, pip lists it but its code is gone" in ui.setupLabel.text


def test_the_section_names_each_package_and_its_buttons_follow(section):
    ui, here = section.ui, section.here
    here.has_extension()
    section.setup.refresh()
    assert ui.setupLabel.text.splitlines() == [f"– {name}: not installed" for name in ALL]
    assert (ui.installButton.enabled, ui.removeButton.enabled) == (True, False)
    section.setup._run(here.installer.install)
    assert ui.setupStatus.text == "Installed. Everything is there."
    assert ui.setupLabel.text.splitlines()[0] == "✓ torch 2.2"
    assert (ui.installButton.enabled, ui.installFolderButton.enabled, ui.removeButton.enabled) == (False, False, True)
    assert section.changes == [1]
    section.setup._run(here.installer.install)
    assert section.changes == [1]


def test_a_failure_is_told_in_the_section(section):
    section.here.put("torch", "torchvision")
    section.setup._on_install_folder()
    assert "holds no wheels" in section.ui.setupStatus.text
    assert section.changes == []
