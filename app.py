"""The page and its HTTP interface: a portrait and what moves it in, a clip out.

Every mode is a function with a typed, documented signature (`app_requests`), which serves three callers:
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
    stage_title,
    theme,
)
from app_modes import EXAMPLES, Mode, add_portrait_examples, listen_tab, reenact_tab, talk_tab
from pipeline.errors import Cancelled, InputError
from pipeline.threads import settle_process

ROOT = Path(__file__).resolve().parent
WORKERS = int(os.environ.get("TETE_WORKERS", "1"))
QUEUE = int(os.environ.get("TETE_QUEUE", "20"))
MAX_UPLOAD = os.environ.get("TETE_MAX_UPLOAD", "200mb")
KEEP_SECONDS = int(os.environ.get("TETE_KEEP_SECONDS", "1800"))
"""How long an upload or a clip stays on the server, so that it can be played and downloaded."""

NO_PROMISE = "Something went wrong on our side; please try once more, or with another file."


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


def build_app(factory: Callable[[], Any], workers: int = WORKERS, places: int = QUEUE) -> tuple[gr.Blocks, Studio]:
    """The page around the pipeline that `factory` makes.

    Args:
        factory: returns a `ConversationalHeadPipeline`, or what has its `talk`, `listen` and `reenact`.
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
                add_portrait_examples(portrait)
                tabs = gr.Tabs(elem_id="modes")
            with gr.Column(scale=6, min_width=300, elem_id="result"):
                stage = Stage()
        with tabs:
            modes = [talk_tab(portrait), listen_tab(portrait), reenact_tab(portrait)]
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
