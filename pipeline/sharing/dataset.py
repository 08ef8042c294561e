"""Shares in a dataset repository on the Hub, for machines whose disk does not last.

Each share is one folder, added and removed by one commit, so it is there whole or not at all:
`clips/<id>/until-<expiry>.json` is its record, whose name lets expired ones be found by listing alone. A commit names
the one that it follows, so two machines that write at once do not step over each other. Git remembers what was
deleted; so after a removal the history is squashed and the large files are deleted from the storage.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Set
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pipeline.errors import ShareError
from pipeline.sharing.local import LocalFiles
from pipeline.sharing.records import Share

log = logging.getLogger("tete-a-tete")

_FRESH = 30.0  # seconds for which a listing is believed: how late what another machine does shows here
_ATTEMPTS = 10
_ABANDONED = timedelta(hours=1)  # an upload that no commit took up by then comes from a process that ended
_RECORD = re.compile(r"clips/([a-z2-7]{26})/until-(\d{1,12})\.json")
_GONE = 404  # status of a commit that is no more
_LISTINGS = 5
_MOVED_ON = (409, 412)  # statuses: someone else committed in between


class DatasetStore:
    """A dataset repository; see `pipeline.sharing.shares.Store` for what each method does.

    Args:
        repository: "owner/name"; made, private, with the first share if it is not there.
        folder: keeps copies of what is looked at, so that each is fetched once; None takes one that goes with this
            object.
        token: one that may write there; None takes the one that is logged in (HF_TOKEN).
        endpoint: of the Hub, if it is another.

    Raises:
        ShareError: if the folder cannot be used.
    """

    def __init__(
        self,
        repository: str,
        folder: str | os.PathLike[str] | None = None,
        token: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        from huggingface_hub import HfApi

        if folder is None:
            folder = tempfile.mkdtemp(prefix="tete-a-tete-shares-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._files = LocalFiles(folder)
        self.staging = self._files.staging
        self._api = HfApi(endpoint=endpoint, token=token)
        self._where: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset"}
        self._writing = threading.Lock()
        self._listing: dict[str, int] = {}  # expiry by id
        self._head: str | None = None  # the commit that was listed; None while there is no repository
        self._listed = -float("inf")
        self._unsquashed = True  # whether the history may hold what was deleted

    @property
    def folder(self) -> Path:
        return self._files.root

    def add(self, share: Share, folder: Path, most: int) -> None:
        record = f"until-{share.expires}.json"
        (folder / record).write_text(share.to_json(), encoding="utf-8")
        with self._writing:
            for attempt in range(_ATTEMPTS):
                _stand_back(attempt)
                self._list()
                if len(self._listing) >= most:
                    raise ShareError("As many clips are shared as there is room for; try again tomorrow.")
                if self._commit("Share a clip", self._additions(share, folder)):
                    self._listing[share.id] = share.expires
                    with contextlib.suppress(OSError):  # only a copy: it would be fetched when it is looked at
                        self._files.publish(folder, share.id)
                    return
        raise self._refused("is busy")

    def find(self, share_id: str) -> Share | None:
        self._refresh(needed=share_id not in self._listing)
        expires = self._listing.get(share_id)
        path = None if expires is None else self._fetch(share_id, f"until-{expires}.json")
        try:
            return None if path is None else Share.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:  # removed in between
            return None

    def path(self, share: Share, name: str) -> Path | None:
        return self._fetch(share.id, name) if share.id in self._listing else None

    def remove(self, *share_ids: str) -> set[str]:
        from huggingface_hub import CommitOperationDelete

        with self._writing:
            for attempt in range(_ATTEMPTS):
                _stand_back(attempt)
                self._list()
                there = self._listing.keys() & set(share_ids)
                doomed = [CommitOperationDelete(f"clips/{share_id}/", is_folder=True) for share_id in sorted(there)]
                if not there or self._commit("Remove clips", doomed):
                    break
            else:
                raise self._refused("is busy")
            for share_id in there:
                del self._listing[share_id]
                self._files.discard(share_id)
            if there:
                self._unsquashed = True
                self._erase(there)
        return there

    def expired(self, now: int) -> list[str]:
        self._refresh(needed=True)
        return [share_id for share_id, expires in self._listing.items() if expires <= now]

    def tidy(self) -> None:
        self._files.sweep()
        with self._writing:
            self._list()
            self._erase()

    def _refresh(self, needed: bool) -> None:
        """List anew what was listed a while ago; without waiting for who writes, or failing, if it is not needed."""
        if time.monotonic() - self._listed < _FRESH or not self._writing.acquire(blocking=needed):
            return
        try:
            self._list()
        except ShareError:
            if needed:
                raise
        finally:
            self._writing.release()

    # Of what follows, all but `_fetch` is called with `_writing` held.

    def _list(self) -> None:
        """Bring the listing up to date, and drop local copies of what others removed."""
        for attempt in range(_LISTINGS):
            try:
                self._head = self._read_listing()
                break
            except _hub_errors() as error:
                # Another machine may have squashed away the commit between our two questions.
                if _status(error) != _GONE or attempt == _LISTINGS - 1:
                    raise self._refused("did not answer") from error
        self._listed = time.monotonic()
        for share_id in self._files.ids() - self._listing.keys():
            self._files.discard(share_id)

    def _read_listing(self) -> str | None:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            head = self._api.repo_info(**self._where).sha
            if head != self._head:
                tree = self._api.list_repo_tree(**self._where, recursive=True, revision=head)
                found = [_RECORD.fullmatch(entry.path) for entry in tree]
                self._listing = {match[1]: int(match[2]) for match in found if match}
        except RepositoryNotFoundError:
            head, self._listing = None, {}
        return head

    def _additions(self, share: Share, folder: Path) -> list[Any]:
        from huggingface_hub import CommitOperationAdd

        return [CommitOperationAdd(f"clips/{share.id}/{path.name}", path) for path in sorted(folder.iterdir())]

    def _commit(self, message: str, operations: list[Any]) -> bool:
        """Commit upon the head that was listed; False if somebody else was quicker."""
        try:
            if self._head is None:
                self._api.create_repo(**self._where, private=True, exist_ok=True)
                self._head = self._api.repo_info(**self._where).sha
            done = self._api.create_commit(
                **self._where, operations=operations, commit_message=message, parent_commit=self._head
            )
        except _hub_errors() as error:
            if _status(error) in _MOVED_ON:
                return False
            raise self._refused("did not take it") from error
        self._head = done.oid
        return True

    def _erase(self, removed: Set[str] = frozenset()) -> None:
        """Delete from history and storage what no share needs; if that fails, the next time will do.

        What another machine uploads for a commit to come is not needed yet either, so only what was removed just now
        and what is old goes.
        """
        if self._head is None:
            return
        try:
            if self._unsquashed:
                self._api.super_squash_history(**self._where, commit_message="Shared clips")
                self._head = self._api.repo_info(**self._where).sha
            tree = list(self._api.list_repo_tree(**self._where, recursive=True, revision=self._head))
            needed = {entry.lfs.sha256 for entry in tree if getattr(entry, "lfs", None)}
            places = tuple(f"clips/{share_id}/" for share_id in removed)
            before = datetime.now(timezone.utc) - _ABANDONED
            unneeded = [
                one
                for one in self._api.list_lfs_files(**self._where)
                if one.file_oid not in needed and (one.filename.startswith(places) or one.pushed_at < before)
            ]
            self._api.permanently_delete_lfs_files(**self._where, lfs_files=unneeded)
            self._unsquashed = False
        except _hub_errors():
            log.warning("shared clips that were removed could not be erased from the Hub's storage yet", exc_info=True)

    def _fetch(self, share_id: str, name: str) -> Path | None:
        """A file of a share on this machine, fetched if need be; None if it is gone."""
        from huggingface_hub.errors import EntryNotFoundError

        kept = self._files.path(share_id, name)
        if kept is not None:
            return kept
        try:
            with self.staging() as folder:
                path = self._api.hf_hub_download(**self._where, filename=f"clips/{share_id}/{name}", local_dir=folder)
                return self._files.adopt(Path(path), share_id)
        except EntryNotFoundError:
            return None
        except _hub_errors() as error:
            raise self._refused("did not answer") from error

    def _refused(self, what: str) -> ShareError:
        return ShareError(
            f"The Hub repository for shared clips, {self._where['repo_id']!r}, {what}; try again in a minute, or ask "
            "who runs this page to check its name and token."
        )


def _stand_back(attempt: int) -> None:
    """Wait for a random while, longer after each attempt, so that two who collide do not do so again."""
    if attempt:
        time.sleep(random.uniform(0, min(2.0, 0.1 * 2**attempt)))


def _hub_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HTTPError, XetDownloadError

    return HTTPError, XetDownloadError, OSError, ValueError, RuntimeError  # the last: an upload that failed


def _status(error: Exception) -> int:
    response = getattr(error, "response", None)
    return 0 if response is None else response.status_code
