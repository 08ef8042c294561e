"""Small networks run on one thread: sharing a 96-pixel picture between threads costs more than it saves, and where
other processes want the cores too, torch's threads wait for each other twenty times as long as they compute."""

from __future__ import annotations

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
