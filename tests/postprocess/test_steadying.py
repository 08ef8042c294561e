"""Flicker is held down along the mesh, and what really changes is not delayed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.postprocess.alignment import to_template
from pipeline.postprocess.steadying import Steadier

SIDE = 128


@pytest.fixture(scope="module")
def mesh(astronaut) -> np.ndarray:
    matrix = to_template(astronaut.landmarks, SIDE)
    flat = astronaut.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([flat, astronaut.landmarks[:, 2]]).astype(np.float32)


def noise(count: int, strength: float) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(0, strength, (SIDE, SIDE, 3)).astype(np.float32) for _ in range(count)]


def test_noise_that_changes_from_frame_to_frame_is_held_down(mesh):
    steadier = Steadier(SIDE)
    frames = noise(20, 3)
    steady = [steadier(frame, mesh) for frame in frames]
    assert (steady[0] == frames[0]).all(), "the first frame has none before it"
    flicker, before = (np.mean([np.abs(a - b).mean() for a, b in pairwise(one[5:])]) for one in (steady, frames))
    assert flicker < 0.45 * before


def test_what_lasts_stays_as_it_is(mesh):
    constant = 20 * np.sin(np.arange(SIDE) / 3, dtype=np.float32)[:, None, None] * np.ones((1, SIDE, 3), np.float32)
    steadier = Steadier(SIDE)
    for _ in range(10):
        steady = steadier(constant, mesh)
    assert np.abs(steady - constant).max() < 1e-3


def test_a_true_change_comes_at_once(mesh):
    steadier = Steadier(SIDE)
    steadier(np.zeros((SIDE, SIDE, 3), np.float32), mesh)
    change = np.zeros((SIDE, SIDE, 3), np.float32)
    change[40:80, 40:80] = 60
    steady = steadier(change, mesh)
    assert np.abs(steady - change)[45:75, 45:75].max() < 1
    assert not steady[100:].any()


def test_it_follows_the_skin(mesh):
    """A pattern that moves with the mesh is not smeared, and one that does not is."""
    random = np.random.default_rng(1)
    pattern = np.kron(random.normal(0, 5, (SIDE // 4, SIDE // 4, 1)), np.ones((4, 4, 3))).astype(np.float32)
    shift = np.array([2, 0, 0], np.float32)

    def last(step: np.ndarray) -> float:
        steadier = Steadier(SIDE)
        for number in range(6):
            moved = np.roll(pattern, 2 * number, axis=1)
            steady = steadier(moved, mesh + number * step)
        inside = slice(SIDE // 2 - 10, SIDE // 2 + 30), slice(SIDE // 2 - 10, SIDE // 2 + 20)
        return float(np.abs(steady - moved)[inside].mean())

    assert last(shift) < 0.2 * last(0 * shift)


def test_shares_that_make_no_sense():
    for share in (0, -1, 1.5):
        with pytest.raises(ValueError, match="share"):
            Steadier(SIDE, share)
