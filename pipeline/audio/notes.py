"""What to tell the user of a sound while it passes by: that nothing, or nobody, is in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.audio.reading import is_silent
from pipeline.audio.voice import voice_activity

SILENT = "The sound is silent throughout, so the lips rest; give sound with speech in it to see them move."
NOBODY = "No speech is heard in the sound, so the listener only idles; give sound in which somebody speaks."
_LEAST_SPEECH = 8  # frames: a word takes as long


def noting_silence(blocks: Iterator[np.ndarray], warnings: list[str]) -> Iterator[np.ndarray]:
    """The blocks of a sound as they are, and a warning when it has ended and was silent throughout."""
    silent = True
    for block in blocks:
        silent = silent and is_silent(block)
        yield block
    _note(SILENT, silent, warnings)


def noting_no_speech(blocks: Iterator[np.ndarray], warnings: list[str]) -> Iterator[np.ndarray]:
    """The blocks of a sound as they are, and a warning when it has ended and nobody spoke in it."""
    spoken = 0
    for block in blocks:
        if spoken < _LEAST_SPEECH:
            spoken += int((voice_activity(block) > 0.5).sum())
        yield block
    _note(NOBODY, spoken < _LEAST_SPEECH, warnings)


def _note(sentence: str, holds: bool, warnings: list[str]) -> None:
    if holds and sentence not in warnings:
        warnings.append(sentence)
