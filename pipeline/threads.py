"""Small networks run on one thread: sharing a 96-pixel picture between threads costs more than it saves, and where
other processes want the cores too, torch's threads wait for each other twenty times as long as they compute."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on the calling thread alone, and give it back its threads afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def every_core() -> Iterator[None]:
    """Run torch on all cores that this process may use, for networks large enough to gain by it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def settle_process() -> None:
    """Set this process up for rendering; programs of our own call it before torch is loaded, libraries must not.

    torch's threads spin while they wait, which takes the second core from the encoder; and Python hands its lock over
    after 5 ms at the soonest, about as long as a frame takes.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.setswitchinterval(0.0005)
