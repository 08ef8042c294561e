"""Shares in a folder when things go wrong: crashes at each point, full disks, several processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from heads import one_sentence

from pipeline.errors import ShareError
from pipeline.sharing import Limits, Shares, open_shares
from pipeline.sharing.folder import FolderStore
from pipeline.sharing.local import LocalFiles

WRITER = """
import sys, time
from pipeline.sharing import Shares, Limits
from pipeline.sharing.folder import FolderStore
from pipeline.sharing.local import LocalFiles
where = sys.argv[3]
def hang(*_):
    print("there", flush=True)
    time.sleep(60)
if where == "before":
    LocalFiles.publish = hang
elif where == "after":
    whole = LocalFiles.publish
    LocalFiles.publish = lambda *given: (whole(*given), hang())
shares = Shares(FolderStore(sys.argv[1]), Limits())
if where == "deleting":
    LocalFiles.discard = hang
    receipt = shares.share(sys.argv[2])
    print(receipt.share.id, flush=True)
    shares.remove(receipt.share.id, receipt.secret)
shares.share(sys.argv[2])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "shares"


def everything(root: Path) -> list[str]:
    """All files and folders beside the index and the two empty folders."""
    return [str(path) for part in ("clips", "incoming") for path in (root / part).iterdir()]


@pytest.mark.parametrize("where", ["before", "after", "deleting"])
def test_killed_in_the_middle(where: str, root: Path, clip: Path, repository: Path) -> None:
    """Half-done work of a dead process is cleared, that of a living one is not, and what was shared stays."""
    shares = Shares(FolderStore(root))
    kept = shares.share(clip).share
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, root, clip, where], cwd=repository, stdout=subprocess.PIPE, text=True
    )
    try:
        victim = process.stdout.readline().strip() if where == "deleting" else None
        assert process.stdout.readline() == "there\n"
        if where == "before":
            LocalFiles(root).sweep()
            assert len(list((root / "incoming").iterdir())) == 1, "work that goes on was cleared"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert len(everything(root)) >= 2
    again = Shares(FolderStore(root))
    again.tidy()
    assert everything(root) == [str(root / "clips" / kept.id)]
    assert again.find(kept.id) == kept and (victim is None or again.find(victim) is None)
    assert again.share(clip), "the place of what was half done is still taken"


