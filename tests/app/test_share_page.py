"""The page of a shared clip over raw HTTP: what chats, players, and attackers ask for."""

from __future__ import annotations

import html
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import uvicorn
from starlette.applications import Starlette

from pipeline.errors import ShareError
from pipeline.sharing import Receipt, Shares
from pipeline.sharing.folder import FolderStore
from pipeline.video import VideoWriter

NASTY = "\"><script>alert('x')</script>&amp;"
SETTINGS = {"mode": "listen", "seed": 7, "attitude": NASTY, "size": [64, 48], "layout": "side-by-side", "secret": "x"}


class Site:
    """A small server with the routes of shared clips alone."""

    def __init__(self, shares: Shares) -> None:
        import app_share_page

        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.shares = shares
        config = uvicorn.Config(
            Starlette(routes=app_share_page.share_routes(shares)), log_level="error", lifespan="off"
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)
        self._thread.start()

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; the path goes out as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = headers or {}
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join(10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    soundfile.write(folder / "voice.wav", np.zeros(8000), 16_000)
    with VideoWriter(folder / "clip.mp4", (64, 48), folder / "voice.wav", settings=SETTINGS) as writer:
        for index in range(12):
            writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    return folder / "clip.mp4"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(Shares(FolderStore(tmp_path_factory.mktemp("site") / "shares")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def receipt(site: Site, clip: Path) -> Receipt:
    return site.shares.share(clip)


def test_chats_find_what_they_unfurl(site: Site, receipt: Receipt) -> None:
    status, headers, body = site.ask(f"/share/{receipt.share.id}", headers={"Host": "clips.example"})
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    pairs = re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)">', body.decode())
    facts = {name: html.unescape(value) for name, value in pairs}
    link = f"http://clips.example/share/{receipt.share.id}"
    assert facts["og:title"] == "A portrait listens" and "AI-generated" in facts["og:description"]
    assert (facts["og:url"], facts["og:image"], facts["og:video"]) == (link, f"{link}/poster.jpg", f"{link}/clip.mp4")
    assert (facts["og:video:width"], facts["og:video:height"], facts["og:image:width"]) == ("64", "48", "64")
    assert facts["twitter:card"] == "summary_large_image" and facts["twitter:image"] == f"{link}/poster.jpg"
    assert facts["robots"] == "noindex, nofollow"
    for name in ("poster.jpg", "clip.mp4"):
        assert site.ask(f"/share/{receipt.share.id}/{name}", "HEAD")[0] == 200


def test_nothing_in_a_clip_becomes_markup(site: Site, receipt: Receipt) -> None:
    _, headers, body = site.ask(f"/share/{receipt.share.id}")
    text = body.decode()
    assert html.escape(NASTY) in text and "alert(" not in text.replace(html.escape(NASTY), "")
    assert "Beside the speaker" in text and ">secret<" not in text, "settings that are none are shown"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "script-src 'self'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|style=|javascript:", text.replace(html.escape(NASTY), ""))
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text), "something is loaded from elsewhere"
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": '"><script>alert(1)</script>'},
        {"Host": "good.example", "X-Forwarded-Host": "evil.example/path?<b>"},
        {"Host": "good.example", "X-Forwarded-Proto": "javascript"},
        {"Host": "a" * 300},
    ],
)
def test_headers_that_are_no_host_do_not_get_into_the_page(
    site: Site, receipt: Receipt, headers: dict[str, str]
) -> None:
    _, _, body = site.ask(f"/share/{receipt.share.id}", headers=headers)
    text = body.decode()
    assert f'content="/share/{receipt.share.id}"' in text
    assert "alert(1)" not in text and "evil.example" not in text and "javascript:" not in text and "aaaaa" not in text


