"""Sound for renderers that hear: the sound of a clip, beside its coefficients, whatever parts they come in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from pipeline.clock import SAMPLE_RATE
from pipeline.coefficients import Coefficients
from pipeline.renderers import Renderer

if TYPE_CHECKING:
    from pipeline.drivers.phonetics import PhoneNet


class HearingRenderer(Protocol):
    """A renderer whose runs take the sound of each part too.

    Attributes:
        sound_dim: length of the sound vectors that it hears.
    """

    sound_dim: int

    def start(self) -> Callable[[Coefficients, np.ndarray], Iterator[np.ndarray]]:
        """What draws one run through a clip, called with coefficients and sound (T, sound_dim) of each part."""


def with_sound(renderer: Renderer, audio: str | os.PathLike[str] | None, phone_net: Callable[[], PhoneNet]) -> Renderer:
    """The renderer, hearing a file's sound if it is one that hears ours; else the renderer as it is.

    Args:
        renderer: what draws.
        audio: a sound or video file whose sound goes with the frames; None if there is none.
        phone_net: gives the recogniser, which is asked for only if it is needed.
    """
    dimension = getattr(renderer, "sound_dim", None)
    if audio is None or dimension is None:
        return renderer
    from pipeline.drivers.sound_window import SOUND_VECTOR_DIM

    if dimension != SOUND_VECTOR_DIM:  # trained on other sound than ours: it draws as without any
        return renderer
    return _Sounding(cast(HearingRenderer, renderer), audio, phone_net())


class _Sounding:
    def __init__(self, renderer: HearingRenderer, audio: str | os.PathLike[str], phone_net: PhoneNet) -> None:
        self._renderer, self._audio, self._phone_net = renderer, audio, phone_net

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        draw, rows = self._renderer.start(), self._rows()
        held = next(rows)

        def part(coefficients: Coefficients) -> Iterator[np.ndarray]:
            nonlocal held
            while len(held) < len(coefficients):
                held = np.concatenate([held, next(rows)])
            heard, held = held[: len(coefficients)], held[len(coefficients) :]
            return draw(coefficients, heard)

        return part

    def render(self, coefficients: Coefficients) -> Iterator[np.ndarray]:
        return self.start()(coefficients)

    def _rows(self) -> Iterator[np.ndarray]:
        """Sound vectors without end: after the sound there is silence."""
        from pipeline.audio.reading import stream_audio
        from pipeline.drivers.sound_window import stream_sound_vectors

        silence = repeat(np.zeros(SAMPLE_RATE, np.float32))
        return stream_sound_vectors(chain(stream_audio(self._audio), silence), self._phone_net)
