"""Where networks run and how exactly: the one place that knows of GPUs, half precision and memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import InputError, WeightsError

MOST_FRAMES = 32
_MOST_ON_PROCESSOR = 1 << 30  # larger batches are no faster there
_SHARE = 0.5  # of the memory that is free: the rest is for what runs beside
_processor_only: ContextVar[bool] = ContextVar("processor_only", default=False)


@dataclass
class Runtime:
    """Where networks run, and in what batches.

    Attributes:
        device: "cpu" or a CUDA device.
        dtype: half precision to compute in, on a GPU; full once a whole batch has overflowed.
        memory: bytes that a batch may take; it is less once they turned out not to be there.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    memory: int = _MOST_ON_PROCESSOR

    @staticmethod
    def best() -> Runtime:
        """A GPU in half precision if there is one, else the CPU in full.

        float16, not bfloat16: pictures have 256 levels, and bfloat16 has 8 bits; on small networks of ours its mean
        error is 0.5 to 3 grey levels, float16's 0.06 to 0.5. What float16 lacks, range, is watched for.
        """
        if _processor_only.get() or not torch.cuda.is_available():
            return Runtime(memory=min(_MOST_ON_PROCESSOR, int(_SHARE * free_memory("cpu"))))
        return Runtime("cuda", torch.float16, int(_SHARE * free_memory("cuda")))

    @property
    def on_gpu(self) -> bool:
        """Whether networks run on a GPU."""
        return torch.device(self.device).type == "cuda"

    def batch(self, bytes_each: int) -> int:
        """How many frames of `bytes_each` go at once: 1 to 32."""
        return int(np.clip(self.memory // max(bytes_each, 1), 1, MOST_FRAMES))

    def run(self, count: int, bytes_each: int, network: Callable[[slice], Tensor]) -> Iterator[Tensor]:
        """What `network` makes of `count` frames, in batches that the memory holds.

        Half precision overflows on some pictures, which then come out black; those frames are computed again in full,
        and when all of a batch do, all that follow are.
        A batch for which memory runs out is halved, and so are all that follow.

        Args:
            count: frames.
            bytes_each: of memory that one takes.
            network: makes (n, ...) of the n frames in a slice; what it needs beside lies on `device`.

        Yields:
            (n, ...) finite, float32 and on the CPU, in order, `count` in all.

        Raises:
            InputError: if there is no memory for a single frame.
            WeightsError: if values that are no numbers come out in full precision too.
        """
        first = 0
        while first < count:
            part = slice(first, min(first + self.batch(bytes_each), count))
            try:
                made = self._finite(part, network)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _memory_ran_out(error):
                    raise
                if part.stop - part.start == 1:
                    raise InputError(
                        "There is not enough memory for one frame; close other programs, choose a smaller network, or "
                        "the renderer 'mesh' without a restoration."
                    ) from error
                self.memory = bytes_each * ((part.stop - part.start) // 2)
            else:
                yield made
                first = part.stop
                continue
            if self.on_gpu:  # out of the handler, which holds on to the tensors of the batch that failed
                torch.cuda.empty_cache()

    def _finite(self, part: slice, network: Callable[[slice], Tensor]) -> Tensor:
        half = self.dtype != torch.float32
        kind = torch.device(self.device).type
        with torch.inference_mode():
            if half:
                with torch.autocast(kind, self.dtype), _watched(part.stop - part.start) as finite:
                    made = network(part).float()
                good = torch.stack([*finite, _finite_frames(made)]).all(0)
                for index in (~good).nonzero()[:, 0].tolist():
                    with torch.autocast(kind, enabled=False):
                        made[index] = network(slice(part.start + index, part.start + index + 1)).float()[0]
                if not good.any():  # it will not be otherwise with the next
                    self.dtype = torch.float32
            else:
                made = network(part).float()
            if not _finite_frames(made).all():
                raise WeightsError("The network answers with values that are no numbers; install its weights again.")
            return made.cpu()


@contextmanager
def on_processor() -> Iterator[None]:
    """What is loaded inside runs on the processor, GPU or not: for measuring."""
    token = _processor_only.set(True)
    try:
        yield
    finally:
        _processor_only.reset(token)


def free_memory(device: str) -> int:
    """Bytes of memory that is free: the GPU's own, or the machine's and what this container may have of it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        if most != "max":
            free.append(int(most) - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError, IndexError):
        pass  # no Linux, or no limit: what was found before counts
    return max(min(free, default=2 * _MOST_ON_PROCESSOR), 0)


def _finite_frames(made: Tensor) -> Tensor:
    """(n,) bool: whether all values of each frame of (n, ...) are finite."""
    return torch.isfinite(made.flatten(1)).all(1)


@contextmanager
def _watched(count: int) -> Iterator[list[Tensor]]:
    """Collects (count,) bool of each layer with parameters that this thread runs: whose values are all finite.

    The result alone does not tell: what overflows before a tanh or a sigmoid comes out as plain black or white.
    """
    seen: list[Tensor] = []
    own = threading.get_ident()

    def look(module: nn.Module, inputs: object, output: object) -> None:
        if threading.get_ident() != own or not module._parameters:
            return
        if isinstance(output, Tensor) and output.is_floating_point():
            # What has another number of rows (of references, say) belongs to all frames alike.
            whole = output.ndim == 0 or len(output) != count
            seen.append(torch.isfinite(output).all().expand(count) if whole else _finite_frames(output))

    handle = nn.modules.module.register_module_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


def _memory_ran_out(error: Exception) -> bool:
    """PyTorch has a class of its own for a GPU's memory, and a text for the processor's."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or "allocate memory" in str(error) or "out of memory" in str(error)
