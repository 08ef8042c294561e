"""Files of shares on this machine's disk: written aside, then renamed into place whole.

Several processes may use one folder. What a process writes lies in a folder under `incoming` that it holds locked
(flock) while it lives, so that any other can tell half-done work of the dead from work that goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ShareError
from pipeline.sharing.records import is_id


class LocalFiles:
    """A folder with one folder for each share.

    Args:
        root: made if it is not there, readable by this user alone.

    Raises:
        ShareError: if it cannot be made or written.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self._clips = self.root / "clips"
        self._incoming = self.root / "incoming"
        try:
            for folder in (self.root, self._clips, self._incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ShareError(f"Shared clips cannot be kept in {self.root}; name another folder.") from error
        if not os.access(self._incoming, os.W_OK):
            raise ShareError(f"Shared clips cannot be kept in {self.root}: it may not be written.")

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A new folder to prepare a share in; what is left of it is removed at the end."""
        folder = self._incoming / secrets.token_hex(16)
        with _locked(self.root):  # or `sweep` might come between making and locking it
            folder.mkdir(mode=0o700)
            handle = _lock(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)

    def publish(self, folder: Path, share_id: str) -> None:
        """Move a prepared folder to its place, with everything in it on the disk.

        Raises:
            OSError: if that fails; then nothing is at its place.
        """
        for path in [*folder.iterdir(), folder]:
            _flush(path)
        folder.rename(self.place(share_id))
        _flush(self._clips)

    def place(self, share_id: str) -> Path:
        """Where a share's files lie.

        Raises:
            ValueError: if `share_id` is none; nothing else ever becomes part of a path.
        """
        if not is_id(share_id):
            raise ValueError("This is no share's id.")
        return self._clips / share_id

    def path(self, share_id: str, name: str) -> Path | None:
        """A share's file, if it is there."""
        path = self.place(share_id) / name
        return path if path.is_file() else None

    def adopt(self, path: Path, share_id: str) -> Path:
        """Move one file to a share's place.

        Raises:
            OSError: if that fails.
        """
        place = self.place(share_id)
        place.mkdir(mode=0o700, exist_ok=True)
        return path.replace(place / path.name)

    def discard(self, share_id: str) -> None:
        """Remove a share's files."""
        shutil.rmtree(self.place(share_id), ignore_errors=True)

    def ids(self) -> set[str]:
        """Shares of which there are files."""
        return {path.name for path in self._clips.iterdir() if is_id(path.name)}

    def sweep(self) -> None:
        """Remove what processes that ended left half-done."""
        with _locked(self.root):
            for folder in self._incoming.iterdir():
                with contextlib.suppress(OSError):  # held by a process that lives, or gone this moment
                    handle = _lock(folder, fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                    os.close(handle)


def _lock(folder: Path, flags: int = 0) -> int:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = _lock(folder)
    try:
        yield
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
