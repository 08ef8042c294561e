"""Patches: rectangles fixed to the skull, and the small networks that correct them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.errors import WeightsError
from pipeline.face.geometry import rotation_matrices
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.renderers.patch_network import INPUT_CHANNELS, PatchNetwork
from pipeline.renderers.patch_painter import PatchNetworks
from pipeline.renderers.patches import (
    LEFT_EYE,
    MOUTH,
    PATCHES,
    RIGHT_EYE,
    PatchFrame,
    allowed,
    blur_streaks,
    fill_mouth,
    shade_slit,
    shut_share,
    wider_share,
)


@pytest.fixture(scope="module")
def mean_face() -> np.ndarray:
    return MorphableModel.load(EMBEDDED / "face").mean


def frontal(scale: float = 200.0) -> tuple[np.ndarray, float, np.ndarray]:
    return np.eye(3), scale, np.array([150.0, 150.0, 0.0])


def posed(points: np.ndarray, rotation: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    return (scale * points @ rotation.T + shift)[:, :2]


@pytest.mark.parametrize("kind", PATCHES)
def test_a_patch_covers_its_opening_with_room_around(mean_face, kind):
    place = PatchFrame(kind, mean_face)
    openings = place.openings(posed(mean_face, *frontal()), place.to_picture(*frontal()))
    assert openings.shape == (kind.height, kind.width, 2) and openings.dtype == np.uint8
    assert 20 < (openings[..., 1] > 128).sum() < 0.6 * kind.width * kind.height
    assert not openings[[0, -1]].any() and not openings[:, [0, -1]].any()


@pytest.mark.parametrize("kind", PATCHES)
def test_a_patch_goes_with_the_head_and_nothing_else(mean_face, kind):
    """Its own view of a rigid head is the same for any placement."""
    place = PatchFrame(kind, mean_face)
    still = place.openings(posed(mean_face, *frontal()), place.to_picture(*frontal()))
    turned = (rotation_matrices(np.array([0.0, 0.0, 0.4])), 260.0, np.array([90.0, 200.0, 0.0]))
    moved = place.openings(posed(mean_face, *turned), place.to_picture(*turned))
    assert np.abs(still.astype(int) - moved).mean() < 1.5


def test_both_eyes_look_alike_to_the_network(mean_face):
    right, left = (
        PatchFrame(kind, mean_face).openings(
            posed(mean_face, *frontal()), PatchFrame(kind, mean_face).to_picture(*frontal())
        )
        for kind in (RIGHT_EYE, LEFT_EYE)
    )
    assert np.abs(right.astype(int) - left).mean() < 4


@pytest.mark.parametrize("scale", [60.0, 200.0, 500.0])
def test_cutting_reads_the_picture_at_the_patchs_pixels(mean_face, scale):
    place = PatchFrame(MOUTH, mean_face)
    shift = np.array([2 * scale, 2 * scale, 0.0])
    to_picture = place.to_picture(np.eye(3), scale, shift)
    rows, columns = np.mgrid[0 : int(4 * scale), 0 : int(4 * scale)] * (200 / (4 * scale))
    picture = np.stack([rows, columns, rows], -1).astype(np.uint8)
    patch = place.cut(picture, to_picture)
    corner = to_picture @ np.array([20.0, 30.0, 1.0]) * (200 / (4 * scale))
    assert patch[30, 20] == pytest.approx([corner[1], corner[0], corner[1]], abs=2)


def test_networks_paint_around_openings_and_never_on_the_border():
    openings = np.zeros((MOUTH.height, MOUTH.width, 2), np.uint8)
    openings[30:50, 20:76] = 255
    where = allowed(openings, np.zeros_like(openings), MOUTH)
    assert where[40, 48] == 1.0
    assert not where[[0, -1]].any() and not where[:, [0, -1]].any() and not where[:15].any()
    full = allowed(np.full_like(openings, 255), openings, MOUTH)
    assert not full[[0, -1]].any() and not full[:, [0, -1]].any() and full[20, 30] == 1.0


def test_a_mouth_is_filled_with_what_the_portrait_shows_of_it():
    """Teeth that the portrait shows stay at their place; where it shows none there is a dark hollow."""
    shape = (MOUTH.height, MOUTH.width)
    reference = np.full((*shape, 3), (200, 120, 110), np.uint8)
    shown, opened = np.zeros((*shape, 2), np.uint8), np.zeros((*shape, 2), np.uint8)
    reference[30:40, 30:66] = 240  # teeth
    shown[28:42, 28:68] = 255
    opened[28:60, 28:68] = 255
    shown[24:46, 24:72, 1] = opened[24:64, 24:72, 1] = 255
    patch = np.full((*shape, 3), 7, np.uint8)
    filled = fill_mouth(patch, reference, opened, shown)
    assert (filled[33:38, 35:60] == 240).all()
    assert filled[52, 48].max() < 110 and filled[52, 48, 0] > 40
    assert (filled[:24] == 7).all()
    shut = np.zeros_like(opened)
    assert (fill_mouth(patch, reference, shut, shown) == patch).all()


def mouth_open(gap: float) -> np.ndarray:
    """Openings (h, w, 2) uint8 of lips that are `gap` face heights apart."""
    openings = np.zeros((MOUTH.height, MOUTH.width, 2), np.uint8)
    rows = round(gap / MOUTH.pixel)
    openings[30 : 30 + rows, 20:76, 0] = 255
    openings[20 : 40 + rows, 16:80, 1] = 255
    return openings


def test_a_narrow_gap_between_lips_is_dark_unless_the_portrait_shows_what_is_there():
    patch = np.full((MOUTH.height, MOUTH.width, 3), 150, np.int16)
    slit = shade_slit(patch, mouth_open(0.02), mouth_open(0.0))
    assert slit.dtype == patch.dtype and slit[31:33, 30:66].max() < 0.58 * 150
    assert (slit[:28] == 150).all() and (slit[36:] == 150).all() and (slit[:, :18] == 150).all()
    wider = shade_slit(patch, mouth_open(0.035), mouth_open(0.0))
    assert slit[31:33, 48].max() < wider[32:35, 48].min() < 150
    for openings, own in ((0.0, 0.0), (0.06, 0.0), (0.02, 0.05)):
        assert (shade_slit(patch, mouth_open(openings), mouth_open(own)) == patch).all()


# --- networks -------------------------------------------------------------------------------------------------------


def test_an_untrained_network_changes_nothing():
    inputs = torch.rand(2, INPUT_CHANNELS, 48, 64)
    out = PatchNetwork(width=4, blocks=1)(inputs, torch.ones(2, 1, 48, 64))
    assert torch.equal(out, inputs[:, :3])


def test_a_network_changes_only_what_it_may():
    torch.manual_seed(0)
    network = PatchNetwork(width=4, blocks=1)
    torch.nn.init.normal_(network.leave.weight)
    inputs, mask = torch.rand(1, INPUT_CHANNELS, 48, 64), torch.zeros(1, 1, 48, 64)
    mask[..., 20:30, 20:40] = 1
    changed = (network(inputs, mask) - inputs[:, :3]).abs().sum(1)
    inside = mask[:, 0] > 0
    assert changed[inside].min() > 0 and not changed[~inside].any()


def test_networks_come_back_from_disk(tmp_path):
    torch.manual_seed(0)
    network = PatchNetwork(width=4, blocks=1)
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    network.save(tmp_path)
    again = PatchNetwork.load(tmp_path)
    inputs, mask = torch.rand(1, INPUT_CHANNELS, 48, 64), torch.ones(1, 1, 48, 64)
    assert again.config == network.config
    assert torch.allclose(again(inputs, mask), network(inputs, mask), atol=5e-3)  # kept in half precision
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("damage", ["missing", "cut", "not json", "other sizes", "other class"])
def test_damaged_networks_are_one_sentence(tmp_path, damage):
    for kind in ("mouth", "eye"):
        PatchNetwork(width=4, blocks=1).save(tmp_path / kind)
    weights, config = tmp_path / "mouth" / "model.safetensors", tmp_path / "mouth" / "config.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "not json":
        config.write_text("{")
    elif damage == "other sizes":
        config.write_text('{"_class_name": "PatchNetwork", "width": 8, "blocks": 1}')
    else:
        config.write_text("[]")
    with pytest.raises(WeightsError, match=r"mouth cannot be read; install the weights again\.$"):
        PatchNetworks.load(tmp_path)


def test_streaks_between_the_lips_are_blurred_and_nothing_else():
    """Upright stripes, as a shut mouth's line leaves them in an opened one."""
    frame = np.full((120, 160, 3), 90, np.uint8)
    frame[:, ::2] = 150
    ring = np.array([[80 + 40 * np.cos(a), 60 + 20 * np.sin(a)] for a in np.linspace(0, 2 * np.pi, 20, endpoint=False)])
    before = frame.copy()
    blur_streaks(frame, ring, 0.0, 200.0)
    assert np.array_equal(frame, before)
    blur_streaks(frame, ring, 1.0, 200.0)
    assert frame[50:70, 60:100].astype(int).std() < 0.2 * before[50:70, 60:100].std()
    outside = np.ones(frame.shape[:2], bool)
    outside[38:83, 38:123] = False
    assert np.array_equal(frame[outside], before[outside])
    blur_streaks(frame, ring + 500, 1.0, 200.0)  # a mouth beyond the picture's edge


def test_only_mouths_that_show_nothing_and_open_wider_count():
    def openings(gap: int) -> np.ndarray:
        out = np.zeros((MOUTH.height, MOUTH.width, 2), np.uint8)
        out[40 : 40 + gap, 20:76, 0] = out[30 : 50 + gap, 16:80, 1] = 255
        return out

    assert shut_share(openings(0)) == 1 and shut_share(openings(12)) == 0
    assert wider_share(openings(3), openings(3)) == 0 and wider_share(openings(10), openings(3)) == 1
