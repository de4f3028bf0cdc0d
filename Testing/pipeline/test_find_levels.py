"""Why levels are missing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.find_levels import beyond_levels_mm, explain_absence
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.mark.parametrize(
    ("names", "beyond", "told"),
    [
        ("C1 C2 C3 C4 C5 C6 C7", (80, 90), {}),
        ("C1 C2 C3 C4", (80, 10), {"levels-below-missing": "the volume ends there"}),
        ("C1 C2 C3 C4", (80, 95), {"levels-below-missing": "though the scan goes on for 95 mm"}),
        ("C3 C4 C5 C6 C7", (5, 90), {"levels-above-missing": "the volume begins there, so the numbering"}),
        ("C3 C4 C5 C6 C7", (60, 90), {"levels-above-missing": "goes on for 60 mm, so the numbering"}),
        ("C1 C2 C5 C6 C7", (80, 90), {"levels-between-missing": "of C3, C4:"}),
        ("C1 C2 C3", None, {"levels-below-missing": "too little of the levels below, or no further level was"}),
        ("", (0, 0), {"no-cervical-spine": "nothing was assessed"}),
    ],
)
def test_the_reason_is_the_right_one(names, beyond, told):
    context = RunContext()
    explain_absence(names.split(), context, beyond)
    notices = {notice.code: notice.message for notice in context.notices}
    assert notices.keys() == told.keys()
    assert all(words in notices[code] for code, words in told.items())


def test_blank_slices_at_the_ends_do_not_count_as_scan():
    hu = np.full((60, 40, 40), -1024, np.int16)
    hu[5:50, 8:32, 8:32] = 40
    view = CanonicalView.of(CTVolume(hu, np.diag([-1.0, -1.0, 2.0, 1.0])))
    levels = [SimpleNamespace(slab_s=(70.0, 85.0)), SimpleNamespace(slab_s=(55.0, 70.0))]
    assert beyond_levels_mm(levels, view) == (98.0 - 85.0, 55.0 - 10.0)
    assert beyond_levels_mm([], view) == (0.0, 0.0)
