"""The matte holds the whole person and nothing else, and its edge is the picture's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.face.image import read_image
from pipeline.face.segmentation import Segmenter, person_alpha
from pipeline.face.topology import OUTLINE


@pytest.fixture(scope="module")
def segmenter():
    with Segmenter() as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def alpha(astronaut, astronaut_face, segmenter) -> np.ndarray:
    return segmenter.person_alpha(astronaut, astronaut_face.landmarks)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two soft mattes."""
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def face_mask(shape: tuple[int, ...], landmarks: np.ndarray) -> np.ndarray:
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(landmarks[OUTLINE, :2]).astype(np.int32)], 1)
    return mask.astype(bool)


def test_the_astronaut_is_in_front_of_flag_and_shuttle(astronaut, astronaut_face, alpha):
    assert alpha.shape == astronaut.shape[:2] and alpha.dtype == np.float32
    assert alpha.min() == 0 and alpha.max() == 1
    inside = cv2.erode(face_mask(alpha.shape, astronaut_face.landmarks).astype(np.uint8), np.ones((7, 7), np.uint8))
    assert alpha[inside > 0].min() > 0.9
    for x, y in ((220, 20), (160, 90), (285, 90), (230, 250), (120, 400), (330, 300)):  # hair, suit, shoulders
        assert alpha[y, x] > 0.9, (x, y)
    for x, y in ((20, 20), (60, 250), (350, 30), (440, 60), (480, 200), (300, 30)):  # flag, sky, shuttle
        assert alpha[y, x] < 0.1, (x, y)


def test_its_edge_is_narrow(alpha):
    unsure = np.mean((alpha > 0.05) & (alpha < 0.95))
    assert unsure < 0.08


def test_before_another_background_the_person_is_the_same(astronaut, astronaut_face, alpha, segmenter):
    rng = np.random.default_rng(3)
    wall = cv2.resize(rng.integers(90, 220, (9, 9, 3), np.uint8), (512, 512), interpolation=cv2.INTER_CUBIC)
    before = astronaut * alpha[..., None] + wall * (1 - alpha[..., None])
    again = segmenter.person_alpha(before.astype(np.uint8), astronaut_face.landmarks)
    assert overlap(alpha, again) > 0.93


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_resolution_does_not_matter(astronaut, astronaut_face, alpha, segmenter, scale):
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=interpolation)
    found = segmenter.person_alpha(scaled, astronaut_face.landmarks * np.float32(scale))
    assert found.shape == scaled.shape[:2]
    assert overlap(alpha, cv2.resize(found, (512, 512), interpolation=cv2.INTER_AREA)) > 0.94


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_picture_on_its_side_has_the_matte_on_its_side(astronaut, alpha, segmenter, tracker, quarters):
    turned = np.ascontiguousarray(np.rot90(astronaut, quarters))
    (face,) = tracker.find(turned)
    found = segmenter.person_alpha(turned, face.landmarks)
    assert overlap(np.rot90(alpha, quarters), found) > 0.97


def test_other_people_are_kept_out(astronaut, tracker, segmenter):
    pair = np.ascontiguousarray(np.hstack([astronaut[:, 60:400], astronaut[:, 60:400]]))
    faces = sorted(tracker.find(pair), key=lambda face: face.box[0])
    assert len(faces) == 2
    alphas = [segmenter.person_alpha(pair, face.landmarks, [other.landmarks]) for face, other in (faces, faces[::-1])]
    for alpha, (mine, theirs) in zip(alphas, (faces, faces[::-1]), strict=True):
        assert alpha[face_mask(alpha.shape, mine.landmarks)].mean() > 0.98
        assert alpha[face_mask(alpha.shape, theirs.landmarks)].mean() < 0.02
    assert np.minimum(*alphas).mean() < 0.02


def test_where_no_person_is_seen_the_matte_is_a_head_and_shoulders(astronaut_face, segmenter):
    flat = np.full((512, 512, 3), 127, np.uint8)
    alpha = segmenter.person_alpha(flat, astronaut_face.landmarks)
    assert alpha[face_mask(alpha.shape, astronaut_face.landmarks)].min() > 0.9
    assert alpha[45, 222] > 0.5  # hair above the forehead
    assert alpha[400, 222] > 0.9  # chest
    assert alpha[:, :10].max() < 0.1 and alpha[:10].max() < 0.1 and alpha[100, 400] < 0.1


def test_a_thread_keeps_its_network(astronaut, astronaut_face, alpha):
    assert np.array_equal(person_alpha(astronaut, astronaut_face.landmarks), alpha)


PORTRAITS = (
    "anitalker_Einstein anitalker_cartoon_girl anitalker_statue deepface_img26 echomimic_v3_25 geneface_015259 "
    "liveportrait_s10 liveportrait_s6 makeittalk_dwayne makeittalk_paint3 musev_Portrait-of-Dr_-Gachet musev_dufu"
)


@pytest.mark.parametrize("name", PORTRAITS.split())
def test_corpus_portraits(corpus, tracker, segmenter, name):
    picture = read_image(corpus / "portraits" / f"{name}.jpg")
    landmarks = tracker.find(picture)[0].landmarks
    alpha = segmenter.person_alpha(picture, landmarks)
    inside = face_mask(alpha.shape, landmarks)
    assert alpha[inside].mean() > 0.98
    height = np.linalg.norm(landmarks[10] - landmarks[152])
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]]
    centre = landmarks[:, :2].mean(0)
    far_above = (rows < centre[1] - 1.5 * height) | ((rows < centre[1]) & (np.abs(columns - centre[0]) > 1.6 * height))
    if far_above.any():  # beside and above the head there is nobody
        assert alpha[far_above].mean() < 0.1
    assert np.mean((alpha > 0.1) & (alpha < 0.9)) < 0.16
