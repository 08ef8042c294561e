"""Half precision that overflows is done again in full, and memory that runs out makes batches smaller."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from heads import one_sentence

from pipeline.devices import MOST_FRAMES, Runtime, free_memory, on_processor
from pipeline.errors import InputError, WeightsError


def ones(part: slice) -> torch.Tensor:
    """A row a frame, with the frame's number in it."""
    return torch.arange(part.start, part.stop, dtype=torch.float32)[:, None, None] * torch.ones(1, 3, 2)


class TooBright(torch.nn.Module):
    """A layer whose sum is beyond half precision's 65,504 for frames that are bright."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 3, bias=False)
        torch.nn.init.constant_(self.layer.weight, 40.0)
        self.kinds: list[tuple[torch.dtype, int]] = []

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        out = self.layer(frames)
        self.kinds.append((out.dtype, len(frames)))
        return out / 40


def test_only_the_frame_that_overflows_is_computed_again_in_full():
    network, frames = TooBright(), torch.ones(5, 64)
    frames[3] = 50  # 64 * 40 * 50 = 128,000
    runtime = Runtime(dtype=torch.float16)
    (made,) = runtime.run(5, 1, lambda part: network(frames[part]))
    assert made.dtype == torch.float32
    assert network.kinds == [(torch.float16, 5), (torch.float32, 1)]
    torch.testing.assert_close(made[:, 0], torch.tensor([64.0, 64, 64, 3200, 64]))
    assert runtime.dtype == torch.float16
    plain = TooBright()
    (full,) = Runtime().run(5, 1, lambda part: plain(frames[part]))
    assert plain.kinds == [(torch.float32, 5)]
    torch.testing.assert_close(full, made, atol=0, rtol=1e-3)


def test_a_network_that_overflows_on_everything_is_run_in_full_from_then_on():
    network, frames = TooBright(), torch.full((6, 64), 50.0)
    runtime = Runtime(dtype=torch.float16, memory=2)
    made = torch.cat(list(runtime.run(6, 1, lambda part: network(frames[part]))))
    assert torch.equal(made, torch.full((6, 3), 3200.0))
    assert network.kinds == [(torch.float16, 2), (torch.float32, 1), (torch.float32, 1), *[(torch.float32, 2)] * 2]


def test_what_overflows_before_it_is_squashed_is_noticed_too():
    """Past a tanh nothing is infinite any more: a frame that should be grey would come out white."""
    network, frames = TooBright(), torch.full((4, 64), 1e-5)
    frames[1] = 50

    def squashed(part: slice) -> torch.Tensor:
        return torch.tanh(network(frames[part]) / 5000)

    (made,) = Runtime(dtype=torch.float16).run(4, 1, squashed)
    assert network.kinds == [(torch.float16, 4), (torch.float32, 1)]
    assert made[1].tolist() == pytest.approx([math.tanh(3200 / 5000)] * 3, abs=1e-4)


def test_other_threads_networks_are_not_watched():
    other = TooBright()

    def network(part: slice) -> torch.Tensor:
        thread = threading.Thread(target=lambda: other(torch.full((2, 64), float("inf"))))
        thread.start()
        thread.join()
        return ones(part)

    list(Runtime(dtype=torch.float16).run(2, 1, network))
    assert len(other.kinds) == 1, "what another thread computes was taken for an overflow"
    network(slice(0, 1))
    assert not torch.nn.modules.module._global_forward_hooks, "hooks should not stay behind"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_no_numbers_in_full_precision_either_are_no_black_frame(dtype):
    with pytest.raises(WeightsError, match="no numbers") as error:
        list(Runtime(dtype=dtype).run(2, 1, lambda part: ones(part) / 0 * 0))
    assert one_sentence(error.value)


def test_batches_are_as_large_as_the_memory_and_no_frame_is_lost():
    assert [Runtime(memory=memory).batch(10) for memory in (0, 1, 55, 10**9)] == [1, 1, 5, MOST_FRAMES]
    parts = list(Runtime(memory=30).run(8, 10, ones))
    assert [len(part) for part in parts] == [3, 3, 2]
    assert torch.equal(torch.cat(parts), ones(slice(0, 8)))
    assert list(Runtime().run(0, 10, ones)) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_memory_that_runs_out_halves_the_batch_and_the_clip_goes_on(error):
    asked = []

    def network(part: slice) -> torch.Tensor:
        asked.append((part.start, part.stop))
        if part.stop - part.start > 2:
            raise error
        return ones(part)

    runtime = Runtime(memory=80)
    made = torch.cat(list(runtime.run(7, 10, network)))
    assert torch.equal(made, ones(slice(0, 7)))
    assert asked == [(0, 7), (0, 3), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    asked.clear()
    assert len(torch.cat(list(runtime.run(3, 10, network)))) == 3
    assert asked == [(0, 1), (1, 2), (2, 3)], "the next part of the clip should not try it again"


def test_no_memory_for_one_frame_is_a_sentence_and_other_errors_stay_what_they_are():
    def network(part: slice) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(InputError, match="not enough memory") as error:
        list(Runtime(memory=80).run(7, 10, network))
    assert one_sentence(error.value)

    def wrong(part: slice) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Runtime().run(3, 10, wrong))


def test_the_best_runtime_fits_this_machine():
    best = Runtime.best()
    assert best.on_gpu == torch.cuda.is_available()
    assert best.dtype == torch.float32 or best.on_gpu
    assert 0 < best.memory <= free_memory(best.device)
    assert free_memory("cpu") < 1 << 45


def test_a_gpu_is_taken_in_half_precision_with_half_its_free_memory_unless_it_is_to_be_left(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 << 30, 16 << 30))
    assert Runtime.best() == Runtime("cuda", torch.float16, 4 << 30) and Runtime.best().on_gpu
    with on_processor():
        assert Runtime.best().device == "cpu" and Runtime.best().dtype == torch.float32
    assert Runtime.best().on_gpu
