"""Writing a text file so that it is either whole or absent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from CSpineFractureLib.errors import UserError


def write_text_atomically(text: str, path: str | Path) -> None:
    """Write ``text`` (UTF-8, line ends as given) to a temporary file beside ``path``, then rename it.

    Raises ``UserError`` when the file cannot be written; an older file of that name is then left as it was.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        _give_usual_permissions(temporary)
        os.replace(temporary, path)
    except OSError as error:
        message = f"{path} could not be written ({error.strerror or error}): choose a folder you may write to."
        raise UserError(message) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _give_usual_permissions(path: str) -> None:
    """``mkstemp`` makes private files; give this one what ``open`` would have given."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)
