"""The ways to make a clip, as tabs of the page: each with its inputs, its options and its buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app_jobs import Order
from app_look import choice_input, size_input
from app_requests import listen, reenact, talk
from app_texts import worded
from pipeline.attitudes import ATTITUDES

EXAMPLES = Path(__file__).resolve().parent / "examples"


@dataclass(frozen=True)
class Mode:
    """One way to make a clip: its request, the inputs that it takes in order, and its buttons."""

    request: Callable[..., Order]
    inputs: list[Any]
    make: gr.Button
    stop: gr.Button


def add_start(request: Callable[..., Order], inputs: list[Any], consent: str) -> Mode:
    """The consent and the button that starts, in a bar that stays in view."""
    name = request.__name__
    with gr.Group(elem_classes="act"):
        agreed = worded(gr.Checkbox(False, elem_id=f"consent-{name}", container=False), label=consent)
        make = worded(gr.Button(variant="primary", size="lg", elem_id=f"make-{name}"), value=f"make_{name}")
        stop = worded(gr.Button(variant="stop", size="lg", visible=False, elem_id=f"stop-{name}"), value="stop")
    return Mode(request, [*inputs, agreed], make, stop)


def example_files(folder: str, suffixes: set[str]) -> list[Path]:
    return sorted(p for p in (EXAMPLES / folder).glob("*") if p.suffix.lower() in suffixes)


def add_examples(target: Any, files: list[Path], label: str, named: bool) -> None:
    """A row of examples that fill `target` when clicked: pictures, or names."""
    if not files:
        return
    shown = gr.Dataset(
        components=[gr.Textbox(visible=False) if named else target],
        samples=[[p.stem.split("_")[0].capitalize() if named else str(p)] for p in files],
        type="index",
        elem_id=f"{target.elem_id}-examples",
        elem_classes="examples",
    )
    worded(shown, label=label)
    # A path, not what Gradio made of it at the start: that copy expires like an upload.
    shown.click(
        lambda index: str(files[index]), shown, target, show_progress="hidden", queue=False, api_visibility="private"
    )


def add_portrait_examples(portrait: gr.Image) -> None:
    pictures = example_files("portraits", {".png", ".jpg", ".jpeg", ".webp"})
    add_examples(portrait, pictures, "portrait_examples", named=False)


def strengths() -> tuple[gr.Slider, gr.Slider]:
    return (
        worded(gr.Slider(0, 2, 1, step=0.05), label="expression"),
        worded(gr.Slider(0, 2, 1, step=0.05), label="motion"),
    )


def seed_input() -> gr.Number:
    return worded(gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, min_width=120), label="seed")


def voice_input(label: str, elem_id: str) -> gr.Audio:
    """A recording or the microphone, with examples to click."""
    audio = gr.Audio(
        type="filepath", sources=["upload", "microphone"], buttons=[], elem_id=elem_id, elem_classes="sound-input"
    )
    worded(audio, label=label)
    add_examples(audio, example_files("speech", {".wav", ".flac", ".ogg", ".mp3"}), "voice_examples", named=True)
    return audio


def video_input(label: str, elem_id: str) -> gr.Video:
    """A video or the webcam, with examples to click."""
    video = gr.Video(sources=["upload", "webcam"], buttons=[], elem_id=elem_id, elem_classes="video-input")
    worded(video, label=label)
    add_examples(video, example_files("driving", {".mp4", ".webm", ".mov"}), "video_examples", named=False)
    return video


def one_of(first: gr.Audio, second: gr.Video) -> None:
    """Filling one of two inputs empties the other: what lies behind another tab must not be heard."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    for filled, other in ((first, second), (second, first)):
        filled.change(lambda value: None if value else gr.skip(), filled, other, **quiet)


def options() -> gr.Accordion:
    return worded(gr.Accordion(open=False, elem_classes="options"), label="options")


def restore_input() -> gr.Radio:
    return choice_input([("as_drawn", "none"), ("own_detail", "detail"), ("gfpgan", "gfpgan")], "sharpness")


def tag_input() -> gr.Checkbox:
    return worded(gr.Checkbox(False), label="tag")


def talk_tab(portrait: gr.Image) -> Mode:
    with worded(gr.Tab(id="talk"), label="speak"):
        audio = voice_input("voice", "voice")
        with options():
            expression, motion = strengths()
            with gr.Row():
                size = size_input()
                seed = seed_input()
            restore = restore_input()
            tag = tag_input()
        return add_start(talk, [portrait, audio, seed, expression, motion, size, restore, tag], "consent_voice")


def listen_tab(portrait: gr.Image) -> Mode:
    with worded(gr.Tab(id="listen"), label="listen"):
        with gr.Tabs(elem_id="speaker"):
            with worded(gr.Tab(), label="to_voice"):
                audio = voice_input("speaker_voice", "speaker-voice")
            with worded(gr.Tab(), label="to_video"):
                video = video_input("speaker_video", "speaker-video")
                layout = choice_input([("layout_listener", "listener"), ("layout_both", "side-by-side")], "layout")
        one_of(audio, video)
        attitude = choice_input([(name, name) for name in ATTITUDES], "attitude", "neutral")
        with options():
            plainness = worded(gr.Slider(0, 2, 1, step=0.05), label="plainness")
            expression, motion = strengths()
            with gr.Row():
                size = size_input()
                seed = seed_input()
            restore = restore_input()
            tag = tag_input()
        inputs = [portrait, audio, attitude, video, seed, plainness, expression, motion, layout, size, restore, tag]
        return add_start(listen, inputs, "consent_voice")


def reenact_tab(portrait: gr.Image) -> Mode:
    with worded(gr.Tab(id="reenact"), label="follow"):
        video = video_input("driving", "driving")
        with options():
            relative = worded(gr.Checkbox(True), label="relative", info="relative_info")
            expression, motion = strengths()
            size = size_input()
            restore = restore_input()
            tag = tag_input()
        return add_start(reenact, [portrait, video, relative, expression, motion, size, restore, tag], "consent_video")
