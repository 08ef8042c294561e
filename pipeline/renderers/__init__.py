"""Renderers: a portrait and coefficients in, frames out; each by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import InputError, WeightsError

if TYPE_CHECKING:
    import numpy as np

    from pipeline.coefficients import Coefficients
    from pipeline.face.portrait import Portrait
    from pipeline.hub import Weights

# What is embedded comes first; the others need weights of their own, see their modules.
RENDERERS = {
    "mesh": ("pipeline.renderers.mesh", "MeshRenderer"),
    "refiner": ("pipeline.renderers.refiner", "RefinerRenderer"),
    "headgan": ("pipeline.renderers.headgan", "HeadGANRenderer"),
    "pirenderer": ("pipeline.renderers.pirenderer", "PIRenderer"),
}
DEFAULT_RENDERER = "refiner"

_LARGE = ("headgan", "pirenderer")  # their networks go to a GPU where there is one; the others' are too small to gain


def wants_gpu(renderer: str, restore: str | None = None) -> bool:
    """Whether a clip by this renderer and restoration occupies a GPU of this machine."""
    if renderer not in _LARGE and restore != "gfpgan":
        return False
    from pipeline.devices import Runtime

    return Runtime.best().on_gpu


class Renderer(Protocol):
    """Draws one portrait."""

    def render(self, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB, of the portrait's size, of a clip of T frames."""
        ...

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        """What draws one run through a clip, called with the coefficients of each part in order."""
        ...


def renderers_with_weights(weights: Weights) -> list[str]:
    """Names of the renderers whose component lies in `weights` or is embedded, in the order of `RENDERERS`."""
    found = []
    for name in RENDERERS:
        try:
            weights.component(name)
        except WeightsError:
            continue
        found.append(name)
    return found


def load_renderer(name: str, weights: Weights, portrait: Portrait) -> Renderer:
    """A renderer for `portrait`.

    Args:
        name: a key of `RENDERERS`.
        weights: hold the components that it needs.
        portrait: what to draw.

    Raises:
        InputError: if there is no renderer of that name, or the portrait has references that it does not take.
        WeightsError: if its weights are not there or cannot be read.
    """
    if name not in RENDERERS:
        raise InputError(f"There is no renderer {name!r}; choose one of: {', '.join(RENDERERS)}.")
    module, kind = RENDERERS[name]
    renderer = getattr(import_module(module), kind).load(weights, portrait)
    if portrait.references and getattr(renderer, "most_references", 1) == 1:
        raise InputError(
            f"The renderer {name!r} takes one picture of a person; leave the references out, or choose weights of "
            "HeadGAN that were trained with several."
        )
    return renderer
