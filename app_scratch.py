"""Where this process keeps uploads, work and clips: one folder that goes with it, even if it is killed.

What ends in good order removes its folder itself. A killed process cannot, so the next one that starts does: each
folder has a lock that lives exactly as long as its process, whatever becomes of process numbers in containers.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

_PREFIX, _NEW, _LOCK = "tete-a-tete-", "new-tete-a-tete-", "lock"
_held: list[IO[bytes]] = []


def scratch_folder(name: str) -> Path:
    """A new folder for this process, that only its user may read; removed at the process's end at the latest."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_root()))


@functools.cache
def _root() -> Path:
    clear_abandoned()
    new = Path(tempfile.mkdtemp(prefix=_NEW))
    lock = open(new / _LOCK, "wb")  # noqa: SIM115 - held open, which holds the lock
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.append(lock)
    # Named only now that it is locked: a process that starts at the same time would take it for abandoned.
    root = new.rename(new.with_name(_PREFIX + new.name.removeprefix(_NEW)))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def clear_abandoned() -> None:
    """Remove the folders of processes that are no more."""
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # without a lock, another user's, or in use
            if root.is_symlink() or root.stat().st_uid != os.getuid():
                continue
            with open(root / _LOCK, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
