"""The smoothing of coefficients over neighbouring frames that takes jitter out (Lv 2022 §3.4.1).

It is for a driver's own predictions. Blinks are as short as the window and would never shut: add liveliness after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.coefficients import Coefficients


def smooth_coefficients(coefficients: Coefficients, half_window: int = 2) -> Coefficients:
    """Average each frame with its neighbours under a raised-cosine window.

    The window shrinks at both ends, so the first and the last frame are unchanged and no frame is lost.

    Args:
        coefficients: of T frames; all their parts are smoothed.
        half_window: neighbours on each side; 0 returns the input.

    Raises:
        ValueError: if `half_window` is negative.

    Source: Lv 2022, eqs. 4-5.
    """
    return _smoothed(coefficients, half_window, 0, len(coefficients), 0, len(coefficients))


def stream_smooth_coefficients(chunks: Iterable[Coefficients], half_window: int = 2) -> Iterator[Coefficients]:
    """`smooth_coefficients` of a clip that comes in chunks of any length, equal to the byte to that of the whole.

    Args:
        chunks: a clip's coefficients in order; empty chunks are allowed.
        half_window: neighbours on each side; frames come out that much late.

    Yields:
        chunks that together have as many frames as went in; none is empty.

    Raises:
        ValueError: if `half_window` is negative, or chunks differ in frame rate.
    """
    _check(half_window)
    held: Coefficients | None = None
    first = done = 0  # the clip's index of the first frame held, and of the first not yet given out
    for chunk in chunks:
        held = chunk if held is None else Coefficients.concatenate([held, chunk])
        end = first + len(held)
        ready = end - half_window
        if ready <= done:
            continue
        # Where the clip ends isn't known yet, but frames before `ready` are too far from it to care.
        yield _smoothed(held, half_window, done, ready, first, end)
        done = ready
        keep = max(0, done - half_window - first)
        held, first = held[keep:], first + keep
    if held is not None and first + len(held) > done:
        end = first + len(held)
        yield _smoothed(held, half_window, done, end, first, end)


def _check(half_window: int) -> None:
    if half_window < 0:
        raise ValueError(f"half_window must be 0 or more, not {half_window}.")


def _smoothed(clip: Coefficients, half_window: int, start: int, stop: int, first: int, end: int) -> Coefficients:
    """Frames [start, stop) of a clip of `end` frames, of which `clip` holds those from `first` on."""
    _check(half_window)
    frames = np.arange(start, stop)
    reach = np.minimum(np.minimum(frames, end - 1 - frames), half_window)
    if half_window == 0 or len(frames) == 0:
        return clip[start - first : stop - first]
    weights = np.array([_weights(half, half_window) for half in range(half_window + 1)])[reach]
    offsets = np.arange(-half_window, half_window + 1)
    at = np.clip(frames[:, None] + offsets - first, 0, len(clip) - 1)  # beyond the ends the weight is zero
    parts = {}
    for name in clip.widths():
        values = getattr(clip, name).astype(np.float64)
        # Summed neighbour by neighbour: the order, and so the last bit, is the same however the clip was cut.
        total = np.zeros((len(frames), values.shape[1]))
        for column in range(len(offsets)):
            total += weights[:, column : column + 1] * values[at[:, column]]
        parts[name] = total
    return Coefficients(**parts, fps=clip.fps)


def _weights(half: int, half_window: int) -> np.ndarray:
    """(2 half_window + 1,) the normalised window of `half` neighbours on each side (eq. 4), zeros around it.

    Raised cosine: ½ (1 − cos(π (p − (i − l − 1)) / (l + 1))) for p from i − l to i + l.
    """
    steps = np.arange(1, 2 * half + 2)
    window = 0.5 * (1 - np.cos(np.pi * steps / (half + 1)))
    return np.pad(window / window.sum(), half_window - half)
