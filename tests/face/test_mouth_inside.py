"""What shows between the lips: teeth or the dark, read from pictures of a known mouth in any light and of any size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.face import topology
from pipeline.face.mouth_inside import INSIDE_DIM, mouth_inside

TEETH, DARK = (235, 225, 215), (30, 12, 14)


@pytest.fixture(scope="module")
def opened(astronaut, astronaut_face) -> tuple[np.ndarray, np.ndarray]:
    """The astronaut's face, her lips' points moved apart so that there is room to paint between them."""
    points = astronaut_face.landmarks.copy()
    points[topology.INNER_LIPS[11:], 1] += 0.12 * astronaut_face.height
    return astronaut, points


def painted(opened: tuple[np.ndarray, np.ndarray], upper, lower) -> np.ndarray:
    """(3, 3, 3) what is read where the upper half of the opening has one colour and the lower another."""
    picture, points = opened[0].copy(), opened[1][:, :2]
    ring = np.rint(points[topology.INNER_LIPS]).astype(np.int32)
    rows = slice(int(ring[:, 1].min()), int(ring[:, 1].max()) + 1)
    cv2.fillPoly(picture, [ring], lower)
    half = picture.copy()
    cv2.fillPoly(half, [ring], upper)
    middle = (rows.start + rows.stop) // 2
    picture[:middle] = half[:middle]
    return mouth_inside(picture, points).reshape(3, 3, 3)


def test_teeth_over_the_dark_are_told_from_the_dark_alone(opened):
    seen = {name: painted(opened, *colours).mean(-1) for name, colours in
            {"teeth": (TEETH, DARK), "dark": (DARK, DARK), "wide": (TEETH, TEETH)}.items()}  # fmt: skip
    assert seen["dark"].max() < 0.35
    assert seen["wide"].min() > 0.9
    assert seen["teeth"][0, 1] > 3 * seen["teeth"][2, 1], "rows go from the upper lip to the lower"


def test_light_and_size_are_taken_out(opened, astronaut):
    picture, points = opened
    plain = mouth_inside(picture, points)
    darker = mouth_inside(np.rint(picture * 0.6).astype(np.uint8), points)
    assert np.abs(darker - plain).max() < 0.1
    large = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert np.abs(mouth_inside(large, points * 3) - plain).mean() < 0.05


def test_a_mirror_swaps_the_columns(opened):
    from pipeline.face.morphable import MorphableModel
    from pipeline.hub import find_weights

    picture, points = opened
    mirror = topology.mirror_indices(MorphableModel.load(find_weights().component("face")).mean)
    flipped = points[mirror] * [-1, 1, 1] + [picture.shape[1] - 1, 0, 0]
    seen, turned = mouth_inside(picture, points), mouth_inside(np.ascontiguousarray(picture[:, ::-1]), flipped)
    assert np.abs(turned.reshape(3, 3, 3)[:, ::-1] - seen.reshape(3, 3, 3)).max() < 0.1


@pytest.mark.parametrize("shift", [(-400, 0), (0, 500), (900, 900)])
def test_faces_that_the_edge_cuts_are_read_as_far_as_they_go(astronaut, astronaut_face, shift):
    seen = mouth_inside(astronaut, astronaut_face.landmarks[:, :2] + shift)
    assert seen.shape == (INSIDE_DIM,) and seen.dtype == np.float32
    assert np.isfinite(seen).all() and seen.min() >= 0 and seen.max() <= 3
