"""The page and its HTTP interface: a portrait and what moves it in, a clip out.

Every mode is a function with a typed, documented signature (`app_requests`), which serves three callers:
the page, which shows its progress as it goes; `gradio_client`, which gets the clip alone; and MCP tools.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from app_scratch import scratch_folder

# Gradio reads these when it is imported; nothing here may call home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "GRADIO_TEMP_DIR" not in os.environ:
    # Uploads and clips go to a folder that only this process's user may read, and that goes with the process.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch_folder("page"))

import gradio as gr
from gradio.context import LocalContext

import app_cards as cards
from app_jobs import Order, Studio, log
from app_limits import Limits, Visitor
from app_live import routes
from app_look import portrait_input, theme
from app_modes import EXAMPLES, Mode, add_portrait_examples, listen_tab, reenact_tab, talk_tab
from app_queue import Moment
from app_share import ShareBox, share_options, shares_of_environment
from app_texts import LANGUAGES, reworded, with_texts, worded
from pipeline.errors import Cancelled, InputError
from pipeline.renderers import DEFAULT_RENDERER
from pipeline.sharing import Shares
from pipeline.threads import settle_process

ROOT = Path(__file__).resolve().parent
NO_PROMISE = "Something went wrong on our side; please try once more, or with another file."
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""For what the page does by itself."""


# The two ways to run a mode.


def sentence_of(error: Exception) -> str:
    """What to tell the visitor of `error`; what is no fault of theirs is logged, not shown."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, Cancelled):
        return "The server is closing; please come back in a minute."
    log.error("a job failed", exc_info=error)
    return NO_PROMISE


def visitor() -> Visitor:
    """Who makes the request that is being answered: by address, as proxies tell it, and by tab."""
    request = LocalContext.request.get(None)
    if request is None or request.client is None:
        return Visitor()
    return Visitor(request.client.host or "", getattr(request, "session_hash", None) or "")


def for_clients(studio: Studio, request: Callable[..., Order]) -> Callable[..., AsyncIterator[str | None]]:
    """`request` as an HTTP endpoint: the clip's path last, None while it is being made (so it can be stopped)."""

    @functools.wraps(request)
    async def endpoint(*values: Any, **named: Any) -> AsyncIterator[str | None]:
        report = gr.Progress()
        try:
            async for moment in studio.render(request(*values, **named), file_name(request), visitor()):
                if isinstance(moment, Moment):
                    report((moment.done, moment.total or None), desc=cards.stage_title(moment.stage), unit="frames")
                    yield None
                else:
                    yield str(moment.path)
        except Exception as error:
            raise gr.Error(sentence_of(error), print_exception=False) from error

    return endpoint


def for_page(studio: Studio, request: Callable[..., Order], others: int) -> Callable[..., AsyncIterator[tuple]]:
    """`request` for the page: values for what `Stage.outputs` lists, and for the buttons (see `running`).

    The first value that it is given is the language.
    """

    async def listener(language: str, *values: Any) -> AsyncIterator[tuple]:
        watched = False
        try:
            async for moment in studio.render(request(*values), file_name(request), visitor()):
                if isinstance(moment, Moment):
                    live = gr.skip()
                    if moment.live and not watched:
                        watched, live = True, cards.live_player(moment.live, language)
                    card = cards.progress_card(moment, language)
                    yield card, live, gr.skip(), gr.skip(), gr.skip(), *running(True, others)
                else:
                    path = str(moment.path)
                    yield (
                        cards.result_card(moment, language),
                        gr.skip(),
                        gr.Video(path, visible=True),
                        gr.DownloadButton(value=path, visible=True),
                        cards.movement_card(moment, language),
                        *running(False, others),
                    )
        except Exception as error:
            sentence = sentence_of(error)
            yield cards.refusal_card(sentence, language), "", gr.skip(), gr.skip(), "", *running(False, others)
            # The card says it; Gradio's own message would lie over it, under an English title.
            raise gr.Error(sentence, visible=False, print_exception=False) from error

    return listener


def file_name(request: Callable[..., Order]) -> str:
    return f"tete-a-tete-{request.__name__}"


