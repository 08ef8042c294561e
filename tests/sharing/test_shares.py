"""Sharing over each store: the same calls and the same promises."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Clock
from heads import one_sentence

from pipeline.errors import InputError, ShareError
from pipeline.sharing import CLIP, POSTER, Limits, Shares, is_id
from pipeline.sharing.shares import Store


def content(shares: Shares, share_id: str, name: str = CLIP) -> bytes | None:
    share = shares.find(share_id)
    path = shares.file(share, name) if share else None
    return path.read_bytes() if path else None


def test_what_was_shared_is_found_with_its_settings(shares: Shares, clip: Path, clock: Clock) -> None:
    receipt = shares.share(clip, days=3)
    found = shares.find(receipt.share.id)
    assert found == receipt.share
    assert (found.mode, found.size, found.seconds) == ("talk", (64, 48), pytest.approx(1.0, abs=0.1))
    assert found.settings == {"seed": 7, "expression_scale": 1.25, "size": 64, "renderer": "mesh"}
    assert found.expires - found.created == 3 * 86_400 and found.created == clock.now
    assert content(shares, found.id) == clip.read_bytes()
    assert content(shares, found.id, POSTER).startswith(b"\xff\xd8")
    assert found.inputs == {} and shares.file(found, "portrait.png") is None
    assert receipt.secret not in found.to_json()


def test_ids_and_secrets_cannot_be_guessed(shares: Shares, clip: Path) -> None:
    receipts = [shares.share(clip) for _ in range(3)]
    ids = {receipt.share.id for receipt in receipts}
    assert len(ids) == 3 and len({receipt.secret for receipt in receipts}) == 3
    for one in ids:
        assert re.fullmatch("[a-z2-7]{26}", one), "26 letters of 5 bits are 130 bits"


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "../" * 8, "a" * 25, "a" * 27, "a" * 10_000, "A" * 26, "a" * 25 + "\n", "a" * 25 + "\0",
        "../../etc/passwd".ljust(26, "a"), "a" * 12 + "/" + "a" * 13, "%2e%2e%2f" + "a" * 17, "ａ" * 26, "1" * 26,
        b"a" * 26, None, 7,
    ],
)  # fmt: skip
def test_what_is_no_id_is_not_looked_for(shares: Shares, text: object) -> None:
    assert not is_id(text)
    assert shares.find(text) is None
    with pytest.raises(ShareError, match="no such link"):
        shares.remove(text, "secret")


def test_no_name_leads_out_of_a_shares_folder(shares: Shares, clip: Path) -> None:
    share = shares.share(clip).share
    for name in ("../index.sqlite", "../../index.sqlite", "/etc/passwd", "", ".", "clip.mp4/../poster.jpg", "x\0"):
        assert shares.file(share, name) is None


def test_only_its_maker_deletes_it(shares: Shares, clip: Path) -> None:
    receipt, other = shares.share(clip), shares.share(clip)
    for wrong in ("", "x", other.secret, receipt.secret[:-1], receipt.secret + "x", "ü", "\ud800"):
        with pytest.raises(ShareError, match="does not belong") as refusal:
            shares.remove(receipt.share.id, wrong)
        assert one_sentence(refusal.value)
    assert content(shares, receipt.share.id)
    shares.remove(receipt.share.id, receipt.secret)
    assert shares.find(receipt.share.id) is None
    assert content(shares, other.share.id) == clip.read_bytes(), "the same clip under another link went with it"
    with pytest.raises(ShareError, match="no such link"):
        shares.remove(receipt.share.id, receipt.secret)


def test_links_expire_and_are_purged(shares: Shares, clip: Path, clock: Clock) -> None:
    short, long = shares.share(clip, days=1).share, shares.share(clip, days=30).share
    clock.days(1)
    assert shares.find(short.id) is None, "a link lives until purged"
    assert shares.store.find(short.id) is not None
    assert shares.purge() == 1 and shares.purge() == 0
    assert shares.store.find(short.id) is None
    assert not (shares.store.folder / "clips" / short.id).exists()
    assert content(shares, long.id)


@pytest.mark.parametrize("days", [0, -1, 31, 1.5, True, "7", float("nan")])
def test_lifetimes_that_are_not_offered(shares: Shares, clip: Path, days: object) -> None:
    with pytest.raises(ShareError, match="1 to 30 days"):
        shares.share(clip, days=days)


def test_limits_are_kept_and_leave_nothing_behind(store: Store, clip: Path, clock: Clock) -> None:
    few = Shares(store, Limits(clips=2, megabytes=2), clock)
    kept = [few.share(clip, days=1).share.id for _ in range(2)]
    with pytest.raises(ShareError, match="as there is room for") as refusal:
        few.share(clip)
    assert one_sentence(refusal.value)
    clock.days(1)
    assert few.share(clip), "expired links should make room"
    assert not any(few.find(one) for one in kept)
    small = Shares(store, Limits(megabytes=0), clock)
    with pytest.raises(ShareError, match="more than the 0 MB"):
        small.share(clip)
    assert not list((store.folder / "incoming").iterdir())


def test_inputs_are_kept_only_when_given(shares: Shares, clip: Path, voice: Path, repository: Path) -> None:
    portrait = repository / "examples/portraits/drawing.png"
    share = shares.share(clip, inputs={"portrait": portrait, "audio": voice, "video": None}).share
    assert share.inputs == {"portrait": "portrait.png", "audio": "audio.flac"}
    for name in share.inputs.values():
        assert content(shares, share.id, name)
    assert shares.find(share.id).inputs == share.inputs
    with pytest.raises(ShareError, match="no input 'diary'"):
        shares.share(clip, inputs={"diary": voice})


def test_a_restart_finds_what_was_shared(
    shares: Shares, open_store: Callable[..., Store], clip: Path, clock: Clock
) -> None:
    first, second = shares.share(clip), shares.share(clip)
    shares.remove(second.share.id, second.secret)
    again = Shares(open_store(), shares.limits, clock)
    again.tidy()
    assert again.find(first.share.id) == first.share
    assert content(again, first.share.id) == clip.read_bytes()
    assert again.find(second.share.id) is None
    again.remove(first.share.id, first.secret)
    assert Shares(open_store(), shares.limits, clock).find(first.share.id) is None


def test_many_at_once(open_store: Callable[..., Store], clip: Path, kind: str) -> None:
    """Threads over two stores of the same place share, look and delete; nothing is lost, mixed up or left."""
    limits = Limits(clips=12)
    both = [Shares(open_store(), limits), Shares(open_store(), limits)]
    kept, refused, lock = [], [], threading.Lock()

    def visitor(number: int) -> None:
        mine = both[number % 2]
        try:
            receipts = [mine.share(clip) for _ in range(2)]
        except ShareError as error:
            refused.append(error)
            return
        assert content(mine, receipts[0].share.id) == clip.read_bytes()
        mine.remove(receipts[0].share.id, receipts[0].secret)
        with lock:
            kept.append(receipts[1])

    count = 8 if kind == "folder" else 4
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(visitor, range(count)))
    assert all("as there is room for" in str(error) for error in refused), refused
    again = Shares(open_store(), limits)
    again.tidy()
    for receipt in kept:
        assert again.find(receipt.share.id) == receipt.share
        assert content(again, receipt.share.id) == clip.read_bytes()
    if not refused:
        assert len(kept) == count
    assert not list((again.store.folder / "incoming").iterdir())


def test_of_many_who_delete_one_link_one_succeeds(shares: Shares, clip: Path) -> None:
    receipt = shares.share(clip)

    def delete(_: int) -> bool:
        try:
            shares.remove(receipt.share.id, receipt.secret)
        except ShareError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(delete, range(4))) == 1


def test_files_that_are_no_clips_of_ours(shares: Shares, clip: Path, voice: Path, tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("This is no video.")
    empty.write_bytes(b"")
    for source, words in {text: "cannot be read", empty: "is empty", tmp_path / "none.mp4": "no file"}.items():
        with pytest.raises(InputError, match=words) as refusal:
            shares.share(source)
        assert one_sentence(refusal.value)
    assert not list((shares.store.folder / "incoming").iterdir())
