"""What several browser tests do on the page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

Files = dict[str, Path]


def fill_talk(page: Page, files: Files, portrait: str = "portrait", consent: bool = True) -> None:
    """Upload a portrait and a voice, wait until both are there, and tick the box."""
    page.set_input_files("#portrait input[type=file]", files[portrait])
    page.wait_for_selector("#portrait img")
    page.set_input_files("#voice input[type=file]", files["voice"])
    page.wait_for_selector("#voice .waveform-container, #voice #waveform")
    if consent:
        page.check("#consent-talk input")


def set_number(page: Page, label: str, value: int) -> None:
    """Type a number as a person does, who takes longer than Gradio, which sets a new field once more after 30 ms."""
    field = page.get_by_label(label)
    expect(field).to_be_visible()
    for _ in range(20):
        field.fill(str(value))
        page.wait_for_timeout(200)
        if field.input_value() == str(value):
            return
    raise AssertionError(f"{label} does not keep {value}.")


def playing(page: Page) -> dict:
    """The result video's state, once it has played a little."""
    page.wait_for_selector("#clip video")
    page.wait_for_function("document.querySelector('#clip video').currentTime > 0.3")
    return page.evaluate(
        """() => { const v = document.querySelector('#clip video');
        return {width: v.videoWidth, height: v.videoHeight, seconds: v.duration, time: v.currentTime,
                sound: v.webkitAudioDecodedByteCount, error: v.error}; }"""
    )