def running(busy: bool, others: int = 0) -> tuple:
    """A mode's start and stop buttons, one at a time, and the other modes' start buttons: one clip at a time."""
    return gr.Button(visible=not busy), gr.Button(visible=busy), *[gr.Button(interactive=not busy)] * others


# The page.


class Stage:
    """Where every mode's clip appears: while it is made, whole, and what is told of it."""

    def __init__(self, shares: Shares | None, language: gr.Radio) -> None:
        with gr.Column(elem_id="theatre"):
            self.live = gr.HTML("", elem_id="live")
            self.video = gr.Video(
                visible=False, autoplay=True, buttons=[], show_label=False, elem_id="clip", height="auto"
            )
        self.card = gr.HTML("", elem_id="stage")
        worded(gr.HTML(elem_id="empty"), value=cards.empty_stage)
        self.download = worded(gr.DownloadButton(visible=False, elem_id="download"), label="download")
        self.share = ShareBox(shares, self.download, language)
        self.movement = gr.HTML("", elem_id="movement")

    @property
    def outputs(self) -> list[Any]:
        return [self.card, self.live, self.video, self.download, self.movement]

    @staticmethod
    def cleared(card: str) -> tuple:
        """Values for `outputs`: that card and nothing else."""
        return card, "", gr.Video(None, visible=False), gr.DownloadButton(visible=False), ""


def connect(studio: Studio, stage: Stage, mode: Mode, modes: list[Mode], language: gr.Radio) -> None:
    """Make the mode's buttons work, and give its request to gradio_client and MCP under its own name."""
    name = mode.request.__name__
    others = [other.make for other in modes if other is not mode]
    buttons = [mode.make, mode.stop, *others]
    outputs = [*stage.outputs, *buttons]
    # The studio keeps the queue, because it can tell each visitor of their place; Gradio's would hold them silently.
    shared: dict[str, Any] = {"concurrency_id": "clips", "concurrency_limit": None}

    def begin(language: str) -> tuple:
        return *stage.cleared(cards.progress_card(Moment(), language)), *running(True, len(others))

    def end() -> tuple:
        return running(False, len(others))

    work = mode.make.click(begin, language, outputs, **QUIET).then(
        for_page(studio, mode.request, len(others)),
        [language, *mode.inputs],
        outputs,
        show_progress="hidden",
        api_name=f"page_{name}",
        api_visibility="private",
        **shared,
    )
    work.failure(end, None, buttons, **QUIET)
    stage.share.attach(mode, work)
    # The card in a second step: what was on its way when the work was cancelled would still overwrite the first.
    mode.stop.click(end, None, buttons, cancels=[work], **QUIET).then(
        lambda language: stage.cleared(cards.stopped_card(language)), language, stage.outputs, **QUIET
    )
    gr.Button(visible=False).click(
        for_clients(studio, mode.request),
        mode.inputs,
        gr.Video(visible=False, label="clip"),
        api_name=name,
        **shared,
    )


def add_look(studio: Studio, portrait: gr.Image, look: gr.HTML, language: gr.Radio) -> None:
    """Look at each portrait as soon as it is there: before the long run, its face and what is wrong with it."""

    async def glance(path: str | None, language: str) -> Any:
        if not path:
            return ""
        try:
            found = await studio.look(path, visitor().session)
        except InputError as error:
            return cards.unreadable_card(str(error), language)
        except Exception:
            log.exception("a picture could not be looked at")
            return ""  # the clip will tell
        return gr.skip() if found is None else cards.look_card(found, language)

    portrait.change(
        lambda path, language: cards.looking_card(language) if path else "", [portrait, language], look, **QUIET
    ).then(glance, [portrait, language], look, **QUIET)


def add_verify(studio: Studio, language: gr.Radio) -> None:
    """A box that tells whether a clip was made here and is unchanged."""

    async def judge(path: str | None, language: str) -> str:
        from pipeline.provenance import verify

        if not path:
            return ""
        try:
            return cards.verdict_card(await studio.glance(lambda: verify(path)), language)
        except Exception as error:
            return cards.refusal_card(sentence_of(error), language)

    with worded(gr.Accordion(open=False, elem_id="verify"), label="verify"):
        file = worded(gr.File(type="filepath", elem_id="verify-file", height=120), label="verify_file")
        verdict = gr.HTML("", elem_id="verdict")
    file.change(judge, [file, language], verdict, **QUIET)


