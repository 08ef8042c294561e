"""The page and its HTTP interface: a portrait and what moves it in, a clip out.

Every mode is a function with a typed, documented signature (`talk`, `reenact`), which serves three callers:
the page, which shows its progress as it goes; `gradio_client`, which gets the clip alone; and MCP tools.
"""

from __future__ import annotations

import atexit
import functools
import html
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Gradio reads these when it is imported; nothing here may call home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "GRADIO_TEMP_DIR" not in os.environ:
    # Uploads and clips go to a folder that only this process's user may read, and that goes with the process.
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="tete-a-tete-page-")
    atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

import gradio as gr

from app_jobs import Moment, Start, Studio, log
from app_look import (
    EMPTY_CARD,
    HEADER,
    STOPPED_CARD,
    footer,
    portrait_input,
    progress_card,
    refusal_card,
    result_card,
    size_input,
    stage_title,
    theme,
)
from pipeline.errors import Cancelled, InputError
from pipeline.threads import settle_process

ROOT = Path(__file__).resolve().parent
EXAMPLES = ROOT / "examples"
WORKERS = int(os.environ.get("TETE_WORKERS", "1"))
QUEUE = int(os.environ.get("TETE_QUEUE", "20"))
MAX_UPLOAD = os.environ.get("TETE_MAX_UPLOAD", "200mb")
KEEP_SECONDS = int(os.environ.get("TETE_KEEP_SECONDS", "1800"))
"""How long an upload or a clip stays on the server, so that it can be played and downloaded."""

NO_PROMISE = "Something went wrong on our side; please try once more, or with another file."


# What callers may ask for. Each checks its inputs and returns how to start; the names and types are the API's.


def talk(
    portrait: str | None,
    audio: str | None,
    seed: int = 0,
    expression_scale: float = 1.0,
    motion_scale: float = 1.0,
    size: int = 0,
    consent: bool = False,
) -> Start:
    """Make a portrait speak a recording: lips, blinks, gaze and head follow the voice.

    Args:
        portrait: a picture with a face at least 64 pixels high; the largest face is used.
        audio: speech in any common sound file; the clip is as long as it.
        seed: varies blinks and head movement; the same seed gives the same clip.
        expression_scale: strength of the face's movement, 0 to 2; 1 is natural.
        motion_scale: strength of the head's movement, 0 to 2; 1 is natural.
        size: longer side of the clip in pixels, 64 to 2048; 0 keeps the portrait's size.
        consent: true if you may use this face and voice; refused otherwise.

    Returns:
        The clip: an MP4 file (H.264 and AAC) that carries the recording as its sound.
    """
    require(portrait, "Add a portrait first: a picture with one clear face.")
    require(audio, "Add a voice first: upload a recording or use the microphone.")
    require(consent, 'Please confirm "I may use this face and voice" (consent) before making a clip.')
    return lambda pipe, progress: pipe.talk(
        portrait,
        audio,
        seed=int(seed or 0),
        expression_scale=expression_scale,
        motion_scale=motion_scale,
        size=size or None,
        progress=progress,
    )


def reenact(
    portrait: str | None,
    video: str | None,
    relative: bool = True,
    expression_scale: float = 1.0,
    motion_scale: float = 1.0,
    size: int = 0,
    consent: bool = False,
) -> Start:
    """Make a portrait follow the face of a driving video: its expression, gaze and head movement.

    Args:
        portrait: a picture with a face at least 64 pixels high; the largest face is used.
        video: a video with one face in view; the clip is as long as it and carries its sound.
        relative: true moves the portrait from its own expression by what changes in the video, which keeps
            its identity; false takes the video's expression as it is, for a video of the same person.
        expression_scale: strength of the face's movement, 0 to 2; 1 is the video's own.
        motion_scale: strength of the head's movement, 0 to 2; 1 is the video's own.
        size: longer side of the clip in pixels, 64 to 2048; 0 keeps the portrait's size.
        consent: true if you may use this face and this video; refused otherwise.

    Returns:
        The clip: an MP4 file (H.264 and AAC).
    """
    require(portrait, "Add a portrait first: a picture with one clear face.")
    require(video, "Add a driving video first: a clip of one face in view.")
    require(consent, 'Please confirm "I may use this face and video" (consent) before making a clip.')
    return lambda pipe, progress: pipe.reenact(portrait, video, relative=relative, size=size or None, progress=progress)