def test_addresses_behind_a_proxy_and_fixed_ones(site: Site, receipt: Receipt, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(**headers: str) -> str:
        sent = {"Host": "inner:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
        body = site.ask(f"/share/{receipt.share.id}", headers=sent)[2].decode()
        return re.search(r'"og:url" content="([^"]*)/share', body)[1]

    assert link() == "http://inner:7860"
    assert link(X_Forwarded_Proto="https", X_Forwarded_Host="outer.example") == "https://outer.example"
    monkeypatch.setenv("SPACE_HOST", "someone-heads.hf.space")
    assert link(X_Forwarded_Host="evil.example") == "https://someone-heads.hf.space"
    monkeypatch.setenv("TETE_PUBLIC_URL", "https://heads.example/app/")
    assert link() == "https://heads.example/app"


@pytest.mark.parametrize(
    ("wanted", "status", "span"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=100-", 206, (100, None)),
        ("bytes=-20", 206, (-20, None)),
        ("bytes=0-", 206, (0, None)),
        ("bytes=9999999-", 416, None),
        ("bytes=a-b", 400, None),
        ("bytes=5-2", 400, None),
        (None, 200, (0, None)),
    ],
)
def test_players_ask_for_parts(
    site: Site, receipt: Receipt, clip: Path, wanted: str | None, status: int, span: tuple | None
) -> None:
    path = f"/share/{receipt.share.id}/clip.mp4"
    answered, headers, body = site.ask(path, headers={"Range": wanted} if wanted else {})
    assert answered == status
    if span is not None:
        assert body == clip.read_bytes()[slice(*span)] and headers["content-length"] == str(len(body))
        assert headers["accept-ranges"] == "bytes" and headers["content-type"] == "video/mp4"
        assert "content-encoding" not in headers
    if status == 206:
        assert headers["content-range"].endswith(f"/{clip.stat().st_size}")


HOSTILE = [
    "..", "../", "../index.sqlite", "../../index.sqlite", "%2e%2e/index.sqlite", "%2e%2e%2findex.sqlite",
    "..%2f..%2f..%2fetc%2fpasswd", "%252e%252e%252fetc%252fpasswd", "..%5c..%5cindex.sqlite", "%00", "a%00b", "%0a",
    "a" * 26, "a" * 5000, "{id}%00", "{id}%0a", "{id}/", "{id}/../../index.sqlite", "{id}/%2e%2e%2findex.sqlite",
    "{id}/..%2f{id}%2fclip.mp4", "{id}/until", "{id}/portrait.png", "{id}/audio.flac", "{id}/clip.mp4/",
    "{id}//clip.mp4",
    "{id}/clip.mp4%00.jpg", "{id}/CLIP.MP4", "assets/../{id}", "assets/..%2fapp.py", "assets/app.py", "assets/%2e%2e",
    "assets//etc/passwd", "assets", "/etc/passwd", "//{id}", "%ff%fe", "{upper}", "; DROP TABLE shares",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_leads_anywhere_else(site: Site, receipt: Receipt, clip: Path, path: str) -> None:
    share_id = receipt.share.id
    whole = f"/share/{path.format(id=share_id, upper=share_id.upper())}".replace(" ", "%20")
    status, _, body = site.ask(whole)
    assert status in (307, 400, 404), f"{whole} answered {status}"
    assert b"SQLite" not in body and b"root:" not in body and b"import " not in body and body[4:8] != b"ftyp"
    assert site.ask(whole, "DELETE", {"X-Share-Secret": receipt.secret})[0] in (307, 400, 403, 404, 405)
    assert site.shares.find(share_id), "an odd address deleted it"


def test_there_is_no_list(site: Site, receipt: Receipt) -> None:
    for path in ("/share", "/share/", "/share/assets/", "/share/clips", "/share/index.sqlite"):
        status, headers, body = site.ask(path)
        if status == 307:
            status, headers, body = site.ask(re.sub(r"^https?://[^/]+", "", headers["location"]))
        assert status == 404 and receipt.share.id.encode() not in body


def test_deleting_needs_the_secret(site: Site, clip: Path) -> None:
    receipt = site.shares.share(clip)
    path = f"/share/{receipt.share.id}"
    for headers in ({}, {"X-Share-Secret": ""}, {"X-Share-Secret": "x" * 4000}, {"X-Share-Secret": "\xe4"}):
        status, _, body = site.ask(path, "DELETE", headers)
        assert status == 403 and "does not belong" in json.loads(body)["error"]
    for method in ("POST", "PUT", "PATCH"):
        assert site.ask(path, method, {"X-Share-Secret": receipt.secret})[0] == 405
    assert site.ask(path, "DELETE", {"X-Share-Secret": receipt.secret})[0] == 204
    for name in ("", "/clip.mp4", "/poster.jpg"):
        assert site.ask(path + name)[0] == 404
    assert site.ask(path, "DELETE", {"X-Share-Secret": receipt.secret})[0] == 403


@pytest.mark.parametrize(
    ("accepted", "words"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "一张肖像静静倾听"),
        ("en-GB,en;q=0.9,zh;q=0.5", "A portrait listens"),
        ("fr;q=1, zh;q=x", "A portrait listens"),
        ("", "A portrait listens"),
    ],
)
def test_the_page_speaks_the_visitors_language(site: Site, receipt: Receipt, accepted: str, words: str) -> None:
    _, headers, body = site.ask(f"/share/{receipt.share.id}", headers={"Accept-Language": accepted})
    assert words in body.decode() and headers["vary"] == "Accept-Language"


def test_a_store_that_fails_is_said_without_detail(
    site: Site, receipt: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise ShareError("secret detail")

    monkeypatch.setattr(site.shares.store, "find", broken)
    for name in ("", "/clip.mp4"):
        status, _, body = site.ask(f"/share/{receipt.share.id}{name}")
        assert status == 503 and b"try again in a minute" in body and b"secret detail" not in body


def test_looking_while_it_is_deleted(site: Site, clip: Path) -> None:
    """Whoever asks gets the whole clip or a 404, and never something between."""
    whole, answers = clip.read_bytes(), []
    for _ in range(5):
        receipt = site.shares.share(clip)

        def look(share_id: str = receipt.share.id) -> None:
            for _ in range(10):
                try:
                    status, _, body = site.ask(f"/share/{share_id}/clip.mp4")
                except http.client.HTTPException:
                    continue  # the connection ended: a player sees that the file is not whole
                answers.append((status, status == 404 or body == whole))

        lookers = [threading.Thread(target=look) for _ in range(2)]
        for looker in lookers:
            looker.start()
        site.ask(f"/share/{receipt.share.id}", "DELETE", {"X-Share-Secret": receipt.secret})
        for looker in lookers:
            looker.join()
    assert {status for status, _ in answers} <= {200, 404} and all(right for _, right in answers)
