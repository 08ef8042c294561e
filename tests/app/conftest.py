"""A server with the stand-in pipeline, and a browser to visit it; both last the whole session."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes import FakePipeline, Server
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="tete-tests-")
atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

expect.set_options(timeout=30_000)  # on a busy machine a page takes its time

REPOSITORY = Path(__file__).resolve().parents[2]
# The page's modules stand at the root, where Spaces wants them.
sys.path.insert(0, str(REPOSITORY))

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import app
    from app_limits import Limits
    from pipeline import sharing
    from pipeline.sharing.folder import FolderStore

    fake = FakePipeline()
    shares = sharing.Shares(FolderStore(tmp_path_factory.mktemp("shares")), sharing.Limits(per_hour=4))
    page, studio = app.build_app(lambda: fake, Limits(queue=3), shares)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(studio, shares))
    yield Server(url, fake, studio, shares)
    studio.close()
    page.close(verbose=False)


@pytest.fixture
def server(_server: Server) -> Server:
    """The session's server with its stand-in as new: 25 frames, no delay."""
    _server.fake.__init__()
    return _server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: `CHROMIUM`, or the first of the usual names on the path."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, "These tests drive the page in Chromium: install it (apt-get install chromium) or set CHROMIUM."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`visit(url, width, height, scheme, locale)` opens the page, ready for input; every visit ends with the test."""
    contexts = []

    def open_page(url: str, width: int = 1280, height: int = 900, scheme: str = "light", locale: str = "en-US") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        page.wait_for_selector("#make-talk")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are kept to be looked at; git ignores it."""
    folder = REPOSITORY / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small inputs: a portrait, a second and a half of tone, a driving video, a text file named .png, …"""
    folder = tmp_path_factory.mktemp("inputs")
    portrait = Image.open(REPOSITORY / "examples/portraits/astronaut.png").convert("RGB").resize((256, 256))
    made = {name: folder / f"{name}.png" for name in ("portrait", "two", "crash", "side")}
    for path in made.values():
        portrait.save(path)
    made["text"] = folder / "text.png"
    made["text"].write_text("This is no picture.")
    made["voice"] = folder / "voice.wav"
    tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 16_000)
    soundfile.write(made["voice"], tone.astype(np.float32), 16_000)
    made["driving"] = folder / "driving.mp4"
    clip = FakePipeline().talk(str(made["portrait"]), str(made["voice"]), progress=_ignore, size=256)
    clip.save(made["driving"], progress=_ignore)
    return made


def _ignore(stage: str, done: int, total: int) -> None:
    """A progress callback for who does not watch."""
