"""Fusion: foreground over plate is the picture, and what the head uncovers is plausible background."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.postprocess.fusion import Layers, fuse


def together(layers: Layers) -> np.ndarray:
    out = np.empty_like(layers.plate)
    fuse(layers.foreground, layers.plate, out)
    return out


def disc(side: int = 96, radius: float = 28, soft: float = 4) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side] - (side - 1) / 2
    return np.clip((radius - np.hypot(rows, columns)) / soft + 0.5, 0, 1).astype(np.float32)


NAMES = ["astronaut", "drawing", "man_beard", "man_smiling", "statue", "woman_curls", "woman_spectacles"]


@pytest.mark.parametrize("name", NAMES)
def test_laid_back_it_is_the_portrait(portraits, name):
    portrait = portraits[name]
    assert np.abs(together(Layers(portrait.image, portrait.alpha, 40)).astype(int) - portrait.image).max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_laid_back_it_is_any_picture_under_any_matte(seed):
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    alpha = generator.random((64, 80)).astype(np.float32)
    assert np.abs(together(Layers(image, alpha, 40)).astype(int) - image).max() <= 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_background_or_all_foreground(value):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    layers = Layers(image, np.full((40, 40), value, np.float32), 40)
    assert (together(layers) == image).all()
    assert (layers.foreground[..., 3] == 255 * value).all()


def test_the_plate_hides_the_person():
    """A red disc before a grey slope: nothing red is left in the plate, and the slope goes on behind."""
    alpha = disc()
    wall = np.repeat(np.linspace(60, 200, 96)[None, :, None], 96, 0) * np.ones(3)
    red = np.array([220.0, 20.0, 20.0])
    image = np.rint(alpha[..., None] * red + (1 - alpha[..., None]) * wall).astype(np.uint8)
    layers = Layers(image, alpha, 40)
    hidden = alpha > 0.99
    assert (layers.plate[..., 0].astype(int) - layers.plate[..., 1]).max() < 25
    assert np.abs(layers.plate[hidden].astype(int) - wall[hidden]).mean() < 25
    assert (layers.plate[alpha == 0][:200] == image[alpha == 0][:200]).all()


def test_a_moved_foreground_uncovers_the_plate_and_covers_the_picture():
    alpha = disc()
    image = np.where(alpha[..., None] > 0.5, 230, 40).astype(np.uint8) * np.ones(3, np.uint8)
    layers = Layers(image, alpha, 40)
    out = np.empty_like(image)
    fuse(np.roll(layers.foreground, 20, axis=1), layers.plate, out)
    row = out[48, :, 0].astype(int)
    assert (np.abs(row[25:33] - 40) < 20).all(), "the disc's old place shows the background"
    assert (row[50:80] == 230).all(), "its new place shows it"


def test_fusing_follows_the_equation():
    """out = foreground + (1 - matte) plate, with colour that is already times matte."""
    foreground = np.array([[[100, 50, 0, 128], [10, 20, 30, 255], [0, 0, 0, 0], [200, 200, 200, 100]]], np.uint8)
    plate = np.array([[[200, 100, 50], [9, 9, 9], [7, 8, 9], [255, 255, 255]]], np.uint8)
    out = np.empty_like(plate)
    fuse(foreground, plate, out)
    assert out[0, 0] == pytest.approx([100 + 127 / 255 * 200, 50 + 127 / 255 * 100, 127 / 255 * 50], abs=1)
    assert out[0, 1].tolist() == [10, 20, 30] and out[0, 2].tolist() == [7, 8, 9]
    assert out[0, 3].tolist() == [255, 255, 255]  # held at white, not wrapped to black
