"""How the page looks: inputs that Gradio has otherwise, and the theme."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app_texts import worded

SIZE_LIMITS = 64, 2048
SIZES = [("size_original", 0), ("256 px", 256), ("512 px", 512), ("768 px", 768), ("1024 px", 1024)]


# Gradio writes a stub file beside any module that subclasses a component, so those below change an instance.


def portrait_input() -> gr.Image:
    """An image input that hands on the file as it came: reading it, and refusing it, is the pipeline's job."""
    image = gr.Image(
        type="filepath", sources=["upload", "webcam", "clipboard"], height=200, buttons=[], elem_id="portrait"
    )
    worded(image, label="portrait")
    image.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return image


def size_input() -> gr.Dropdown:
    """A choice of sizes on the page, and any whole number over HTTP, where Gradio would ask for one of the choices."""
    size = worded(gr.Dropdown([], min_width=120), label="size", choices=SIZES)
    size.value = 0
    info = {"type": "integer", "description": "pixels; 0 is the portrait's own size"}
    size.api_info = lambda: info  # type: ignore[method-assign]
    size.preprocess = checked_size  # type: ignore[method-assign]
    return size


def choice_input(choices: list[tuple[str, str]], label: str, value: str | None = None) -> gr.Radio:
    """One of a few choices (key of a text, value), the first unless `value` says otherwise; refusing others is the
    pipeline's job."""
    radio = worded(gr.Radio(elem_classes="choice"), label=label, choices=choices)
    radio.value = value or choices[0][1]
    radio.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return radio


def checked_size(size: Any) -> int:
    """Raises: gr.Error: if `size` is neither 0 nor a whole number within `SIZE_LIMITS`."""
    low, high = SIZE_LIMITS
    if isinstance(size, int) and (size == 0 or low <= size <= high):
        return size
    raise gr.Error(f"Size must be 0 or from {low} to {high} pixels.", print_exception=False)


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
