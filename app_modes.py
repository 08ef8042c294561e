"""The ways to make a clip, as tabs of the page: each with its inputs, its options and its buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app_jobs import Start
from app_look import choice_input, size_input
from app_requests import listen, reenact, talk
from pipeline.attitudes import ATTITUDES

EXAMPLES = Path(__file__).resolve().parent / "examples"


@dataclass(frozen=True)
class Mode:
    """One way to make a clip: its request, the inputs that it takes in order, and its buttons."""

    request: Callable[..., Start]
    inputs: list[Any]
    make: gr.Button
    stop: gr.Button


def add_buttons(request: Callable[..., Start], inputs: list[Any], label: str) -> Mode:
    name = request.__name__
    make = gr.Button(label, variant="primary", size="lg", elem_id=f"make-{name}")
    stop = gr.Button("Stop", variant="stop", size="lg", visible=False, elem_id=f"stop-{name}")
    return Mode(request, inputs, make, stop)


def example_files(folder: str, suffixes: set[str]) -> list[Path]:
    return sorted(p for p in (EXAMPLES / folder).glob("*") if p.suffix.lower() in suffixes)


def add_examples(target: Any, files: list[Path], label: str, named: bool) -> None:
    """A row of examples that fill `target` when clicked: pictures, or names."""
    if not files:
        return
    shown = gr.Dataset(
        components=[gr.Textbox(visible=False) if named else target],
        samples=[[p.stem.split("_")[0].capitalize() if named else str(p)] for p in files],
        label=label,
        type="index",
        elem_id=f"{target.elem_id}-examples",
        elem_classes="examples",
    )
    # A path, not what Gradio made of it at the start: that copy expires like an upload.
    shown.click(
        lambda index: str(files[index]), shown, target, show_progress="hidden", queue=False, api_visibility="private"
    )


def add_portrait_examples(portrait: gr.Image) -> None:
    pictures = example_files("portraits", {".png", ".jpg", ".jpeg", ".webp"})
    add_examples(portrait, pictures, "Example portraits", named=False)


def strengths() -> tuple[gr.Slider, gr.Slider]:
    return (
        gr.Slider(0, 2, 1, step=0.05, label="Expression"),
        gr.Slider(0, 2, 1, step=0.05, label="Head movement"),
    )


def seed_input() -> gr.Number:
    return gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, label="Seed", min_width=120)


def voice_input(label: str, elem_id: str) -> gr.Audio:
    """A recording or the microphone, with examples to click."""
    audio = gr.Audio(
        type="filepath",
        sources=["upload", "microphone"],
        label=label,
        buttons=[],
        elem_id=elem_id,
        elem_classes="sound-input",
    )
    add_examples(audio, example_files("speech", {".wav", ".flac", ".ogg", ".mp3"}), "Example voices", named=True)
    return audio


def video_input(label: str, elem_id: str) -> gr.Video:
    """A video or the webcam, with examples to click."""
    video = gr.Video(sources=["upload", "webcam"], label=label, buttons=[], elem_id=elem_id, elem_classes="video-input")
    add_examples(video, example_files("driving", {".mp4", ".webm", ".mov"}), "Example videos", named=True)
    return video


def one_of(first: gr.Audio, second: gr.Video) -> None:
    """Filling one of two inputs empties the other: what lies behind another tab must not be heard."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    for filled, other in ((first, second), (second, first)):
        filled.change(lambda value: None if value else gr.skip(), filled, other, **quiet)


def restore_input() -> gr.Radio:
    return choice_input([("As drawn", "none"), ("The portrait's own detail", "detail")], "Sharpness")


def talk_tab(portrait: gr.Image) -> Mode:
    with gr.Tab("Speak", id="talk"):
        audio = voice_input("Voice", "voice")
        with gr.Accordion("Options", open=False):
            expression, motion = strengths()
            with gr.Row():
                size = size_input()
                seed = seed_input()
            restore = restore_input()
        consent = gr.Checkbox(False, label="I may use this face and voice", elem_id="consent-talk")
        return add_buttons(talk, [portrait, audio, seed, expression, motion, size, restore, consent], "Make it speak")


def listen_tab(portrait: gr.Image) -> Mode:
    with gr.Tab("Listen", id="listen"):
        with gr.Tabs(elem_id="speaker"):
            with gr.Tab("To a voice"):
                audio = voice_input("The speaker's voice", "speaker-voice")
            with gr.Tab("To a video"):
                video = video_input("The speaker's video", "speaker-video")
                layout = choice_input(
                    [("Listener alone", "listener"), ("Beside the speaker", "side-by-side")], "The clip shows"
                )
        one_of(audio, video)
        attitude = choice_input([(name.capitalize(), name) for name in ATTITUDES], "Attitude", "neutral")
        with gr.Accordion("Options", open=False):
            plainness = gr.Slider(0, 2, 1, step=0.05, label="Attitude strength")
            expression, motion = strengths()
            with gr.Row():
                size = size_input()
                seed = seed_input()
            restore = restore_input()
        consent = gr.Checkbox(False, label="I may use this face and voice", elem_id="consent-listen")
        inputs = [portrait, audio, attitude, video, seed, plainness, expression, motion, layout, size, restore, consent]
        return add_buttons(listen, inputs, "Make it listen")


def reenact_tab(portrait: gr.Image) -> Mode:
    with gr.Tab("Follow a video", id="reenact"):
        video = video_input("Driving video", "driving")
        with gr.Accordion("Options", open=False):
            relative = gr.Checkbox(True, label="Keep the portrait's own face at rest", info="Off: same person")
            expression, motion = strengths()
            size = size_input()
            restore = restore_input()
        consent = gr.Checkbox(False, label="I may use this face and video", elem_id="consent-reenact")
        return add_buttons(
            reenact, [portrait, video, relative, expression, motion, size, restore, consent], "Make it follow"
        )