def language_input() -> gr.Radio:
    """The switch; the browser's language chooses first, and what was chosen is kept in the browser."""
    choices = [(name, code) for code, name in LANGUAGES.items()]
    return worded(gr.Radio(choices, value="en", elem_id="language", container=False), label="language")


def build_app(
    factory: Callable[[], Any],
    limits: Limits | None = None,
    shares: Shares | None = None,
    renderer: str = DEFAULT_RENDERER,
) -> tuple[gr.Blocks, Studio]:
    """The page around the pipeline that `factory` makes.

    Args:
        factory: returns a `ConversationalHeadPipeline`, or what has its modes, `check` and `model`.
        limits: what a visitor, a clip and the page may take.
        shares: where clips are shared by link; None leaves sharing away.
        renderer: what draws all clips.

    Returns:
        the page, to launch with `launch_options(studio, shares)`, and its studio, to warm and to close.
    """
    limits = limits or Limits()
    studio = Studio(factory, limits, renderer)
    keep = limits.keep_seconds
    with gr.Blocks(
        title="Tête-à-tête",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(min(60, keep), keep),
    ) as page:
        gr.HTML('<div id="announcer" role="status" aria-live="polite"></div>', elem_id="announcements")
        with gr.Row(elem_id="head"):
            worded(gr.HTML(), value=cards.header)
            language = language_input()
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=5, min_width=300, elem_id="inputs"):
                with gr.Column(elem_id="sitter"):
                    portrait = portrait_input()
                    look = gr.HTML("", elem_id="look")
                add_portrait_examples(portrait)
                tabs = gr.Tabs(elem_id="modes")
            with gr.Column(scale=6, min_width=300, elem_id="result"):
                stage = Stage(shares, language)
                add_verify(studio, language)
        with tabs:
            modes = [talk_tab(portrait), listen_tab(portrait), reenact_tab(portrait)]
        for mode in modes:
            connect(studio, stage, mode, modes, language)
        stage.share.open_shared(page, tabs, modes)
        add_look(studio, portrait, look, language)
        worded(gr.HTML(), value=functools.partial(cards.footer, keep))
        texts = with_texts(page.blocks.values())
        keep_choice = "(language) => { window.tete.keep(language); return language; }"
        language.change(lambda language: reworded(texts, language), language, texts, js=keep_choice, **QUIET)
        page.load(None, None, language, js="() => window.tete.language()", **QUIET)
    page.queue(max_size=limits.workers + limits.queue)
    return page, studio


def launch_options(studio: Studio, shares: Shares | None = None) -> dict[str, Any]:
    """What `launch` needs for the look, the limits and the privacy that the page promises."""
    return {
        "theme": theme(),
        "css_paths": [ROOT / "app.css"],
        "head": f"<script>{(ROOT / 'app.js').read_text()}</script>",
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": studio.limits.max_upload,
        "allowed_paths": [str(EXAMPLES)],
        **share_options(shares, routes(studio)),
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def load_pipeline() -> Any:
    """The pipeline, on the embedded weights or those that TETE_WEIGHTS names, with everything loaded and run once."""
    from pipeline import ConversationalHeadPipeline

    pipe = ConversationalHeadPipeline.from_pretrained(os.environ.get("TETE_WEIGHTS") or None)
    pipe.warm_up()
    return pipe


def main() -> None:
    # Stopped as a container is stopped, the page cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settle_process()
    shares = shares_of_environment()
    renderer = os.environ.get("TETE_RENDERER") or DEFAULT_RENDERER
    page, studio = build_app(load_pipeline, Limits.from_environment(), shares, renderer)
    studio.warm()
    try:
        page.launch(**launch_options(studio, shares))
    finally:
        studio.close()


if __name__ == "__main__":
    main()
