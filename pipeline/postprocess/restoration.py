"""What can be done to rendered frames before they are shown, chosen by name (`--restore`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, WeightsError
from pipeline.face.portrait import Portrait
from pipeline.hub import Weights

if TYPE_CHECKING:
    from pipeline.postprocess.face_restoration import FaceNetwork

RESTORATIONS = ("none", "detail", "gfpgan")
Run = Callable[[Iterator[np.ndarray], Coefficients], Iterator[np.ndarray]]
_HOW = (
    "GFPGAN's weights are not here: download GFPGANv1.4.pth from its authors, run `python -m pipeline convert gfpgan "
    "GFPGANv1.4.pth FOLDER` once and give FOLDER (or a Hub repository that has it) as the weights, or restore with "
    "'detail', which needs none."
)
_SLOW = "Restoring with GFPGAN takes seconds a frame without a GPU; 'detail' takes a millisecond."


class Renderer(Protocol):
    """Draws one portrait."""

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        """What draws one run through a clip, called with the coefficients of each part in order."""


class Restoration(Protocol):
    """Restores the frames of one portrait.

    Attributes:
        warnings: sentences that the user should see.
    """

    warnings: tuple[str, ...]

    def start(self) -> Run:
        """What restores one run through a clip: called with the frames and coefficients of each part in order, it
        yields the part's frames, changed in place."""


class Drawing:
    """A renderer, and what is done to its frames.

    Attributes:
        renderer: what draws.
        warnings: sentences that the user should see.
    """

    def __init__(self, renderer: Renderer, restoration: Restoration | None) -> None:
        self.renderer, self._restoration = renderer, restoration
        self.warnings = restoration.warnings if restoration else ()

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        """What draws one run through a clip, called with the coefficients of each part in order."""
        draw = self.renderer.start()
        if self._restoration is None:
            return draw
        restore = self._restoration.start()
        return lambda part: restore(draw(part), part)


def check_restoration(name: str, weights: Weights) -> None:
    """Whether the restoration of that name can be had: known before a portrait is read.

    Raises:
        InputError: if there is none of that name.
        WeightsError: if its weights are missing, with how to get them.
    """
    if name not in RESTORATIONS:
        raise InputError(f"There is no restoration {name!r}; choose one of: {', '.join(RESTORATIONS)}.")
    if name == "gfpgan":
        _gfpgan_folder(weights)


def load_restoration(name: str, weights: Weights, portrait: Portrait) -> Restoration | None:
    """The restoration of that name for a portrait's frames; None for "none".

    Raises:
        InputError: if there is no such restoration.
        WeightsError: if its weights are missing, with how to get them, or damaged.
    """
    check_restoration(name, weights)
    if name == "detail":
        from pipeline.postprocess.detail import DetailRestoration

        return DetailRestoration(portrait)
    if name == "gfpgan":
        from pipeline.postprocess.face_restoration import FaceRestoration

        network = _gfpgan(_gfpgan_folder(weights))
        return FaceRestoration(portrait, network, warnings=() if network.on_gpu else (_SLOW,))
    return None


def _gfpgan_folder(weights: Weights) -> Path:
    try:
        return weights.component("gfpgan")
    except WeightsError as error:
        raise WeightsError(_HOW) from error


@lru_cache(maxsize=1)
def _gfpgan(folder: Path) -> FaceNetwork:
    """The network is large: it is loaded once and shared by all clips."""
    from pipeline.postprocess.face_restoration import FaceNetwork
    from pipeline.postprocess.gfpgan import Gfpgan

    network = Gfpgan.load(folder)
    return FaceNetwork(network, network.config.side)
