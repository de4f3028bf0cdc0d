"""Whether a folder already holds the images that a run asks for."""

from __future__ import annotations

import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.run_images import MADE_FILE, already_made, made_from, note_made


@pytest.fixture
def made(tmp_path):
    return made_from({"classes": "vertebrae", "windows": (500, 2000)}, "phantom", tmp_path / "studies", 3, False)


def test_what_was_made_from_the_same_is_taken_again(made, tmp_path):
    assert not already_made(tmp_path, made)
    note_made(tmp_path, made)
    assert already_made(tmp_path, made)


def test_what_was_made_from_other_data_is_refused(made, tmp_path):
    note_made(tmp_path, made)
    with pytest.raises(UserError, match="holds images of other data or options: delete it"):
        already_made(tmp_path, {**made, "seed": 4})


@pytest.mark.parametrize("content", [b"{data: [", b"\xff\xfe\x00", b""], ids=["broken", "no text", "empty"])
def test_a_damaged_note_is_refused_in_one_sentence(made, tmp_path, content):
    (tmp_path / MADE_FILE).write_bytes(content)
    with pytest.raises(UserError, match="holds a table of other data or options: delete it"):
        already_made(tmp_path, made, "a table")
