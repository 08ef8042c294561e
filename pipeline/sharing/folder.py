"""Shares in a folder: files, and an index in SQLite that says which of them count.

A share is there when its row is. The row is written in the same transaction in which its files are renamed into place,
and removed before they are; `tidy` sets right what a crash between the two left.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ShareError
from pipeline.sharing.local import LocalFiles
from pipeline.sharing.records import Share

_TABLE = "CREATE TABLE IF NOT EXISTS shares (id TEXT PRIMARY KEY, expires INTEGER NOT NULL, record TEXT NOT NULL)"
_PATIENCE = 30.0  # seconds to wait for others who write


class FolderStore:
    """A folder that threads and processes may share; see `pipeline.sharing.shares.Store` for what each method does.

    Args:
        root: made if it is not there.

    Raises:
        ShareError: if the folder cannot be used.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._files = LocalFiles(root)
        self.staging = self._files.staging
        self._index = self._files.root / "index.sqlite"
        with self._transaction() as index:
            index.execute(_TABLE)

    @property
    def folder(self) -> Path:
        return self._files.root

    def add(self, share: Share, folder: Path, most: int) -> None:
        published = False
        try:
            with self._transaction() as index:
                (kept,) = index.execute("SELECT COUNT(*) FROM shares").fetchone()
                if kept >= most:
                    raise ShareError("As many clips are shared as there is room for; try again tomorrow.")
                index.execute("INSERT INTO shares VALUES (?, ?, ?)", (share.id, share.expires, share.to_json()))
                self._files.publish(folder, share.id)
                published = True
        except BaseException:
            if published:
                self._files.discard(share.id)
            raise

    def find(self, share_id: str) -> Share | None:
        with self._reading() as index:
            row = index.execute("SELECT record FROM shares WHERE id = ?", (share_id,)).fetchone()
        return None if row is None else Share.from_json(row[0])

    def path(self, share: Share, name: str) -> Path | None:
        return self._files.path(share.id, name)

    def remove(self, *share_ids: str) -> set[str]:
        removed = set()
        with self._transaction() as index:
            for share_id in share_ids:
                if index.execute("DELETE FROM shares WHERE id = ?", (share_id,)).rowcount:
                    removed.add(share_id)
        for share_id in removed:
            self._files.discard(share_id)
        return removed

    def expired(self, now: int) -> list[str]:
        with self._reading() as index:
            return [row[0] for row in index.execute("SELECT id FROM shares WHERE expires <= ?", (now,))]

    def tidy(self) -> None:
        self._files.sweep()
        with self._transaction() as index:  # others who add do so in one as well: no half of theirs is seen
            listed = {row[0] for row in index.execute("SELECT id FROM shares")}
            there = self._files.ids()
            index.executemany("DELETE FROM shares WHERE id = ?", [(share_id,) for share_id in listed - there])
            for share_id in there - listed:
                self._files.discard(share_id)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            index = sqlite3.connect(self._index, timeout=_PATIENCE, isolation_level=None)
            with contextlib.closing(index):
                yield index
        except sqlite3.Error as error:
            raise ShareError("The list of shared clips cannot be used just now; try again in a minute.") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as index:
            index.execute("BEGIN IMMEDIATE")
            try:
                yield index
                index.execute("COMMIT")
            except BaseException:
                if index.in_transaction:
                    index.execute("ROLLBACK")
                raise
