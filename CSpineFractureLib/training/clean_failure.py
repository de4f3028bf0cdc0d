"""What fails before anything is learnt leaves the disk as it was: no empty folders, no description of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from CSpineFractureLib.training.run_folder import RunFolder, Setup


@contextlib.contextmanager
def no_empty_folders(path: Path) -> Iterator[None]:
    """Where the block fails, ``path`` and the folders above it go if they are empty and were not there before."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # of the first that is not empty
            for folder in made:
                if folder.exists():
                    folder.rmdir()
        raise


@contextlib.contextmanager
def nothing_unless_begun(path: Path, setup: Setup) -> Iterator[None]:
    """Where the block fails and the run in ``path`` has nothing to go on from, all goes that was not there before."""
    before = set(path.rglob("*"))
    with no_empty_folders(path):
        try:
            yield
        except BaseException:
            if not RunFolder(path, setup).is_begun:
                _remove_all_but(before, path)
            raise


def _remove_all_but(kept: set[Path], folder: Path) -> None:
    """Remove what ``folder`` holds besides ``kept``; what cannot be removed stays."""
    for path in sorted(set(folder.rglob("*")) - kept, reverse=True):  # a folder comes after what it holds
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
