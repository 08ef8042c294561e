"""Smoothing: the paper's weights, ends that stay, jitter that goes, and streams equal to wholes."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.coefficients import Coefficients
from pipeline.postprocess.smoothing import smooth_coefficients, stream_smooth_coefficients


def clip_of(frames: int, seed: int = 0) -> Coefficients:
    random = np.random.default_rng(seed)
    return Coefficients(*(random.normal(size=(frames, width)) for width in (64, 6, 3)))


def test_weights_are_equation_4():
    """An impulse in the middle comes out as the normalised window: l = 2 gives 1/4, 3/4, 1, 3/4, 1/4 over 3."""
    expression = np.zeros((11, 64))
    expression[5, 7] = 1.0
    smoothed = smooth_coefficients(Coefficients(expression, np.zeros((11, 6)), np.zeros((11, 3))), half_window=2)
    expected = np.zeros(11)
    expected[3:8] = np.array([0.25, 0.75, 1.0, 0.75, 0.25]) / 3
    np.testing.assert_allclose(smoothed.expression[:, 7], expected, atol=1e-7)
    assert not smoothed.pose.any()


def test_window_shrinks_at_both_ends():
    clip = clip_of(9)
    smoothed = smooth_coefficients(clip, half_window=3)
    np.testing.assert_array_equal(smoothed.pose[[0, -1]], clip.pose[[0, -1]])
    second = clip.pose[:3].T @ np.array([0.25, 0.5, 0.25])  # one neighbour on each side
    np.testing.assert_allclose(smoothed.pose[1], second, rtol=1e-5)
    assert len(smoothed) == len(clip)


def test_a_straight_line_stays_and_jitter_goes():
    line = np.linspace(0, 1, 50)[:, None]
    jitter = 0.1 * (-1.0) ** np.arange(50)[:, None]
    clip = Coefficients(np.tile(line, 64), np.tile(line + jitter, 6), np.ones((50, 3)))
    smoothed = smooth_coefficients(clip)
    np.testing.assert_allclose(smoothed.expression, clip.expression, atol=1e-6)
    assert np.abs(smoothed.pose[3:-3] - line[3:-3]).max() < 0.01 * 0.1 + 1e-6
    np.testing.assert_allclose(smoothed.crop, 1.0, atol=1e-6)


@pytest.mark.parametrize("half_window", [0, 1, 2, 5])
@pytest.mark.parametrize("cuts", [[1] * 23, [7, 0, 9, 7], [23], [2, 21], [22, 1]])
def test_a_stream_gives_the_same_bytes_as_the_whole(half_window, cuts):
    clip = clip_of(23)
    edges = np.concatenate([[0], np.cumsum(cuts)])
    chunks = (clip[int(a) : int(b)] for a, b in pairwise(edges))
    parts = list(stream_smooth_coefficients(chunks, half_window))
    assert all(len(part) for part in parts)
    streamed, whole = Coefficients.concatenate(parts), smooth_coefficients(clip, half_window)
    for name in ("expression", "pose", "crop"):
        assert getattr(streamed, name).tobytes() == getattr(whole, name).tobytes()


def test_a_stream_holds_back_no_more_than_it_must():
    received = []

    def chunks():
        for start in range(0, 100, 10):
            received.append(start)
            yield clip_of(10, seed=start)

    first = next(stream_smooth_coefficients(chunks(), half_window=2))
    assert received == [0] and len(first) == 8


def test_the_shortest_clips():
    assert len(smooth_coefficients(clip_of(0))) == 0
    assert list(stream_smooth_coefficients([])) == []
    one = clip_of(1)
    np.testing.assert_array_equal(smooth_coefficients(one, 4).expression, one.expression)


def test_a_negative_window_is_refused():
    with pytest.raises(ValueError, match="half_window"):
        smooth_coefficients(clip_of(3), -1)
    with pytest.raises(ValueError, match="half_window"):
        next(stream_smooth_coefficients([clip_of(3)], -1))
