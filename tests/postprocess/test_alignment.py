"""Faces are laid on the template, cut and pasted back where they came from, and nothing else is touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.face.topology import OUTLINE
from pipeline.postprocess.alignment import (
    TEMPLATE,
    cut_face,
    face_mask,
    five_points,
    paste_difference,
    similarity,
    to_template,
)


def laid(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points[:, :2] @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("turn, scale", [(0.0, 1.0), (0.7, 0.3), (-2.0, 2.5)])
def test_a_similarity_is_found_again(turn, scale):
    points = np.array([[0, 0], [3, 1], [2, 5], [-1, 2.0]])
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = similarity(points, points @ linear.T + (7, -3))
    assert np.allclose(matrix, np.column_stack([linear, [7, -3]]))


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2)), TEMPLATE)


def test_a_face_lies_on_the_template(astronaut):
    matrix = to_template(astronaut.landmarks)
    five = laid(five_points(astronaut.landmarks), matrix)
    assert np.linalg.norm(five - TEMPLATE, axis=1).max() < 20, "of 512"
    assert five[0, 0] < five[1, 0] and five[3, 0] < five[4, 0], "left and right are confused"
    half = to_template(astronaut.landmarks, 256)
    assert np.allclose(half, matrix / 2)


def test_a_turned_picture_gives_the_same_face(astronaut):
    """Of a picture turned by 90° the same face is cut."""
    turned = np.ascontiguousarray(np.rot90(astronaut.image))
    height = astronaut.image.shape[1] - 1
    points = np.column_stack([astronaut.landmarks[:, 1], height - astronaut.landmarks[:, 0]])
    face = cut_face(astronaut.image, to_template(astronaut.landmarks), 512)
    again = cut_face(turned, to_template(points), 512)
    assert np.abs(face.astype(int) - again).mean() < 0.5


def test_the_mask_ends_inside_the_face(astronaut):
    matrix = to_template(astronaut.landmarks)
    points = laid(astronaut.landmarks, matrix)
    mask = face_mask(points)
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, np.rint(cv2.convexHull(points.astype(np.float32))[:, 0]).astype(np.int32), 1)
    assert not mask[hull == 0].any()
    at = np.rint(points).astype(int)
    assert (mask[at[[1, 4, 13, 33, 263], 1], at[[1, 4, 13, 33, 263], 0]] == 1).all(), "nose, lips, eyes"
    assert (mask[at[OUTLINE, 1], at[OUTLINE, 0]] == 0).all()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.06, "a step would be seen as a seam"


def test_a_face_beyond_the_pictures_edge_fades_at_the_edge():
    points = np.array([[-300, -200], [400, -200], [400, 900], [-300, 900]])
    mask = face_mask(points, 512)
    assert not mask[0].any() and not mask[:, 0].any() and mask[256, 100] == 1


@pytest.mark.parametrize("side", [64, 512])
def test_a_difference_lands_where_it_was_cut(astronaut, side):
    """Brightening the aligned face brightens the face in the frame, evenly, and nothing outside it."""
    matrix = to_template(astronaut.landmarks, side)
    points = laid(astronaut.landmarks, matrix)
    frame = (astronaut.image // 2).copy()
    before = frame.copy()
    paste_difference(frame, 40.0 * face_mask(points, side)[..., None].repeat(3, -1), matrix)
    change = frame.astype(int) - before
    outline = np.rint(cv2.convexHull(astronaut.landmarks[:, :2].copy())[:, 0]).astype(np.int32)
    hull = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillConvexPoly(hull, outline, 1)
    assert not change[hull == 0].any()
    nose = np.rint(astronaut.landmarks[1, :2]).astype(int)
    assert (change[nose[1] - 3 : nose[1] + 3, nose[0] - 3 : nose[0] + 3] == 40).all()
    assert np.abs(np.diff(change[..., 0], axis=1)).max() <= 10, "of 40: a seam"


def test_no_difference_leaves_every_pixel(astronaut):
    frame = astronaut.image.copy()
    paste_difference(frame, np.zeros((512, 512, 3), np.float32), to_template(astronaut.landmarks))
    assert (frame == astronaut.image).all()


def test_a_face_outside_the_frame_changes_nothing(astronaut):
    frame = astronaut.image.copy()
    far = astronaut.landmarks + np.array([5000, 0, 0], np.float32)
    paste_difference(frame, np.full((512, 512, 3), 9, np.float32), to_template(far))
    assert (frame == astronaut.image).all()
    assert np.ptp(cut_face(frame, to_template(far)).reshape(-1, 3), axis=0).max() == 0