def require(value: object, sentence: str) -> None:
    """Raises: InputError: with `sentence`, if `value` is missing or false."""
    if not value:
        raise InputError(sentence)


# The two ways to run them.


def sentence_of(error: Exception) -> str:
    """What to tell the visitor of `error`; what is no fault of theirs is logged, not shown."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, Cancelled):
        return "The server is closing; please come back in a minute."
    log.error("a job failed", exc_info=error)
    return NO_PROMISE


def for_clients(studio: Studio, request: Callable[..., Start]) -> Callable[..., AsyncIterator[str | None]]:
    """`request` as an HTTP endpoint: the clip's path last, None while it is being made (so it can be stopped)."""

    @functools.wraps(request)
    async def endpoint(*values: Any, **named: Any) -> AsyncIterator[str | None]:
        report = gr.Progress()
        try:
            async for moment in studio.render(request(*values, **named), file_name(request)):
                if isinstance(moment, Moment):
                    report((moment.done, moment.total or None), desc=stage_title(moment.stage), unit="frames")
                    yield None
                else:
                    yield str(moment.path)
        except Exception as error:
            raise gr.Error(sentence_of(error), print_exception=False) from error

    return endpoint


def for_page(studio: Studio, request: Callable[..., Start], others: int) -> Callable[..., AsyncIterator[tuple]]:
    """`request` for the page: values for its card, clip and download, and for the buttons (see `running`)."""

    @functools.wraps(request)
    async def listener(*values: Any, **named: Any) -> AsyncIterator[tuple]:
        try:
            async for moment in studio.render(request(*values, **named), file_name(request)):
                if isinstance(moment, Moment):
                    yield progress_card(moment), gr.skip(), gr.skip(), *running(True, others)
                else:
                    video = gr.Video(str(moment.path), visible=True)
                    download = gr.DownloadButton(value=str(moment.path), visible=True)
                    yield result_card(moment), video, download, *running(False, others)
        except Exception as error:
            sentence = html.escape(sentence_of(error), quote=False)
            yield refusal_card(sentence), gr.skip(), gr.skip(), *running(False, others)
            raise gr.Error(sentence, title="This did not work", print_exception=False) from error

    return listener


def no_clip() -> tuple:
    """Neither video nor download."""
    return gr.Video(None, visible=False), gr.DownloadButton(visible=False)


def file_name(request: Callable[..., Start]) -> str:
    return f"tete-a-tete-{request.__name__}"


def running(busy: bool, others: int = 0) -> tuple:
    """A mode's start and stop buttons, one at a time, and the other modes' start buttons: one clip at a time."""
    return gr.Button(visible=not busy), gr.Button(visible=busy), *[gr.Button(interactive=not busy)] * others


# The page.


class Stage:
    """Where every mode's clip appears: its progress, the video and its download."""

    def __init__(self) -> None:
        self.video = gr.Video(visible=False, autoplay=True, buttons=[], show_label=False, elem_id="clip", height="auto")
        self.card = gr.HTML(EMPTY_CARD, elem_id="stage")
        self.download = gr.DownloadButton("Download the clip", visible=False, elem_id="download")


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


def connect(studio: Studio, stage: Stage, mode: Mode, modes: list[Mode]) -> None:
    """Make the mode's buttons work, and give its request to gradio_client and MCP under its own name."""
    name = mode.request.__name__
    others = [other.make for other in modes if other is not mode]
    buttons = [mode.make, mode.stop, *others]
    outputs = [stage.card, stage.video, stage.download, *buttons]
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    # The studio keeps the queue, because it can tell each visitor of their place; Gradio's would hold them silently.
    shared: dict[str, Any] = {"concurrency_id": "clips", "concurrency_limit": None}

    def begin() -> tuple:
        return progress_card(Moment()), *no_clip(), *running(True, len(others))

    def end() -> tuple:
        return running(False, len(others))

    work = mode.make.click(begin, None, outputs, **quiet).then(
        for_page(studio, mode.request, len(others)),
        mode.inputs,
        outputs,
        show_progress="hidden",
        api_name=f"page_{name}",
        api_visibility="private",
        **shared,
    )
    work.failure(end, None, buttons, **quiet)
    mode.stop.click(lambda: (STOPPED_CARD, *no_clip(), *end()), None, outputs, cancels=[work], **quiet)
    gr.Button(visible=False).click(
        for_clients(studio, mode.request),
        mode.inputs,
        gr.Video(visible=False, label="clip"),
        api_name=name,
        **shared,
    )


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


