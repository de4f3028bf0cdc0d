from __future__ import annotations

import threading

import pytest
import torch

from CSpineFractureLib.errors import Cancelled
from CSpineFractureLib.models.batches import run_batches
from CSpineFractureLib.models.crew import Crew


@pytest.fixture
def crew():
    with Crew(2) as crew:
        yield crew


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_two_tasks_run_at_once(crew):
    both = threading.Barrier(2)
    tasks = [crew.start(both.wait, 10) for _ in range(2)]
    assert sorted(task.result() for task in tasks) == [0, 1]


def test_a_crew_of_one_works_in_the_thread_that_asks_and_only_once():
    seen = []
    task = Crew().start(lambda: seen.append(threading.current_thread()))
    assert seen == []
    assert task.result() is task.result() is None
    assert seen == [threading.current_thread()]


def test_what_a_task_raises_comes_to_the_one_who_asks(crew):
    for one in (crew, Crew()):
        with pytest.raises(ZeroDivisionError):
            one.start(lambda: 1 // 0).result()


def test_the_threads_share_those_of_torch_and_give_them_back(two_threads):
    with Crew.of("cpu") as crew:
        assert crew.size == 2
        assert crew.start(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == 2
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [2]


def test_there_is_no_crew_for_one_thread_nor_for_an_accelerator(two_threads):
    assert Crew.of("cuda:0").size == 1
    torch.set_num_threads(1)
    assert Crew.of("cpu").size == 1


def test_batches_of_a_crew_run_at_once_and_their_results_stay_in_order(crew):
    both, seen = threading.Barrier(2), []

    def work(batch, device):
        both.wait(10)
        return [2 * item for item in batch]

    answer = run_batches(work, range(16), 4, crew=crew, on_progress=lambda *done: seen.append(done))
    assert answer == [2 * n for n in range(16)]
    assert seen == [(4, 16), (7, 16), (10, 16), (12, 16), (14, 16), (16, 16)]


def test_progress_and_cancelling_stay_in_the_calling_thread(crew):
    threads, calls = set(), []

    def check():
        threads.add(threading.current_thread())
        if len(calls) >= 4:
            raise Cancelled

    def work(batch, device):
        calls.append(batch)
        return batch

    def told(done, total):
        threads.add(threading.current_thread())

    with pytest.raises(Cancelled):
        run_batches(work, range(100), 2, crew=crew, check_cancelled=check, on_progress=told)
    assert threads == {threading.current_thread()}
    crew.close()
    assert len(calls) < 10


def test_batches_that_need_the_memory_of_two_run_alone(crew):
    room, notices = threading.Semaphore(4), []

    def work(batch, device):
        taken = sum(room.acquire(blocking=False) for _ in batch)
        threading.Event().wait(0.05)
        for _ in range(taken):
            room.release()
        if taken < len(batch):
            raise MemoryError
        return [item + 1 for item in batch]

    assert run_batches(work, range(16), 4, warn=lambda *n: notices.append(n), crew=crew) == list(range(1, 17))
    assert notices == []
