"""Shares on the Hub: what its own client does and undoes there, and what happens when the Hub does not."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from dataset_server import DatasetHub
from heads import one_sentence

from pipeline.errors import ShareError
from pipeline.sharing import CLIP, Limits, Shares, open_shares
from pipeline.sharing import dataset as dataset_module
from pipeline.sharing.dataset import DatasetStore


def opened(hub: DatasetHub, **options: str) -> Shares:
    return Shares(DatasetStore("someone/clips", endpoint=hub.endpoint, **{"token": hub.token, **options}))


def requests(hub: DatasetHub, words: str) -> list[str]:
    return [line for line in hub.asked if words in line]


def test_a_share_is_one_commit_to_a_private_repository(hub: DatasetHub, clip: Path) -> None:
    shares = opened(hub)
    share = shares.share(clip).share
    repository = hub.repositories["someone/clips"]
    assert repository.private and repository.messages == ["initial", "Share a clip"]
    folder = f"clips/{share.id}"
    assert hub.files("someone/clips") - {".gitattributes"} == {
        f"{folder}/clip.mp4", f"{folder}/poster.jpg", f"{folder}/until-{share.expires}.json"
    }  # fmt: skip


def test_what_was_deleted_is_gone_from_history_and_storage(hub: DatasetHub, clip: Path) -> None:
    shares = opened(hub)
    gone, kept = shares.share(clip), shares.share(clip)
    shares.remove(gone.share.id, gone.secret)
    oid = hashlib.sha256(clip.read_bytes()).hexdigest()
    repository = hub.repositories["someone/clips"]
    assert not any(gone.share.id in name for files in repository.commits.values() for name in files)
    assert oid in hub.storage, "the other share needs the same file"
    shares.remove(kept.share.id, kept.secret)
    assert oid not in hub.storage and not hub.pushed["someone/clips"]
    assert not list((shares.store.folder / "clips").iterdir())


def test_what_is_looked_at_is_fetched_once(hub: DatasetHub, clip: Path) -> None:
    share = opened(hub).share(clip).share
    reader = opened(hub)
    for _ in range(3):
        found = reader.find(share.id)
        assert reader.file(found, CLIP).read_bytes() == clip.read_bytes()
    assert len(requests(hub, f"GET /storage/{hashlib.sha256(clip.read_bytes()).hexdigest()}")) == 1
    before = len(hub.asked)
    for number in range(20):
        assert reader.find("a" * 24 + "bc"[number % 2] + "d") is None
    assert len(hub.asked) == before, "guesses should not be handed on to the Hub"


def test_what_another_machine_deletes_is_gone_here_too(
    hub: DatasetHub, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = opened(hub), opened(hub)
    receipt = here.share(clip)
    assert there.find(receipt.share.id) == receipt.share
    there.remove(receipt.share.id, receipt.secret)
    monkeypatch.setattr(dataset_module, "_FRESH", 0.0)
    assert here.find(receipt.share.id) is None
    assert not list((here.store.folder / "clips").iterdir()), "a copy of what was deleted elsewhere was kept"


def test_somebody_commits_in_between(hub: DatasetHub, clip: Path) -> None:
    shares = opened(hub)
    first = shares.share(clip)
    hub.overtaken = 2
    second = shares.share(clip)
    hub.overtaken = 1
    shares.remove(first.share.id, first.secret)
    assert opened(hub).find(second.share.id) == second.share
    assert "README.md" in hub.files("someone/clips"), "what somebody else committed was undone"


def test_a_commit_that_is_squashed_away_while_it_is_read_is_asked_for_anew(
    hub: DatasetHub, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine asks for the head, another deletes a share and with it the history, the first asks for that head."""
    store = DatasetStore("someone/clips", endpoint=hub.endpoint, token=hub.token)
    first, second = Shares(store), opened(hub)
    receipts = [second.share(clip) for _ in range(2)]
    read = store._api.repo_info

    def slow(**where: str) -> object:
        found = read(**where)
        monkeypatch.setattr(store._api, "repo_info", read)
        second.remove(receipts[0].share.id, receipts[0].secret)
        return found

    monkeypatch.setattr(store._api, "repo_info", slow)
    mine = first.share(clip)
    assert opened(hub).find(mine.share.id) == mine.share
    assert first.find(receipts[0].share.id) is None and first.find(receipts[1].share.id) is not None


