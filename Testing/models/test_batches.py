from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.errors import Cancelled
from CSpineFractureLib.models.batches import is_out_of_memory, run_batches
from CSpineFractureLib.models.crew import Crew


class Machine:
    """Doubles numbers; the accelerator ``tight`` holds ``room`` items at a time, the CPU ``cpu_room``."""

    def __init__(self, room: int, cpu_room: int = 10**9, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room, self.cpu_room, self.error, self.calls = room, cpu_room, error, []

    def __call__(self, batch, device):
        self.calls.append((len(batch), device))
        if len(batch) > (self.cpu_room if device == "cpu" else self.room):
            message = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise self.error(message)
        return [2 * item for item in batch]


def run(machine, items, size, device="tight", **options):
    notices = []
    answer = run_batches(machine, items, size, device, warn=lambda *notice: notices.append(notice), **options)
    return answer, [code for code, _ in notices]


def test_results_come_in_order_one_per_item():
    machine = Machine(room=4)
    assert run(machine, list(range(10)), 4) == ([2 * n for n in range(10)], [])
    assert machine.calls == [(4, "tight"), (4, "tight"), (2, "tight")]


@pytest.mark.parametrize(
    ("count", "sizes"), [(40, [8, 8, 6, 5, 4, 3, 2, 2, 2]), (8, [2, 2, 2, 2]), (3, [2, 1]), (1, [1])]
)
def test_the_last_batches_of_two_streams_are_small_so_that_neither_waits_long(count, sizes):
    machine = Machine(room=8)
    with Crew(2) as crew:
        answer = run(machine, list(range(count)), 8, "cpu", crew=crew)
    assert answer == ([2 * n for n in range(count)], [])
    assert sorted((size for size, _ in machine.calls), reverse=True) == sizes


def test_no_items_need_no_call():
    machine = Machine(room=4)
    assert run(machine, [], 4) == ([], [])
    assert machine.calls == []


def test_arrays_and_tensors_are_taken_apart():
    items = [np.full(3, n) for n in range(5)]
    answer = run_batches(lambda batch, device: np.stack(batch) + 1, items, 2)
    assert [one.tolist() for one in answer] == [[n + 1] * 3 for n in range(5)]
    assert len(run_batches(lambda batch, device: torch.zeros(len(batch), 2), items, 2)) == 5


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_batch_is_halved_until_it_fits_and_stays_small(error):
    machine = Machine(room=2, error=error)
    assert run(machine, list(range(9)), 8) == ([2 * n for n in range(9)], ["batch-halved"])
    assert [size for size, _ in machine.calls] == [8, 4, 2, 2, 2, 2, 1]


def test_the_cpu_goes_on_where_the_accelerator_stopped_when_not_one_item_fits():
    machine = Machine(room=0)
    assert run(machine, list(range(5)), 4) == ([2 * n for n in range(5)], ["batch-halved", "moved-to-cpu"])
    assert machine.calls == [(4, "tight"), (2, "tight"), (1, "tight"), (4, "cpu"), (1, "cpu")]


def test_finished_items_are_not_run_again_on_the_cpu():
    class Shrinking(Machine):
        def __call__(self, batch, device):
            answer = super().__call__(batch, device)
            self.room = 0
            return answer

    machine = Shrinking(room=2)
    assert run(machine, list(range(5)), 2)[0] == [0, 2, 4, 6, 8]
    assert machine.calls == [(2, "tight"), (2, "tight"), (1, "tight"), (2, "cpu"), (1, "cpu")]


def test_a_single_item_too_large_for_the_cpu_ends_it():
    with pytest.raises(MemoryError, match="single item"):
        run(Machine(room=0, cpu_room=0), [1, 2], 2)


def test_an_allocation_that_torch_cannot_make_on_the_cpu_counts_as_too_little_memory():
    sizes = []

    def allocate(batch, device):
        sizes.append(len(batch))
        torch.empty(10**15 if len(batch) > 1 else 1)
        return batch

    assert run_batches(allocate, [1, 2, 3, 4], 4) == [1, 2, 3, 4]
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_other_errors_are_not_swallowed():
    def broken(batch, device):
        message = "mat1 and mat2 shapes cannot be multiplied"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="mat1"):
        run_batches(broken, [1], 1)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2"))


def test_cancel_stops_between_batches():
    machine, asked = Machine(room=2), []

    def check():
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(machine, list(range(10)), 2, check_cancelled=check)
    assert len(machine.calls) == 2


def test_progress_counts_items_and_ends_at_the_total():
    seen = []
    run(Machine(room=2), list(range(5)), 4, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_function_that_forgets_items_is_found_out():
    with pytest.raises(ValueError, match="1 results for 2 items"):
        run_batches(lambda batch, device: batch[:1], [1, 2], 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_that_is_too_small_hands_over_to_the_cpu():
    total = torch.cuda.mem_get_info()[1]

    def work(batch, device):
        if device != "cpu":
            torch.empty(total // 2 * len(batch) + total // 3 * 2, dtype=torch.uint8, device=device)
        return [str(torch.zeros(1, device=device).device)] * len(batch)

    answer, codes = run(work, [1, 2, 3], 2, "cuda")
    assert answer == ["cpu"] * 3
    assert codes == ["batch-halved", "moved-to-cpu"]