def strengths() -> tuple[gr.Slider, gr.Slider]:
    return (
        gr.Slider(0, 2, 1, step=0.05, label="Expression"),
        gr.Slider(0, 2, 1, step=0.05, label="Head movement"),
    )


def talk_tab(portrait: gr.Image) -> Mode:
    with gr.Tab("Speak", id="talk"):
        audio = gr.Audio(type="filepath", sources=["upload", "microphone"], label="Voice", buttons=[], elem_id="voice")
        add_examples(audio, example_files("speech", {".wav", ".flac", ".ogg", ".mp3"}), "Example voices", named=True)
        with gr.Accordion("Options", open=False):
            expression, motion = strengths()
            with gr.Row():
                size = size_input()
                seed = gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, label="Seed", min_width=120)
        consent = gr.Checkbox(False, label="I may use this face and voice", elem_id="consent-talk")
        return add_buttons(talk, [portrait, audio, seed, expression, motion, size, consent], "Make it speak")


def reenact_tab(portrait: gr.Image) -> Mode:
    with gr.Tab("Follow a video", id="reenact"):
        video = gr.Video(sources=["upload", "webcam"], label="Driving video", buttons=[], elem_id="driving")
        add_examples(video, example_files("driving", {".mp4", ".webm", ".mov"}), "Example videos", named=True)
        with gr.Accordion("Options", open=False):
            relative = gr.Checkbox(True, label="Keep the portrait's own face at rest", info="Off: same person")
            expression, motion = strengths()
            size = size_input()
        consent = gr.Checkbox(False, label="I may use this face and video", elem_id="consent-reenact")
        return add_buttons(reenact, [portrait, video, relative, expression, motion, size, consent], "Make it follow")


def build_app(factory: Callable[[], Any], workers: int = WORKERS, places: int = QUEUE) -> tuple[gr.Blocks, Studio]:
    """The page around the pipeline that `factory` makes.

    Args:
        factory: returns a `ConversationalHeadPipeline`, or what has its `talk` and `reenact`.
        workers: clips made at once.
        places: how many more may wait; further ones are refused.

    Returns:
        the page, to launch with `launch_options()`, and its studio, to warm and to close.
    """
    studio = Studio(factory, workers, places)
    with gr.Blocks(
        title="Tête-à-tête",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(min(60, KEEP_SECONDS), KEEP_SECONDS),
    ) as page:
        gr.HTML(HEADER)
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=5, min_width=300, elem_id="inputs"):
                portrait = portrait_input()
                pictures = example_files("portraits", {".png", ".jpg", ".jpeg", ".webp"})
                add_examples(portrait, pictures, "Example portraits", named=False)
                tabs = gr.Tabs(elem_id="modes")
            with gr.Column(scale=6, min_width=300, elem_id="result"):
                stage = Stage()
        with tabs:
            modes = [talk_tab(portrait), reenact_tab(portrait)]
        for mode in modes:
            connect(studio, stage, mode, modes)
        gr.HTML(footer(KEEP_SECONDS))
    page.queue(max_size=workers + places)
    return page, studio


def launch_options() -> dict[str, Any]:
    """What `launch` needs for the look, the limits and the privacy that the page promises."""
    return {
        "theme": theme(),
        "css_paths": [ROOT / "app.css"],
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": MAX_UPLOAD,
        "allowed_paths": [str(EXAMPLES)],
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def load_pipeline() -> Any:
    """The pipeline on the embedded weights, with everything loaded and run once."""
    from pipeline import ConversationalHeadPipeline

    pipe = ConversationalHeadPipeline.from_pretrained()
    pipe.warm_up()
    return pipe


def main() -> None:
    # Stopped as a container is stopped, the page cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settle_process()
    page, studio = build_app(load_pipeline)
    studio.warm()
    try:
        page.launch(**launch_options())
    finally:
        studio.close()


if __name__ == "__main__":
    main()
