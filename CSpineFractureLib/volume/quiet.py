"""Keep the chatter of ITK, GDCM and pydicom off the user's stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

import SimpleITK as sitk
from pydicom import config as pydicom_config


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block ITK, GDCM and pydicom warn nobody; errors still raise.

    Some C readers print to file descriptor 2 themselves (niftilib, MetaIO, GDCM), so that descriptor goes to a
    scratch file for the while, where the platform allows it.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    display = sitk.ProcessObject.GetGlobalWarningDisplay()
    with warnings.catch_warnings(), pydicom_config.disable_value_validation(), _native_stderr_away():
        warnings.simplefilter("ignore")
        log.setLevel(logging.CRITICAL)
        sitk.ProcessObject.GlobalWarningDisplayOff()
        try:
            yield
        finally:
            log.setLevel(level)
            sitk.ProcessObject.SetGlobalWarningDisplay(display)


@contextlib.contextmanager
def _native_stderr_away() -> Iterator[None]:
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):  # no descriptor 2: a windowed program
        yield
        return
    try:
        with tempfile.TemporaryFile() as scratch:
            os.dup2(scratch.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
    finally:
        os.close(kept)
