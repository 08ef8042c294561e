"""The page as a visitor meets it, in headless Chromium, with the stand-in pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Server
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
Files = dict[str, Path]


def fill_talk(page: Page, files: Files, portrait: str = "portrait", consent: bool = True) -> None:
    """Upload a portrait and a voice, wait until both are there, and tick the box."""
    page.set_input_files("#portrait input[type=file]", files[portrait])
    page.wait_for_selector("#portrait img")
    page.set_input_files("#voice input[type=file]", files["voice"])
    page.wait_for_selector("#voice .waveform-container, #voice #waveform")
    if consent:
        page.check("#consent-talk input")


def playing(page: Page) -> dict:
    """The result video's state, once it has played a little."""
    page.wait_for_selector("#clip video")
    page.wait_for_function("document.querySelector('#clip video').currentTime > 0.3")
    return page.evaluate(
        """() => { const v = document.querySelector('#clip video');
        return {width: v.videoWidth, height: v.videoHeight, seconds: v.duration, time: v.currentTime,
                sound: v.webkitAudioDecodedByteCount, error: v.error}; }"""
    )


def scroll_width(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth")


def test_from_upload_to_a_playing_video_with_sound_and_download(
    server: Server, visit: Visit, files: Files, artefacts: Path, tmp_path: Path
) -> None:
    server.fake.frames = 35
    page = visit(server.url)
    fill_talk(page, files)
    page.click("#make-talk")
    state = playing(page)
    page.screenshot(path=artefacts / "talk.png", full_page=True)
    assert state["error"] is None
    assert (state["width"], state["height"]) == (256, 256)
    assert state["seconds"] == pytest.approx(1.4, abs=0.1)
    assert state["sound"] > 0, "the clip plays without sound"
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "tete-a-tete-talk.mp4"
    download.value.save_as(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes()[4:8] == b"ftyp"
    expect(page.locator(".card.done")).to_contain_text("256 × 256 px")
    assert server.leaves_nothing(), "the clip was left in the work folder"


def test_a_video_drives_the_portrait(server: Server, visit: Visit, files: Files, artefacts: Path) -> None:
    page = visit(server.url)
    page.set_input_files("#portrait input[type=file]", files["portrait"])
    page.get_by_role("tab", name="Follow a video").click()
    page.set_input_files("#driving input[type=file]", files["driving"])
    page.wait_for_selector("#driving video")
    page.check("#consent-reenact input")
    page.click("#make-reenact")
    assert playing(page)["width"] == 256
    page.screenshot(path=artefacts / "reenact.png", full_page=True)
    assert server.fake.calls[-1]["relative"] is True


def test_a_portrait_listens_to_a_voice_with_an_attitude(
    server: Server, visit: Visit, files: Files, artefacts: Path
) -> None:
    page = visit(server.url)
    page.set_input_files("#portrait input[type=file]", files["portrait"])
    page.get_by_role("tab", name="Listen").click()
    page.set_input_files("#speaker-voice input[type=file]", files["voice"])
    page.wait_for_selector("#speaker-voice .waveform-container, #speaker-voice #waveform")
    page.get_by_label("Negative").check()
    page.check("#consent-listen input")
    page.click("#make-listen")
    assert playing(page)["sound"] > 0
    page.screenshot(path=artefacts / "listen.png", full_page=True)
    expect(page.locator(".card.done")).to_contain_text("negative attitude")
    call = server.fake.calls[-1]
    assert (call["attitude"], call["layout"], call["speaker_video"]) == ("negative", "listener", None)


def test_a_portrait_listens_to_a_video_which_takes_the_voices_place(server: Server, visit: Visit, files: Files) -> None:
    page = visit(server.url)
    page.set_input_files("#portrait input[type=file]", files["portrait"])
    page.get_by_role("tab", name="Listen").click()
    page.set_input_files("#speaker-voice input[type=file]", files["voice"])
    page.wait_for_selector("#speaker-voice .waveform-container, #speaker-voice #waveform")
    page.get_by_role("tab", name="To a video").click()
    page.set_input_files("#speaker-video input[type=file]", files["driving"])
    page.wait_for_selector("#speaker-video video")
    page.get_by_role("tab", name="To a voice").click()
    page.wait_for_selector("#speaker-voice input[type=file]", state="attached")
    page.get_by_role("tab", name="To a video").click()
    page.get_by_label("Beside the speaker").check()
    page.check("#consent-listen input")
    page.click("#make-listen")
    playing(page)
    call = server.fake.calls[-1]
    assert call["sound"] == call["speaker_video"], "the voice behind the other tab was heard"
    assert (call["attitude"], call["layout"]) == ("neutral", "side-by-side")


def test_one_clip_at_a_time(server: Server, visit: Visit, files: Files) -> None:
    server.fake.frames, server.fake.delay = 1000, 0.05
    page = visit(server.url)
    fill_talk(page, files)
    page.click("#make-talk")
    page.wait_for_selector(".card.working")
    page.get_by_role("tab", name="Follow a video").click()
    expect(page.locator("#make-reenact")).to_be_disabled()
    page.get_by_role("tab", name="Speak").click()
    page.click("#stop-talk")
    page.get_by_role("tab", name="Follow a video").click()
    expect(page.locator("#make-reenact")).to_be_enabled()


def test_progress_names_the_stage_counts_frames_and_tells_the_time_left(
    server: Server, visit: Visit, files: Files, artefacts: Path
) -> None:
    server.fake.frames, server.fake.delay = 100, 0.05
    page = visit(server.url)
    fill_talk(page, files)
    page.click("#make-talk")
    card = page.locator(".card.working")
    expect(card.locator("h3")).to_have_text("Drawing frames", timeout=10_000)
    expect(card.locator(".left")).to_have_text("about 2 s left", timeout=10_000)
    page.screenshot(path=artefacts / "working.png", full_page=True)
    shown = card.locator(".steps").inner_text()
    done, total = int(shown.split()[0]), int(shown.split()[2])
    assert total == 100
    assert 40 <= done <= 75, f"2 s left of 5 s, but it says {shown}"
    assert card.locator(".stages .past").all_inner_texts()[-1:] == ["Reading the portrait"]
    playing(page)


def test_stop_stops_the_work_within_a_second(server: Server, visit: Visit, files: Files, artefacts: Path) -> None:
    server.fake.frames, server.fake.delay = 1000, 0.05
    page = visit(server.url)
    fill_talk(page, files)
    page.click("#make-talk")
    page.locator(".card.working .steps").get_by_text("of 1000 frames").wait_for()
    page.click("#stop-talk")
    pressed = time.monotonic()
    assert server.fake.cancelled.wait(3), "the pipeline was not told to stop"
    assert server.fake.last_frame - pressed < 1, "frames were drawn more than a second after Stop"
    expect(page.locator(".card")).to_contain_text("Stopped")
    expect(page.locator("#make-talk")).to_be_visible()
    page.screenshot(path=artefacts / "stopped.png", full_page=True)
    assert server.leaves_nothing(), "a stopped job left files"
    # And the place is free again.
    server.fake.__init__()
    page.click("#make-talk")
    playing(page)


def test_leaving_the_page_stops_the_work(server: Server, visit: Visit, files: Files) -> None:
    server.fake.frames, server.fake.delay = 2000, 0.05
    page = visit(server.url)
    fill_talk(page, files)
    page.click("#make-talk")
    page.locator(".card.working .steps").get_by_text("of 2000 frames").wait_for()
    page.close()
    assert server.fake.cancelled.wait(10), "the work went on though nobody waits for it"


@pytest.mark.parametrize(
    ("portrait", "consent", "sentence"),
    [
        ("portrait", False, 'Please confirm "I may use this face and voice"'),
        ("text", True, "text.png is not a picture; give a JPEG, PNG or WebP file."),
        ("crash", True, "Something went wrong on our side"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    server: Server, visit: Visit, files: Files, artefacts: Path, portrait: str, consent: bool, sentence: str
) -> None:
    page = visit(server.url)
    fill_talk(page, files, portrait, consent)
    page.click("#make-talk")
    expect(page.locator(".card.refusal")).to_contain_text(sentence)
    expect(page.locator("#make-talk")).to_be_visible()
    page.screenshot(path=artefacts / f"refused-{portrait}.png", full_page=True)
    text = page.locator("body").inner_text()
    assert "Traceback" not in text
    assert "secret detail" not in text
    assert server.leaves_nothing()


def test_nothing_chosen_is_refused_before_the_work(server: Server, visit: Visit) -> None:
    page = visit(server.url)
    page.click("#make-talk")
    expect(page.locator(".card.refusal")).to_contain_text("Add a portrait first")
    assert not server.fake.calls


def test_warnings_of_the_pipeline_are_shown(server: Server, visit: Visit, files: Files) -> None:
    page = visit(server.url)
    fill_talk(page, files, "two")
    page.click("#make-talk")
    expect(page.locator(".card.done .notes")).to_contain_text("There are 2 faces in the picture")


def test_examples_fill_the_page_and_run(server: Server, visit: Visit) -> None:
    page = visit(server.url)
    page.locator(".examples").nth(0).locator("button.gallery-item").first.click()
    page.wait_for_selector("#portrait img")
    page.locator(".examples").nth(1).locator("button.gallery-item").first.click()
    page.wait_for_selector("#voice .waveform-container, #voice #waveform")
    page.check("#consent-talk input")
    page.click("#make-talk")
    assert playing(page)["sound"] > 0


def test_a_voice_can_be_recorded_with_the_microphone(server: Server, visit: Visit, files: Files) -> None:
    page = visit(server.url)
    page.set_input_files("#portrait input[type=file]", files["portrait"])
    page.locator("#voice [aria-label='Record audio']").click()
    page.locator("#voice button.record-button").click()
    time.sleep(1.5)
    page.locator("#voice button.stop-button").click()
    page.wait_for_selector("#voice .waveform-container, #voice #waveform")
    page.check("#consent-talk input")
    page.click("#make-talk")
    playing(page)
    assert Path(server.fake.calls[-1]["sound"]).suffix == ".wav"


def test_who_must_wait_sees_their_place_and_a_full_house_is_refused(
    server: Server, visit: Visit, files: Files, artefacts: Path
) -> None:
    server.fake.frames, server.fake.delay = 2000, 0.05
    page = visit(server.url)
    fill_talk(page, files)
    others = [Client(server.url, verbose=False) for _ in range(5)]
    asked = {"portrait": handle_file(files["portrait"]), "audio": handle_file(files["voice"]), "consent": True}
    jobs = []
    for other in others[:3]:
        jobs.append(other.submit(**asked, api_name="/talk"))
        while len(server.studio._line) < len(jobs):
            time.sleep(0.02)
    page.click("#make-talk")
    expect(page.locator(".card.working .steps")).to_have_text("3 clips come before yours")
    page.screenshot(path=artefacts / "waiting.png", full_page=True)
    with pytest.raises(AppError, match="Too many clips are being made"):
        others[3].predict(**asked, api_name="/talk")
    jobs[1].cancel()
    expect(page.locator(".card.working .steps")).to_have_text("2 clips come before yours")
    page.click("#stop-talk")
    jobs[2].cancel()
    expect(page.locator(".card")).to_contain_text("Stopped")
    while len(server.studio._line) > 1:
        time.sleep(0.02)
    jobs[0].cancel()
    assert server.fake.cancelled.wait(3)
    assert len(server.fake.calls) == 1, "work was begun for who had gone"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(
    server: Server, visit: Visit, files: Files, artefacts: Path, scheme: str
) -> None:
    server.fake.delay = 0.04
    page = visit(server.url, 360, 740, scheme)
    assert scroll_width(page) == 360
    page.screenshot(path=artefacts / f"phone-{scheme}.png", full_page=True)
    for tab in ("Listen", "To a video", "Follow a video", "Speak"):
        page.get_by_role("tab", name=tab).click()
        assert scroll_width(page) == 360
    fill_talk(page, files)
    page.get_by_role("button", name="Options").click()
    assert scroll_width(page) == 360
    page.click("#make-talk")
    page.wait_for_selector(".card.working")
    assert scroll_width(page) == 360
    playing(page)
    page.screenshot(path=artefacts / f"phone-{scheme}-done.png", full_page=True)
    assert scroll_width(page) == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(server: Server, visit: Visit, artefacts: Path, scheme: str) -> None:
    page = visit(server.url, scheme=scheme)
    page.screenshot(path=artefacts / f"desktop-{scheme}.png", full_page=True)
    contrasts = page.evaluate(CONTRASTS, ["header h1", "header p", ".card.empty p", "#make-talk", "footer.terms p"])
    for selector, contrast in contrasts.items():
        assert contrast >= 4.5, f"{selector} has a contrast of {contrast:.1f} in {scheme}"


def test_no_request_leaves_for_another_host(server: Server, visit: Visit, browser, files: Files) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("#make-talk")
    fill_talk(page, files)
    page.click("#make-talk")
    playing(page)
    page.wait_for_load_state("networkidle")
    context.close()
    assert len(asked) > 20
    own = (server.url, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []


CONTRASTS = """(selectors) => {
  const rgba = text => { const m = text.match(/[\\d.]+/g).map(Number); return {c: m.slice(0, 3), a: m[3] ?? 1}; };
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour.a > 0.99) return colour.c;
    }
    return [255, 255, 255];
  };
  return Object.fromEntries(selectors.map(s => {
    const e = document.querySelector(s);
    const pair = [light(rgba(getComputedStyle(e).color).c), light(ground(e))];
    return [s, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
  }));
}"""
