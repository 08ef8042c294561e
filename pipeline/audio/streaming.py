"""Functions of a whole sound, applied to sound of any length in pieces that overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pipeline.clock import SAMPLES_PER_FRAME


def stream_rows(
    function: Callable[[np.ndarray], np.ndarray],
    blocks: Iterable[np.ndarray],
    context_frames: int,
    chunk_frames: int,
) -> Iterator[np.ndarray]:
    """`function` of sound that comes in blocks; memory does not grow with its length.

    How the blocks are cut makes no difference, to the bit: `function` sees the same pieces.

    Args:
        function: turns (n,) samples into (ceil(n / 640), ...) rows, of which each depends on no more than
            `context_frames` rows' sound on both sides.
        blocks: (n,) pieces of one sound at 16 kHz, in order, as from `stream_audio`.
        context_frames: see there.
        chunk_frames: rows in each result but the last.

    Yields:
        (chunk_frames, ...) rows; together ceil(N / 640).
    """
    if chunk_frames < 1:
        raise ValueError("chunk_frames must be at least 1.")
    context, size = context_frames * SAMPLES_PER_FRAME, chunk_frames * SAMPLES_PER_FRAME
    held: list[np.ndarray] = []
    length = skip = 0  # samples held, and how many of them are only what came before
    for block in blocks:
        held.append(np.asarray(block, np.float32))
        length += len(block)
        while length >= skip + size + context:
            sound = np.concatenate(held)
            first = skip // SAMPLES_PER_FRAME
            yield function(sound[: skip + size + context])[first : first + chunk_frames]
            rest = max(0, skip + size - context)
            held, skip = [sound[rest:]], skip + size - rest
            length = len(held[0])
    if length > skip:
        rows = function(np.concatenate(held))[skip // SAMPLES_PER_FRAME :]
        for start in range(0, len(rows), chunk_frames):
            yield rows[start : start + chunk_frames]
