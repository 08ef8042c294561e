"""Lip metrics on landmarks whose motion is known."""

import numpy as np
import pytest

from pipeline.evaluation.lips import LIPS, lip_distance, lip_sync, pearson, spread_ratio
from pipeline.face.geometry import rotation_matrices
from pipeline.face.measures import face_height, lip_opening

POINTS = np.random.default_rng(3).normal(0, 20, (478, 3))
POINTS[10], POINTS[164] = (0, -130, 0), (0, 0, 0)
HEIGHT = face_height(POINTS)


def _face(frames=1):
    """Random points with a forehead 130 px above the upper lip, from which height is measured."""
    return np.tile(POINTS, (frames, 1, 1))


def test_lip_distance_of_a_shift_is_that_shift():
    real = _face(4)
    moved = real + np.array([3.0, 4.0, 7.0])  # 5 px in the picture's plane; depth does not count
    np.testing.assert_allclose(lip_distance(moved, real), 5 / HEIGHT)
    np.testing.assert_allclose(lip_distance(moved, real, aligned=True), 0, atol=1e-12)


def test_aligned_lip_distance_ignores_size_and_place_but_not_shape():
    real = _face(3)
    np.testing.assert_allclose(lip_distance(real * 1.7 + 40, real, aligned=True), 0, atol=1e-12)
    opened = real.copy()
    lower = LIPS[:20]
    opened[:, lower, 1] += 10
    # Half of the 40 points moved by 10 px: around their mean each stands 5 px off.
    np.testing.assert_allclose(lip_distance(opened, real, aligned=True), 5 / HEIGHT)


def test_lip_points_are_forty_different_ones():
    assert len(LIPS) == len(set(LIPS)) == 40


def test_opening_does_not_change_with_the_heads_turn_or_size():
    face = _face()[0]
    angles = np.array([[0, 0, 0], [0.3, -0.5, 0.2]])
    turned = 1.3 * face @ np.swapaxes(rotation_matrices(angles), -1, -2) + 50
    opening = lip_opening(turned)
    assert opening[1] == pytest.approx(opening[0])
    assert face_height(turned)[1] == pytest.approx(1.3 * HEIGHT)


def _speech(count=120, seed=0):
    series = np.convolve(np.random.default_rng(seed).normal(size=count + 8), np.hanning(7), "valid")
    return 0.04 + 0.02 * series[:count]


def test_sync_finds_a_late_picture():
    generated = _speech()
    real = np.concatenate([np.zeros(4), generated])[: len(generated)]  # four frames later than the sound
    sync = lip_sync(generated, real, known_lag=4)
    assert (sync.correlation, sync.lag) == (pytest.approx(1), 4)
    assert sync.correlation_at_lag == pytest.approx(1)
    assert sync.frames == 116
    off_by_one = lip_sync(generated, real, known_lag=3)
    assert off_by_one.correlation == pytest.approx(1)
    far = lip_sync(generated, real, known_lag=0)
    assert far.correlation < 0.6 and far.lag == 4


def test_sync_of_an_early_picture_and_of_other_speech():
    real = _speech()
    assert lip_sync(np.concatenate([np.zeros(2), real]), real, known_lag=-2).lag == -2
    assert abs(lip_sync(_speech(400, seed=5), _speech(400, seed=6)).correlation) < 0.35


def test_sync_is_the_textbook_correlation():
    a, b = _speech(), _speech() + 0.02 * np.random.default_rng(9).normal(size=120)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_frames_without_a_face_do_not_count():
    real = _speech()
    generated = real.copy()
    found = np.ones(len(real), bool)
    generated[10:20], found[10:20] = 0.0, False
    sync = lip_sync(generated, real, 0, found)
    assert sync.correlation == pytest.approx(1)
    assert sync.frames == 110


def test_a_frozen_mouth_scores_zero_and_too_few_frames_are_refused():
    real = _speech()
    sync = lip_sync(np.full(len(real), 0.03), real, known_lag=2)
    assert (sync.correlation, sync.lag) == (0.0, 2)
    with pytest.raises(ValueError, match="needs 10"):
        lip_sync(real[:6], real)


def test_spread_ratio_scales_with_the_motion():
    real = _speech()
    assert spread_ratio(real.mean() + 0.5 * (real - real.mean()), real) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="motion"):
        spread_ratio(real, np.zeros(5))
