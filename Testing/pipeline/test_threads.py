from __future__ import annotations

import os

from CSpineFractureLib.pipeline.threads import prepare_process, usable_cores


def test_libraries_get_no_more_threads_than_there_are_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    prepare_process()
    assert 1 <= int(os.environ["OMP_NUM_THREADS"]) == usable_cores() <= (os.cpu_count() or 1)


def test_a_number_the_user_has_set_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    prepare_process()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_numpy_gets_one_thread_for_its_small_products(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    prepare_process()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
