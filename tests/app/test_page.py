"""The page as a visitor meets it, in headless Chromium, with the stand-in pipeline."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from fakes import Server
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_steps import fill_talk, playing
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
Files = dict[str, Path]


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
    (running,) = server.studio.jobs()
    assert running.visitor.address == "127.0.0.1" and running.visitor.session
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
    expect(page.locator("#stage .card")).to_contain_text("Stopped")
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
        while len(server.studio.jobs()) < len(jobs):
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
    expect(page.locator("#stage .card")).to_contain_text("Stopped")
    while len(server.studio.jobs()) > 1:
        time.sleep(0.02)
    jobs[0].cancel()
    assert server.fake.cancelled.wait(3)
    assert len(server.fake.calls) == 1, "work was begun for who had gone"


def test_a_portrait_is_looked_at_before_anything_is_made(
    server: Server, visit: Visit, files: Files, artefacts: Path
) -> None:
    page = visit(server.url)
    page.set_input_files("#portrait input[type=file]", files["side"])
    expect(page.locator(".look.bad")).to_contain_text("This picture cannot be used. 256 × 256 · face 102 px high")
    expect(page.locator(".look.bad li")).to_have_text("The face is seen from the side; turn it <b>round</b>.")
    page.screenshot(path=artefacts / "look.png")
    picture, box = (page.locator(place).bounding_box() for place in ("#portrait img", "#look rect.used"))
    assert picture is not None and box is not None
    # The stand-in's box: 0.3 to 0.6 across, 0.1 to 0.5 down; the picture lies in its frame as large as it can.
    side = min(picture["width"], picture["height"])
    left = picture["x"] + (picture["width"] - side) / 2
    top = picture["y"] + (picture["height"] - side) / 2
    assert box["x"] == pytest.approx(left + 0.3 * side, abs=4) and box["width"] == pytest.approx(0.3 * side, abs=5)
    assert box["y"] == pytest.approx(top + 0.1 * side, abs=4) and box["height"] == pytest.approx(0.4 * side, abs=5)
    page.locator("#portrait .top-panel button").last.click()
    expect(page.locator("#look")).not_to_be_visible()
    page.set_input_files("#portrait input[type=file]", files["two"])
    expect(page.locator(".look.fair li")).to_contain_text("There is one other face")
    assert not server.fake.calls


def test_the_clip_plays_while_it_is_made_and_goes_on_in_the_whole_file(
    server: Server, visit: Visit, files: Files, artefacts: Path, tmp_path: Path
) -> None:
    server.fake.frames, server.fake.delay, server.fake.hold_at = 100, 0.01, 60
    page = visit(server.url)
    fill_talk(page, files)
    page.click("#make-talk")
    live = "document.querySelector('#live video')"
    page.wait_for_function(f"{live}?.currentTime > 0.2 && document.querySelector('.card.working')")
    page.screenshot(path=artefacts / "live.png")
    shown = page.evaluate(f"({{width: {live}.videoWidth, sound: {live}.webkitAudioDecodedByteCount}})")
    assert shown["width"] == 256 and shown["sound"] > 0
    assert page.locator("#announcer").inner_text().startswith("Drawing frames")
    before = page.evaluate(f"{live}.currentTime")
    server.fake.go_on.set()
    page.wait_for_function("document.querySelector('#live figure')?.hidden")
    assert page.evaluate("document.querySelector('#clip video').currentTime") >= before - 0.1, "it began anew"
    assert not page.evaluate("document.querySelector('#clip video').muted")
    expect(page.locator("#announcer")).to_have_text("The clip is done.")

    # Before and after: the portrait lies exactly over the clip, as far as the slider says.
    page.locator(".wipe input").fill("40")
    over, clip = page.locator("#before").bounding_box(), page.locator("#clip video").bounding_box()
    assert over == pytest.approx(clip, abs=1)
    assert page.locator("#before").evaluate("e => e.style.clipPath") in ("inset(0px 60% 0px 0px)", "inset(0 60% 0 0)")

    # For the curious, and for who cannot see it.
    expect(page.locator(".movement svg")).not_to_be_visible()
    page.locator(".fold summary").click()
    expect(page.locator(".movement svg")).to_have_attribute("aria-label", re.compile("the head nods through 0°, turns"))
    page.screenshot(path=artefacts / "done.png", full_page=True)

    # Told from other files.
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "clip.mp4")
    page.get_by_role("button", name="Was a clip made here?").click()
    page.set_input_files("#verify-file input[type=file]", tmp_path / "clip.mp4")
    expect(page.locator(".card.verdict.marked h3")).to_have_text("Made with Tête-à-tête, unchanged")
    page.screenshot(path=artefacts / "verified.png", full_page=True)


def test_pieces_are_given_to_no_one_else(server: Server) -> None:
    hostile = ("live/x.mp4", "live/..%2f..%2fetc%2fpasswd.mp4", f"live/{'a' * 22}.mp4", f"live/{'a' * 22}/init.mp4")
    for address in (*hostile, "live/%00/live.m3u8", "pictures/..%2f..%2fapp.py", "pictures/listening.jpg"):
        with pytest.raises(HTTPError) as refusal:
            urlopen(server.url + address, timeout=5)
        assert refusal.value.code == 404, address
    with urlopen(server.url + "pictures/talking.webp", timeout=5) as picture:
        assert picture.headers["Content-Type"] == "image/webp"


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
    expect(page.locator(".card.done")).to_be_visible()  # Gradio's heartbeat keeps the network from ever being idle
    expect(page.locator("#movement details")).to_be_visible()
    context.close()
    assert len(asked) > 20
    own = (server.url, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
