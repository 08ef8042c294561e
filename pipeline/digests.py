"""Digests of files, read piece by piece. Python 3.11 has `hashlib.file_digest`; 3.10 has not."""

from __future__ import annotations

import hashlib
import os
from typing import Any

_PIECE = 1 << 20


def file_digest(path: str | os.PathLike[str], begun: Any = None) -> str:
    """SHA-256 of a file in hexadecimal digits, or what the hash object `begun` becomes by it.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256() if begun is None else begun
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