def test_the_limit_holds_over_machines(hub: DatasetHub, clip: Path) -> None:
    here, there = opened(hub), opened(hub)
    here.limits = there.limits = Limits(clips=2)
    here.purge(), there.purge()
    here.share(clip), there.share(clip)
    with pytest.raises(ShareError, match="as there is room for"):
        here.share(clip)
    assert len([name for name in hub.files("someone/clips") if name.endswith(CLIP)]) == 2


def test_uploads_that_no_commit_took_up_are_cleared_once_they_are_old(hub: DatasetHub, clip: Path) -> None:
    shares = opened(hub)
    kept = shares.share(clip).share
    now = datetime.now(timezone.utc)
    for name, age in (("old", timedelta(hours=2)), ("new", timedelta(minutes=2))):
        oid = hashlib.sha256(name.encode()).hexdigest()
        hub.storage[oid] = name.encode()
        hub.pushed["someone/clips"][oid] = type(next(iter(hub.pushed["someone/clips"].values())))("", now - age)
    again = opened(hub)
    again.tidy()
    assert sorted(data for data in hub.storage.values() if len(data) < 9) == [b"new"]
    assert again.file(again.find(kept.id), CLIP).read_bytes() == clip.read_bytes()


@pytest.mark.parametrize(("where", "status"), [("/api/models", 500), ("/someone/clips.git", 500), ("/upload", 403)])
def test_a_hub_that_fails_says_so_and_keeps_nothing_half(
    hub: DatasetHub, clip: Path, where: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The Hub's client tries some failures again for half a minute; here it does so without waiting.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    shares = opened(hub)
    kept = shares.share(clip).share
    hub.storage.clear()
    hub.broken = {where: status}
    with pytest.raises(ShareError, match="try again in a minute") as refusal:
        Shares(shares.store, Limits()).share(clip)
    assert one_sentence(refusal.value)
    assert not list((shares.store.folder / "incoming").iterdir())
    shares.tidy()  # logs, and lets the page go on
    assert shares.file(kept, CLIP).read_bytes() == clip.read_bytes(), "what is known here needs no Hub"
    hub.broken = {}
    assert len([name for name in hub.files("someone/clips") if name.endswith(CLIP)]) == 1
    assert shares.share(clip)


def test_erasing_that_fails_is_made_up_for(hub: DatasetHub, clip: Path) -> None:
    shares = opened(hub)
    receipt = shares.share(clip)
    hub.broken = {"/api/models/someone/clips/super-squash": 500}
    shares.remove(receipt.share.id, receipt.secret)
    assert shares.find(receipt.share.id) is None
    assert hub.pushed["someone/clips"], "nothing could be erased yet"
    hub.broken = {}
    for one in hub.pushed["someone/clips"].values():
        one.at -= timedelta(hours=2)
    shares.tidy()
    assert not hub.pushed["someone/clips"]
    assert len(hub.repositories["someone/clips"].commits) == 1, "the history still has it"


def test_who_may_not_write_there(hub: DatasetHub, clip: Path) -> None:
    for token in ("hf_wrong", None):
        with pytest.raises(ShareError, match="check its name and token") as refusal:
            opened(hub, token=token or "hf_none").share(clip)
        assert one_sentence(refusal.value)
    shares = Shares(DatasetStore("no name at all", token=hub.token, endpoint=hub.endpoint))
    with pytest.raises(ShareError, match="check its name and token"):
        shares.share(clip)


def test_the_environment_names_a_repository(hub: DatasetHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    shares = open_shares({"SPACE_ID": "a/b", "TETE_SHARE_REPO": "someone/clips", "TETE_SHARE_DIR": str(tmp_path)})
    assert isinstance(shares.store, DatasetStore) and shares.store.folder == tmp_path
    temporary = open_shares({"TETE_SHARE_REPO": "someone/clips"}).store
    folder = temporary.folder
    assert folder.is_dir()
    del temporary
    assert not folder.exists(), "copies of what was shared outlive the server"
