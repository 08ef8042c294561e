"""How the page looks and what it says: its inputs, the cards that tell of a job, its texts and its theme."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from app_jobs import Moment, Result

SIZE_LIMITS = 64, 2048
SIZES = [("Original", 0), ("256 px", 256), ("512 px", 512), ("768 px", 768), ("1024 px", 1024)]
STAGES = {
    "waiting": "Waiting for a free place",
    "loading": "Loading the models",
    "portrait": "Reading the portrait",
    "speaker": "Watching the speaker",
    "rendering": "Drawing frames",
    "finishing": "Finishing the file",
}


# Gradio writes a stub file beside any module that subclasses a component, so those below change an instance.


def portrait_input() -> gr.Image:
    """An image input that hands on the file as it came: reading it, and refusing it, is the pipeline's job."""
    image = gr.Image(
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        label="Portrait",
        height=230,
        buttons=[],
        elem_id="portrait",
    )
    image.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return image


def size_input() -> gr.Dropdown:
    """A choice of sizes on the page, and any whole number over HTTP, where Gradio would ask for one of the choices."""
    size = gr.Dropdown(SIZES, value=0, label="Size", min_width=120)
    info = {"type": "integer", "description": "pixels; 0 is the portrait's own size"}
    size.api_info = lambda: info  # type: ignore[method-assign]
    size.preprocess = checked_size  # type: ignore[method-assign]
    return size


def choice_input(choices: list[tuple[str, str]], label: str, value: str | None = None) -> gr.Radio:
    """One of a few named choices, the first unless `value` says otherwise; refusing others is the pipeline's job."""
    radio = gr.Radio(choices, value=value or choices[0][1], label=label, elem_classes="choice")
    radio.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return radio


def checked_size(size: Any) -> int:
    """Raises: gr.Error: if `size` is neither 0 nor a whole number within `SIZE_LIMITS`."""
    low, high = SIZE_LIMITS
    if isinstance(size, int) and (size == 0 or low <= size <= high):
        return size
    raise gr.Error(f"Size must be 0 or from {low} to {high} pixels.", print_exception=False)


def stage_title(stage: str) -> str:
    return STAGES.get(stage, stage.replace("_", " ").capitalize())


def duration(seconds: float) -> str:
    """`seconds` as people say them: "8 s", "2 min 5 s", "1 h 3 min"."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def progress_card(moment: Moment) -> str:
    """Stages behind and the present one, with its frames done and time left."""
    behind = "".join(f"<li>{html.escape(stage_title(s))}</li>" for s in moment.finished)
    left = f"about {duration(moment.seconds_left)} left" if moment.seconds_left is not None else ""
    steps = f"{moment.done} of {moment.total} frames" if moment.total > 1 else ""
    if moment.ahead:
        steps = "1 clip comes before yours" if moment.ahead == 1 else f"{moment.ahead} clips come before yours"
    bar = (
        f'<progress max="{moment.total}" value="{moment.done}"></progress>'
        if moment.total > 1
        else "<progress></progress>"
    )
    return (
        f'<div class="card working" role="status"><ol class="behind">{behind}</ol>'
        f"<h3>{html.escape(stage_title(moment.stage))}</h3>{bar}"
        f'<p class="numbers"><span class="steps">{steps}</span><span class="left">{left}</span></p></div>'
    )


def result_card(result: Result) -> str:
    """What was made, how long it took, and what the pipeline wants the visitor to know."""
    facts = [f"{result.size[0]} × {result.size[1]} px", f"made in {duration(result.seconds)}"]
    if "attitude" in result.settings:
        facts.append(f"{result.settings['attitude']} attitude")
    if "seed" in result.settings:
        facts.append(f"seed {result.settings['seed']}")
    notes = "".join(f"<li>{html.escape(str(w))}</li>" for w in result.warnings)
    listed = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f'<div class="card done" role="status"><p>{" · ".join(html.escape(f) for f in facts)}</p>{listed}</div>'


def refusal_card(sentence: str) -> str:
    return f'<div class="card refusal" role="alert"><h3>This did not work</h3><p>{sentence}</p></div>'


EMPTY_CARD = """<div class="card empty"><svg viewBox="0 0 120 80" aria-hidden="true">
<path d="M34 12c13 0 20 9 20 20 0 4 4 7 5 10 .5 2-3 2-3 3 0 6 1 12-6 12-3 0-6-1-7 3v8H18c2-12-6-16-6-34 0-13 9-22
22-22Z"/>
<path d="M86 12c-13 0-20 9-20 20 0 4-4 7-5 10-.5 2 3 2 3 3 0 6-1 12 6 12 3 0 6-1 7 3v8h25c-2-12 6-16 6-34
0-13-9-22-22-22Z"/>
</svg><p>Your clip will play here.</p></div>"""
STOPPED_CARD = '<div class="card empty" role="status"><p>Stopped. Nothing was kept.</p></div>'

HEADER = """<header><h1>Tête-à-tête</h1>
<p>One portrait and a voice make a head that talks, or one that listens.</p></header>"""


def footer(keep_seconds: int) -> str:
    """What the page promises, with how long files stay."""
    return f"""<footer class="terms"><p>Everything is computed on this server; no other is called. Uploads and clips
    are removed after {duration(keep_seconds)}. Use only faces and voices that you may use; clips are marked as
    AI-generated. The models are for research and non-commercial use only.</p></footer>"""


def theme() -> gr.themes.Base:
    """Colours, radii and fonts; the fonts are the visitor's own, so that none is fetched."""
    sans, mono = ["ui-sans-serif", "system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    fonts = [gr.themes.Font(name) for name in sans], [gr.themes.Font(name) for name in mono]
    return gr.themes.Base(
        primary_hue="rose", neutral_hue="stone", radius_size="lg", font=fonts[0], font_mono=fonts[1]
    ).set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_border_width="1px",
        block_shadow="none",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
    )
