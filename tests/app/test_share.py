"""Sharing as people do it: a link from the page, opened elsewhere, opened in the editor, deleted; and by programs."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import Server
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_steps import set_number
from playwright.sync_api import Browser, Page, expect

from pipeline.sharing import is_id
from pipeline.video import VideoWriter

Files = dict[str, Path]
Visit = Callable[..., Page]
PATIENCE = 60_000  # milliseconds, for a machine that has other things to do


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return Client(server.url, verbose=False, download_files=str(tmp_path))


def make_clip(client: Client, files: Files, **options: object) -> Path:
    asked = {"portrait": handle_file(files["portrait"]), "audio": handle_file(files["voice"]), "consent": True}
    result = client.predict(**asked, **options, api_name="/talk")
    return Path(result["video"] if isinstance(result, dict) else result)


def make_on_page(page: Page, files: Files) -> None:
    page.set_input_files("#portrait input[type=file]", files["portrait"])
    page.wait_for_selector("#portrait img")
    page.set_input_files("#voice input[type=file]", files["voice"])
    page.wait_for_selector("#voice .waveform-container, #voice #waveform")
    page.check("#consent-talk input")
    page.click("#make-talk")
    page.wait_for_selector("#clip video")


def share_on_page(page: Page) -> str:
    """Make a link for the clip that is there; returns it."""
    page.get_by_role("button", name="Share by link").click()
    page.click("#share-make")
    field = page.locator("#share-link textarea, #share-link input")
    expect(field).to_be_visible(timeout=PATIENCE)
    return field.input_value()


def play(page: Page) -> float:
    """Start the clip of a share's page; returns where it is after a while (the page lets no text run as a script)."""
    page.evaluate("document.querySelector('video').play()")
    deadline = time.monotonic() + 20
    while (moment := page.evaluate("document.querySelector('video').currentTime")) <= 0.2:
        if time.monotonic() > deadline:
            break
        page.wait_for_timeout(50)
    return moment


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 900, "light"), (390, 780, "dark")])
def test_a_link_from_making_to_deleting(
    server: Server,
    visit: Visit,
    browser: Browser,
    files: Files,
    artefacts: Path,
    width: int,
    height: int,
    scheme: str,
) -> None:
    page = visit(server.url, width, height, scheme)
    expect(page.locator("#share")).to_be_hidden()
    page.get_by_role("button", name="Options").click()
    set_number(page, "Seed", 42)
    make_on_page(page, files)
    link = share_on_page(page)
    page.screenshot(path=artefacts / f"share-box-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    share = server.shares.find(link.rsplit("/", 1)[1])
    assert share.inputs == {}, "inputs were kept though nobody asked for it"

    # Somebody else, who was given the link.
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    other = context.new_page()
    problems: list[str] = []
    other.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    other.goto(link)
    assert play(other) > 0.2, "the clip does not play"
    other.screenshot(path=artefacts / f"shared-{width}.png", full_page=True)
    assert other.evaluate("document.querySelector('video').videoWidth") == 256
    assert other.evaluate("document.documentElement.scrollWidth") == width
    expect(other.locator("dl")).to_contain_text("42")
    expect(other.locator("#delete")).to_be_hidden()
    assert problems == []
    other.get_by_role("link", name="Open in the editor").click()
    other.wait_for_selector("#make-talk")
    other.get_by_role("button", name="Options").click()
    expect(other.get_by_label("Seed")).to_have_value("42", timeout=PATIENCE)
    expect(other.locator("#portrait img")).to_have_count(0)
    expect(other.locator("#consent-talk input")).not_to_be_checked()

    # Its maker, on the clip's page: the browser has the secret.
    own = page.context.new_page()
    own.goto(link)
    own.on("dialog", lambda dialog: dialog.accept())
    own.click("#delete")
    expect(own.locator("h1")).to_have_text("This clip is not here", timeout=PATIENCE)
    assert {status_of(link), status_of(f"{link}/clip.mp4"), status_of(f"{link}/poster.jpg")} == {404}
    other.goto(link)
    expect(other.locator("h1")).to_have_text("This clip is not here")
    other.screenshot(path=artefacts / f"shared-gone-{width}.png")
    context.close()


def test_inputs_are_restored_if_their_owner_ticked_the_box(
    server: Server, visit: Visit, files: Files, artefacts: Path
) -> None:
    page = visit(server.url)
    make_on_page(page, files)
    page.get_by_role("button", name="Share by link").click()
    page.check("#share-inputs input")
    page.get_by_label("1 day", exact=True).check()
    page.click("#share-make")
    field = page.locator("#share-link textarea, #share-link input")
    expect(field).to_be_visible(timeout=PATIENCE)
    share = server.shares.find(field.input_value().rsplit("/", 1)[1])
    assert share.inputs == {"portrait": "portrait.png", "audio": "audio.flac"}
    assert share.expires - share.created == 86_400
    other = visit(f"{server.url}?share={share.id}")
    other.wait_for_selector("#portrait img")
    other.wait_for_selector("#voice .waveform-container, #voice #waveform")
    other.screenshot(path=artefacts / "share-opened.png", full_page=True)
    other.check("#consent-talk input")
    other.click("#make-talk")
    other.wait_for_selector("#clip video")
    # And back in the first tab it is deleted where it was made.
    page.click("#share-delete")
    expect(page.locator("#share-make")).to_be_visible(timeout=PATIENCE)
    assert server.shares.find(share.id) is None
    gone = visit(f"{server.url}?share={share.id}")
    expect(gone.get_by_text("This clip is not here").first).to_be_visible(timeout=PATIENCE)


def test_a_listener_opens_with_its_attitude(
    server: Server, browser: Browser, files: Files, artefacts: Path, tmp_path: Path
) -> None:
    settings = {"mode": "listen", "attitude": "negative", "attitude_scale": 1.5, "seed": 9, "size": [512, 256]}
    settings |= {"expression_scale": 99, "layout": "upside-down", "consent": True}
    with VideoWriter(tmp_path / "clip.mp4", (64, 48), files["voice"], settings=settings) as writer:
        for _ in range(5):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    share = server.shares.share(tmp_path / "clip.mp4").share
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{server.url}?share={share.id}")
    expect(page.locator("#make-listen")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_label("消极")).to_be_checked(timeout=PATIENCE)
    page.get_by_role("button", name="选项").click()
    expect(page.get_by_label("随机种子").locator("visible=true")).to_have_value("9", timeout=PATIENCE)
    page.screenshot(path=artefacts / "share-opened-listen.png", full_page=True)
    sliders = page.locator("input[type=range]").locator("visible=true").evaluate_all("all => all.map(one => one.value)")
    assert sliders[:2] == ["1.5", "1"], "a value beyond its slider was taken"
    expect(page.locator("#consent-listen input")).not_to_be_checked()
    context.close()


def test_programs_share_and_unshare(server: Server, client: Client, files: Files, browser: Browser) -> None:
    clip = make_clip(client, files, seed=5)
    made = client.predict(clip=handle_file(clip), days=2, portrait=handle_file(files["portrait"]), api_name="/share")
    assert set(made) == {"link", "id", "secret", "expires"} and is_id(made["id"])
    link = made["link"]
    assert link == f"{server.url.rstrip('/')}/share/{made['id']}"
    share = server.shares.find(made["id"])
    assert share.inputs == {"portrait": "portrait.png"} and share.settings["seed"] == 5
    with urllib.request.urlopen(f"{link}/clip.mp4") as answer:
        assert answer.read() == clip.read_bytes()

    # What the maker opens once to be able to delete it in the browser.
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{link}#delete={made['secret']}")
    expect(page.locator("#delete")).to_be_visible()
    assert page.url == link, "the secret stayed in the address, where it would be copied along"
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#delete")).to_be_visible()
    context.close()

    # Gradio's own way to files does not lead to those of shares.
    for name in ("index.sqlite", f"clips/{made['id']}/clip.mp4"):
        path = server.shares.store.folder / name
        assert path.is_file() and status_of(f"{server.url}gradio_api/file={path}") in (403, 404)

    with pytest.raises(AppError, match="does not belong to this link"):
        client.predict(link=link, secret="guess", api_name="/unshare")
    assert client.predict(link=link, secret=made["secret"], api_name="/unshare") == {"deleted": made["id"]}
    assert status_of(link) == 404
    with pytest.raises(AppError, match="no such link"):
        client.predict(link=made["id"], secret=made["secret"], api_name="/unshare")


def test_what_is_no_clip_is_refused_and_a_session_shares_only_so_often(
    server: Server, client: Client, files: Files
) -> None:
    with pytest.raises(AppError, match="make it once more"):
        client.predict(clip=None, api_name="/share")
    with pytest.raises(AppError, match="cannot be read"):
        client.predict(clip=handle_file(files["text"]), api_name="/share")
    clip = handle_file(make_clip(client, files))
    links = [client.predict(clip=clip, api_name="/share")["link"] for _ in range(3)]
    assert len(set(links)) == 3
    with pytest.raises(AppError, match="shared many clips within the hour"):
        client.predict(clip=clip, api_name="/share")
    another = Client(server.url, verbose=False)
    assert another.predict(clip=clip, api_name="/share")["link"] not in links
