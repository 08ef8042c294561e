"""Sound vectors for renderers that hear: what sounds now, and which lip shapes are heard around it.

After Doukas 2021 §3.2, with what is at hand here: ViCo's 45 features stand for the paper's 84 low-level ones, and our
phone recogniser's lip shapes for DeepSpeech's characters, both over the same window of 2 L = 8 frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.audio.features import FEATURE_DIM
from pipeline.audio.streaming import stream_rows
from pipeline.clock import FPS
from pipeline.drivers.hearing import BLOCKS, hear
from pipeline.drivers.phonetics import HIDDEN_DIM, STEPS_PER_FRAME, VISEMES, PhoneNet
from pipeline.drivers.running_level import levelled

HALF_WINDOW = 4
_CONTEXT = 14 + HALF_WINDOW  # rows on each side that a row depends on: the recogniser sees 14
_SHAPES = STEPS_PER_FRAME * len(VISEMES)
SOUND_VECTOR_DIM = FEATURE_DIM + 2 * HALF_WINDOW * _SHAPES


def sound_vectors(rows: np.ndarray) -> np.ndarray:
    """(T, `SOUND_VECTOR_DIM`) float32 from rows (T, SOUND_DIM) of `pipeline.drivers.hearing.hear`.

    Row t holds frame t's features and the lip shapes heard in frames t - 4 to t + 3; beyond the ends, those at them.
    """
    steps = rows[:, BLOCKS["phonetic"]].reshape(len(rows), STEPS_PER_FRAME, HIDDEN_DIM + len(VISEMES))
    shapes = steps[..., HIDDEN_DIM:].reshape(len(rows), _SHAPES)
    index = np.arange(len(rows))[:, None] + np.arange(-HALF_WINDOW, HALF_WINDOW)
    around = shapes[np.clip(index, 0, max(len(rows) - 1, 0))].reshape(len(rows), -1)
    return np.concatenate([rows[:, BLOCKS["vico"]], around], 1).astype(np.float32)


def stream_sound_vectors(blocks: Iterable[np.ndarray], phone_net: PhoneNet) -> Iterator[np.ndarray]:
    """Sound vectors of sound of any length, made even by a level that runs a second ahead; memory does not grow.

    Args:
        blocks: (n,) pieces of one sound at 16 kHz, in order, as from `stream_audio`; how they are cut is all the same.
        phone_net: our recogniser, the talking driver's.

    Yields:
        (T, `SOUND_VECTOR_DIM`) float32, two seconds at a time; together `frame_count(N)` rows.
    """
    return stream_rows(
        lambda samples: sound_vectors(hear(samples, phone_net)),
        levelled(blocks, ahead=FPS),
        _CONTEXT,
        2 * FPS,
    )