def test_a_full_disk_is_said_and_leaves_nothing(root: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = Shares(FolderStore(root))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.sharing.local._flush", full)
        with pytest.raises(ShareError, match="disk for shared clips is full") as refusal:
            shares.share(clip)
    assert one_sentence(refusal.value) and everything(root) == []
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.sharing.contents.shutil.copyfile", full)
        with pytest.raises(ShareError, match="disk for shared clips is full"):
            shares.share(clip)
    assert everything(root) == [] and shares.store.expired(2**40) == []
    assert shares.share(clip)


def test_a_disk_that_is_really_full(root: Path, clip: Path) -> None:
    """SQLite on a disk without room: nothing is half there."""
    shares = Shares(FolderStore(root))
    kept = shares.share(clip).share
    with FolderStore(root)._reading() as index:
        (pages,) = index.execute("PRAGMA page_count").fetchone()
    reading = FolderStore._reading

    class Full(FolderStore):
        def _reading(self):  # type: ignore[no-untyped-def]
            return limited(reading(self), pages)

    crowded = Shares(Full(root))
    made = 0
    with pytest.raises(ShareError):
        for _ in range(50):
            crowded.share(clip)
            made += 1
    again = Shares(FolderStore(root))
    assert len(list((root / "clips").iterdir())) == made + 1 and everything(root)
    again.tidy()
    assert len(again.store.expired(2**40)) == made + 1
    assert again.find(kept.id) == kept


class limited:
    """A connection whose database may not grow."""

    def __init__(self, inner: object, pages: int) -> None:
        self._inner, self._pages = inner, pages

    def __enter__(self):  # type: ignore[no-untyped-def]
        index = self._inner.__enter__()
        index.execute(f"PRAGMA max_page_count = {self._pages}")
        return index

    def __exit__(self, *error: object) -> object:
        return self._inner.__exit__(*error)


def test_processes_share_one_folder(root: Path, clip: Path, repository: Path) -> None:
    """Three processes share four clips each at once into room for ten."""
    code = """
import sys
from pipeline.errors import ShareError
from pipeline.sharing import Shares, Limits
from pipeline.sharing.folder import FolderStore
shares = Shares(FolderStore(sys.argv[1]), Limits(clips=10))
for _ in range(4):
    try:
        print(shares.share(sys.argv[2]).share.id)
    except ShareError as error:
        print("refused", error)
"""
    command = [sys.executable, "-c", code, str(root), str(clip)]
    running = [subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    lines = [line for process in running for line in process.communicate(timeout=120)[0].splitlines()]
    made = [line for line in lines if not line.startswith("refused")]
    assert len(lines) == 12 and len(set(made)) == 10
    assert all("as there is room for" in line for line in set(lines) - set(made))
    shares = Shares(FolderStore(root))
    for share_id in made:
        share = shares.find(share_id)
        assert shares.file(share, "clip.mp4").read_bytes() == clip.read_bytes()


def test_files_taken_away_by_hand_leave_no_dead_link(root: Path, clip: Path) -> None:
    shares = Shares(FolderStore(root))
    share = shares.share(clip).share
    for path in (root / "clips" / share.id).iterdir():
        path.unlink()
    assert shares.file(share, "clip.mp4") is None
    (root / "clips" / share.id).rmdir()
    shares.tidy()
    assert shares.find(share.id) is None


def test_a_folder_that_cannot_be_used_and_an_index_that_is_none(tmp_path: Path, root: Path, clip: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ShareError, match="name another folder") as refusal:
        FolderStore(tmp_path / "file")
    assert one_sentence(refusal.value)
    store = FolderStore(root)
    (root / "index.sqlite").write_bytes(b"This is no database." * 100)
    with pytest.raises(ShareError, match="list of shared clips") as refusal:
        Shares(store).share(clip)
    assert one_sentence(refusal.value)
    Shares(store).tidy()  # logs, and lets the page start


def test_only_its_user_may_look_into_the_folder(root: Path) -> None:
    FolderStore(root)
    assert root.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"TETE_SHARE_MAX_MB": "5", "TETE_SHARE_MAX_DAYS": "3", "TETE_SHARE_PER_HOUR": "1"}, Limits(5, 200, 3, 1)),
        ({"TETE_SHARE_MAX_CLIPS": " 9 "}, Limits(clips=9)),
    ],
)
def test_limits_come_from_the_environment(settings: dict[str, str], wanted: Limits, root: Path) -> None:
    shares = open_shares({"TETE_SHARE_DIR": str(root), **settings})
    assert shares.limits == wanted and shares.store.folder == root
    assert shares.limits.default_days == min(7, wanted.days)
    assert shares.limits.day_choices()[-1] == wanted.days


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "٣", "0"])
def test_limits_that_make_no_sense_are_said(value: str, root: Path) -> None:
    with pytest.raises(ShareError, match="TETE_SHARE_MAX_DAYS is") as refusal:
        open_shares({"TETE_SHARE_DIR": str(root), "TETE_SHARE_MAX_DAYS": value})
    assert one_sentence(refusal.value)


def test_where_sharing_is_off(root: Path) -> None:
    assert open_shares({"TETE_SHARE_DIR": str(root), "TETE_SHARE_MAX_CLIPS": "0"}) is None
    assert open_shares({"SPACE_ID": "someone/space"}) is None, "links would break at the Space's next restart"
    assert open_shares({"SPACE_ID": "someone/space", "TETE_SHARE_DIR": str(root)}) is not None


def test_where_clips_are_signed_others_are_refused(root: Path, clip: Path) -> None:
    shares = open_shares({"TETE_SHARE_DIR": str(root)})
    assert shares.own_only
    assert shares.share(clip)
