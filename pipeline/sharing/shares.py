"""Shares: give a clip a link, find it, delete it; the same over every store."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pipeline.certificates import find_credentials
from pipeline.errors import InputError, ShareError
from pipeline.folders import data_folder
from pipeline.sharing.contents import ROLES, take_clip, take_inputs, too_large
from pipeline.sharing.folder import FolderStore
from pipeline.sharing.records import Limits, Receipt, Share, hash_of, is_id, new_id, new_secret

log = logging.getLogger("tete-a-tete")


class Store(Protocol):
    """Where shares are kept. All of it may be called from any thread; methods raise ShareError with a sentence."""

    def staging(self) -> contextlib.AbstractContextManager[Path]:
        """A folder on this machine to prepare a share in; it is gone after the block."""

    def add(self, share: Share, folder: Path, most: int) -> None:
        """Keep a share with the files that `folder` holds: all or nothing, and only if fewer than `most` are kept.

        Raises:
            ShareError: if there is no place.
            OSError: if the disk does not take it.
        """

    def find(self, share_id: str) -> Share | None:
        """The share of that id, expired or not."""

    def path(self, share: Share, name: str) -> Path | None:
        """A file of a share, on this machine; None if it is gone."""

    def remove(self, *share_ids: str) -> set[str]:
        """Remove shares with everything that is known of them; returns those that this call removed."""

    def expired(self, now: int) -> list[str]:
        """Ids of shares that expire at `now` or before."""

    def tidy(self) -> None:
        """Remove what a crash left half-done."""

    @property
    def folder(self) -> Path:
        """What on this machine's disk belongs to it, and to nobody else."""


class Shares:
    """Clips with links.

    Args:
        store: where they are kept; `tidy` is called on it.
        limits: how much may be shared.
        clock: seconds since 1970 (UTC).
        own_only: take only clips that this installation signed; otherwise any with our mark.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        own_only: bool = False,
    ) -> None:
        self.store = store
        self.limits = limits or Limits()
        self.own_only = own_only
        self._clock = clock

    def share(
        self,
        clip: str | os.PathLike[str],
        days: int | None = None,
        inputs: Mapping[str, str | os.PathLike[str] | None] | None = None,
    ) -> Receipt:
        """Keep a clip under a new id.

        Args:
            clip: an MP4 made here; others lack the mark and are refused.
            days: how long, from 1 to `limits.days`; a week by default.
            inputs: what it was made from, by role: portrait, audio, video. Whoever has the link gets them in the
                editor, so give them only if their owner said so; by default nothing but the clip is kept.

        Returns:
            the share, and the secret that deletes it, which is kept nowhere.

        Raises:
            ShareError: if it may not be shared, is too large, or there is no room.
            InputError: if a file cannot be read.
        """
        lifetime = self.limits.seconds_of(days)
        given = {role: path for role, path in (inputs or {}).items() if path is not None}
        unknown = sorted(set(given) - set(ROLES))
        if unknown:
            raise ShareError(f"There is no input {unknown[0]!r} to share; give portrait, audio or video.")
        self.purge()
        most_bytes = self.limits.megabytes * 1_000_000
        secret = new_secret()
        try:
            with self.store.staging() as folder:
                facts = take_clip(clip, folder, most_bytes, self.own_only)
                names = take_inputs(given, folder)
                if sum(path.stat().st_size for path in folder.iterdir()) > most_bytes:
                    raise too_large(most_bytes)
                now = int(self._clock())
                share = Share(
                    id=new_id(),
                    created=now,
                    expires=now + lifetime,
                    mode=facts.mode,
                    settings=facts.settings,
                    size=facts.size,
                    seconds=facts.seconds,
                    inputs=names,
                    secret_hash=hash_of(secret),
                )
                self.store.add(share, folder, self.limits.clips)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "The disk for shared clips is full" if full else "The clip could not be written"
            raise ShareError(f"{what}, so no link was made; try again later.") from error
        return Receipt(share, secret)

    def find(self, share_id: str) -> Share | None:
        """The share of that id; None if the text is no id, or the share was deleted or has expired.

        Raises:
            ShareError: if the store cannot be asked.
        """
        if not is_id(share_id):
            return None
        share = self.store.find(share_id)
        return share if share is not None and share.expires > self._clock() else None

    def file(self, share: Share, name: str) -> Path | None:
        """A file of a share, to be read on this machine; None if the share has none of that name.

        Raises:
            ShareError: if the store cannot be asked.
        """
        return self.store.path(share, name) if name in share.files else None

    def remove(self, share_id: str, secret: str) -> None:
        """Delete a share with all that is kept of it.

        Raises:
            ShareError: if there is none, or the secret is not its maker's.
        """
        share = self.find(share_id)
        if share is not None and not share.opens_with(secret):
            raise ShareError("This secret does not belong to this link; only who made a link can delete it.")
        if share is None or not self.store.remove(share_id):
            raise ShareError("There is no such link: it was deleted, has expired, or never was.")

    def purge(self) -> int:
        """Delete what has expired; returns how many that were.

        Raises:
            ShareError: if the store cannot be asked.
        """
        expired = self.store.expired(int(self._clock()))
        return len(self.store.remove(*expired)) if expired else 0

    def tidy(self) -> None:
        """What to do at the start and every now and then: clear half-done work, delete what has expired.

        A store that cannot be asked just now is logged, and is no reason not to go on.
        """
        try:
            self.store.tidy()
            self.purge()
        except (ShareError, OSError):
            log.exception("the shared clips could not be tidied; the next time will do")


def open_shares(environment: Mapping[str, str] = os.environ) -> Shares | None:
    """Shares where the environment says; None if sharing is off. A server calls `tidy` on them now and then.

    Environment variables:
        TETE_SHARE_REPO: "owner/name" of a dataset on the Hub, made private if it is not there; needs HF_TOKEN.
        TETE_SHARE_DIR: the folder otherwise, by default `shares` in the data folder; with a repository, for its copies.
        TETE_SHARE_MAX_MB, TETE_SHARE_MAX_CLIPS (0: off), TETE_SHARE_MAX_DAYS, TETE_SHARE_PER_HOUR: see `Limits`.

    On Spaces, whose disk does not last, sharing is off unless one of the first two or TETE_DATA (the data folder) is
    set: a link that breaks at the next restart is none.

    Raises:
        ShareError: if a variable makes no sense, or the folder cannot be used.
    """
    limits = Limits.from_environment(environment)
    repository = environment.get("TETE_SHARE_REPO", "").strip()
    folder = environment.get("TETE_SHARE_DIR", "").strip()
    lasting = repository or folder or environment.get("TETE_DATA")
    if limits.clips == 0 or (environment.get("SPACE_ID") and not lasting):
        return None
    store: Store
    if repository:
        from pipeline.sharing.dataset import DatasetStore

        store = DatasetStore(repository, folder or None)
    else:
        store = FolderStore(folder or data_folder() / "shares")
    return Shares(store, limits, own_only=_signs())


def _signs() -> bool:
    """Whether clips made here are signed, so that others can be told from them."""
    try:
        find_credentials()
    except (InputError, OSError, ImportError):
        return False
    return importlib.util.find_spec("c2pa") is not None
