"""The portrait's fine detail in each frame: nothing where nothing was lost, back where it was, and steadily."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from pipeline.coefficients import Coefficients
from pipeline.face.portrait import Portrait
from pipeline.face.topology import INNER_LIPS, OUTLINE
from pipeline.postprocess.detail import FINEST, DetailRestoration
from pipeline.postprocess.moving_face import MovingFace
from pipeline.renderers.mesh import MeshRenderer


@pytest.fixture(scope="module")
def grainy(astronaut) -> Portrait:
    """The portrait at its face's own size with skin of much fine detail."""
    random = np.random.default_rng(0)
    grain = random.normal(0, 9, (*astronaut.image.shape[:2], 1))
    image = np.clip(astronaut.image * 0.8 + 20 + grain, 0, 255).astype(np.uint8)
    return Portrait.fit(image, astronaut.landmarks, astronaut.alpha, astronaut.model)


@pytest.fixture(scope="module")
def frames(pipe, grainy, motion) -> list[np.ndarray]:
    return list(MeshRenderer.load(pipe.weights, grainy).render(motion))


def fine(frame: np.ndarray) -> np.ndarray:
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return luma - cv2.GaussianBlur(luma, (0, 0), 1.0)


def skin(portrait: Portrait, row: tuple[np.ndarray, ...]) -> np.ndarray:
    """Forehead, cheeks and nose of a frame, as far as a turned face shows them: where detail is laid in whole."""
    points = MovingFace(portrait).points(*row)[:, :2]
    mask = np.zeros(portrait.image.shape[:2], np.uint8)
    for middle in (151, 5, 50, 280):
        cv2.circle(mask, np.rint(points[middle]).astype(int).tolist(), round(0.1 * portrait.scale), 1, -1)
    face = np.zeros_like(mask)
    cv2.fillPoly(face, [np.rint(points[OUTLINE]).astype(np.int32)], 1)
    return (mask > 0) & (cv2.distanceTransform(face, cv2.DIST_L2, 5) > 0.06 * portrait.scale)


def rows(motion: Coefficients) -> list[tuple[np.ndarray, ...]]:
    return list(zip(motion.expression, motion.pose, motion.crop, strict=True))


def restored(
    portrait: Portrait, frames: list[np.ndarray], motion: Coefficients, finest: float = FINEST
) -> list[np.ndarray]:
    return list(DetailRestoration(portrait, finest).start()(iter([frame.copy() for frame in frames]), motion))


def test_the_portrait_itself_has_lost_nothing_and_gets_nothing(grainy):
    (out,) = restored(grainy, [grainy.image], grainy.coefficients)
    assert (np.abs(out.astype(int) - grainy.image) <= 1).all()


def test_what_sampling_took_from_the_skin_comes_back(grainy, frames, motion):
    out = restored(grainy, frames, motion)
    wanted = fine(grainy.image)[skin(grainy, rows(motion)[0])].std()
    for index in (3, 5, 7):
        where = skin(grainy, rows(motion)[index])
        before, after = fine(frames[index])[where].std() / wanted, fine(out[index])[where].std() / wanted
        assert before < 0.75, "sampling took nothing: the test would say nothing"
        assert before + 0.1 < after < 1.1


def test_lines_that_are_still_there_are_left_alone(astronaut):
    """A brow laid in anew half a pixel beside its place costs more than it gives; pores around it do not."""
    grey = np.full_like(astronaut.image, 150)
    grey[::2, ::2] += 3
    lines = grey.copy()
    x, y = np.rint(astronaut.landmarks[[50, 280], :2].mean(0)).astype(int)
    lines[y - 1 : y + 1, x - 30 : x + 30] = 90
    portrait = Portrait.fit(lines, astronaut.landmarks, astronaut.alpha, astronaut.model)
    frame = np.full_like(grey, 150)
    frame[y : y + 2, x - 30 : x + 30] = 90  # a pixel lower
    (out,) = restored(portrait, [frame], portrait.coefficients)
    assert (np.abs(out.astype(int) - frame)[y : y + 2, x - 25 : x + 25] <= 2).all()
    assert np.abs(out.astype(int) - frame)[y - 20 : y - 8, x - 25 : x + 25].max() >= 1


def test_sharpness_does_not_come_and_go(grainy, frames, motion):
    out = restored(grainy, frames, motion)

    def pulse(clip: list[np.ndarray]) -> float:
        levels = [fine(f)[skin(grainy, row)].std() for f, row in zip(clip[1:], rows(motion)[1:], strict=True)]
        return float(np.mean([abs(b - a) for a, b in pairwise(levels)]) / np.mean(levels))

    assert pulse(out) < 0.8 * pulse(frames)


def test_a_blurred_frame_gets_its_detail_from_the_portrait(grainy, frames, motion):
    """As after a renderer that knows no pores: the finest band is the portrait's, at the place where the skin is."""
    blurred = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in frames]
    out = restored(grainy, blurred, motion, finest=2)
    where = skin(grainy, rows(motion)[7])
    assert fine(blurred[7])[where].std() < 0.3 * fine(frames[7])[where].std()
    assert np.corrcoef(fine(out[7])[where], fine(frames[7])[where])[0, 1] > 0.85


def test_nothing_changes_outside_the_face_nor_inside_the_mouth(grainy, motion, frames):
    grey = [np.full_like(frame, 128) for frame in frames]
    for frame, row in zip(restored(grainy, grey, motion), rows(motion), strict=True):
        points = MovingFace(grainy).points(*row)[:, :2]
        face = np.zeros(frame.shape[:2], np.uint8)
        cv2.fillConvexPoly(face, np.rint(cv2.convexHull(points.copy())[:, 0]).astype(np.int32), 1)
        assert (frame[cv2.dilate(face, np.ones((3, 3), np.uint8)) == 0] == 128).all()
        mouth = np.zeros(frame.shape[:2], np.uint8)
        cv2.fillPoly(mouth, [np.rint(points[INNER_LIPS]).astype(np.int32)], 1)
        assert (frame[cv2.erode(mouth, np.ones((3, 3), np.uint8)) > 0] == 128).all()
        assert (frame != 128).any()


def test_a_face_that_leaves_the_picture(grainy, motion):
    away = Coefficients(
        motion.expression[:2], motion.pose[:2] + np.float32([[0] * 6, [0, 0, 0, 50, 0, 0]]), motion.crop[:2]
    )
    half = Coefficients(motion.expression[:1], motion.pose[:1] + np.float32([0, 0, 0, 2.5, 0, 0]), motion.crop[:1])
    grey = np.full_like(grainy.image, 128)
    assert (restored(grainy, [grey, grey], away)[1] == 128).all()
    assert restored(grainy, [grey], half)[0].shape == grey.shape


def test_a_scale_that_makes_no_sense(grainy):
    with pytest.raises(ValueError, match="finest"):
        DetailRestoration(grainy, 0)
