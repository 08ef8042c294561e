"""The background behind a person goes on as it is around: its stripes and its grain, and nothing of the person."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.postprocess.inpainting import continued, smooth_fill

_SIDE = 240
_REACH = 36


def head(radius: float = 66) -> np.ndarray:
    """(H, W) uint8: 0 where a disc stands before the wall."""
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE] - (_SIDE - 1) / 2
    return (np.hypot(rows, columns) > radius).astype(np.uint8)


def before(wall: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known[..., None] > 0, wall, (230, 20, 20)).astype(np.uint8)


def stripes() -> np.ndarray:
    """A wall with slanting stripes, in colour."""
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE]
    light = 0.5 + 0.5 * np.sin(2 * np.pi * (columns + 0.4 * rows) / 22)
    return np.rint(light[..., None] * (190, 150, 90) + 30).astype(np.uint8)


def uncovered(known: np.ndarray) -> np.ndarray:
    """What a head that moves a little shows: hidden, and near the edge."""
    return (known == 0) & (cv2.distanceTransform(1 - known, cv2.DIST_L2, 5) < _REACH / 2)


def test_stripes_go_on_behind_the_head():
    wall, known = stripes(), head()
    plate = continued(before(wall, known), known, _REACH)
    where = uncovered(known)
    truth = wall[where].astype(float)
    error = np.abs(plate[where] - truth).mean()
    smooth_error = np.abs(smooth_fill(before(wall, known), known)[where] - truth).mean()
    assert error < 0.4 * smooth_error
    assert np.corrcoef(plate[where][:, 0], truth[:, 0])[0, 1] > 0.85


def test_grain_is_as_strong_behind_the_head_as_beside_it():
    grain = np.random.default_rng(3).normal(0, 30, (_SIDE, _SIDE, 1))
    wall = np.clip(cv2.GaussianBlur(grain, (0, 0), 1.2)[..., None] * 2 + 120, 0, 255) * np.ones(3)
    known = head()
    plate = continued(before(np.rint(wall).astype(np.uint8), known), known, _REACH)
    behind, beside = plate[uncovered(known)].std(), plate[known > 0].std()
    assert 0.6 * beside < behind < 1.2 * beside


@pytest.mark.parametrize("wall", [stripes(), np.full((_SIDE, _SIDE, 3), 140, np.uint8)])
def test_what_is_known_stays_and_nothing_of_the_person_is_left(wall):
    known = head()
    image = before(wall, known)
    plate = continued(image, known, _REACH)
    assert (plate[known > 0] == image[known > 0]).all()
    hidden = plate[known == 0].astype(int)
    assert (hidden[:, 0] - hidden[:, 1]).max() < 90, "the person was 210 more red than green, the wall is 40"
    assert (plate == continued(image, known, _REACH)).all(), "the same picture, the same plate"


def test_a_plain_wall_is_filled_smoothly():
    slope = np.repeat(np.linspace(80, 160, _SIDE)[None, :, None], _SIDE, 0) * np.ones(3)
    known = head()
    image = before(np.rint(slope).astype(np.uint8), known)
    assert (continued(image, known, _REACH)[known == 0] == smooth_fill(image, known)[known == 0]).all()


@pytest.mark.parametrize("known", [np.zeros((60, 80), np.uint8), np.ones((60, 80), np.uint8)])
def test_with_nothing_known_or_nothing_hidden_the_picture_stays(known):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    assert (continued(image, known, 20) == image).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (13, 40), (40, 13)])
@pytest.mark.parametrize("reach", [0.5, 8.0, 500.0])
def test_small_pictures_and_any_reach(shape, reach):
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    known = (random.random(shape) > 0.2).astype(np.uint8)
    plate = continued(image, known, reach)
    assert plate.shape == image.shape and plate.dtype == np.uint8
    assert (plate[known > 0] == image[known > 0]).all()
