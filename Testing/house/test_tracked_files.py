"""What may be in the repository: small files, no absolute paths of one machine, code of readable length."""

from __future__ import annotations

import re

import pytest
from places import TOP, tracked_files

#: Weights are the only large files; their total is bounded too.
MODELS = TOP / "Resources/Models"
LARGEST_BYTES = 2 * 1024**2
WEIGHTS_BYTES = 28 * 1024**2

#: A path below the root of one developer's machine, written out.
ONE_MACHINE = re.compile(
    rb"(?<![\w.~/$}>-])/(?:work|tmp|home|root|Users|mnt|opt)/[\w.-]+|[A-Z]:\\\\?Users\\|file:///(?!path)", re.IGNORECASE
)
#: Files that may name such a path: with the reason.
MAY_NAME_PATHS = {
    "Testing/house/test_tracked_files.py": "holds the pattern itself",
}


@pytest.fixture(scope="module")
def files() -> list:
    found = tracked_files()
    if not found:
        pytest.skip("not a git repository: there is no list of tracked files")
    return found


def test_no_tracked_file_but_weights_is_large(files) -> None:
    large = {
        p.relative_to(TOP).as_posix() for p in files if p.stat().st_size > LARGEST_BYTES and MODELS not in p.parents
    }
    assert large == set()


def test_all_weights_together_stay_below_their_bound(files) -> None:
    assert sum(path.stat().st_size for path in files if MODELS in path.parents) <= WEIGHTS_BYTES


def test_no_tracked_file_names_a_path_of_one_machine(files) -> None:
    named = {}
    for path in files:
        name = path.relative_to(TOP).as_posix()
        content = path.read_bytes()
        if name in MAY_NAME_PATHS or b"\0" in content[:8192]:
            continue
        hits = {hit.decode(errors="replace") for hit in ONE_MACHINE.findall(content)}
        if hits:
            named[name] = sorted(hits)
    assert named == {}


def test_no_python_file_is_longer_than_four_hundred_lines(files) -> None:
    lengths = {p.relative_to(TOP).as_posix(): len(p.read_bytes().splitlines()) for p in files if p.suffix == ".py"}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_text_files_end_their_lines_with_lf(files) -> None:
    kinds = {".py", ".md", ".txt", ".toml", ".ui", ".json", ".cmake", ".sh"}
    assert [p.relative_to(TOP).as_posix() for p in files if p.suffix in kinds and b"\r\n" in p.read_bytes()] == []
