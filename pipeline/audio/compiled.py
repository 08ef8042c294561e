"""librosa, imported by one process at a time.

Its first import after an install compiles some functions, which numba keeps in pairs of files. Processes that do so at
the same time mix these pairs up, and from then on every process that reads them dies of a segmentation fault, until the
files are deleted (numba's issue 10128). So whoever needs librosa gets it here, behind a lock.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

_COMPILED = ("librosa.util.utils", "librosa.core.audio", "librosa.core.pitch")
"""Modules that compile pairs when they are imported, among those that are used here."""
_PATIENCE = 300.0  # seconds; compiling takes some 15


@lru_cache(maxsize=1)
def load_librosa() -> ModuleType:
    """librosa, with what it compiles compiled."""
    from filelock import FileLock, Timeout

    user = os.getuid() if hasattr(os, "getuid") else 0
    lock = FileLock(Path(tempfile.gettempdir()) / f"librosa-{user}-tete-a-tete.lock", timeout=_PATIENCE)
    with contextlib.ExitStack() as stack:
        # Where no lock can be had, alone is what this process most likely is.
        with contextlib.suppress(OSError, NotImplementedError, Timeout):
            stack.enter_context(lock)
        for name in _COMPILED:
            import_module(name)
    return import_module("librosa")
