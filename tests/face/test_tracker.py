"""Faces are found wherever and however they stand in a picture, and their meshes lie where they should."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.face.networks import MIRROR
from pipeline.face.tracker import Face, FaceTracker


def error(face, landmarks: np.ndarray, matrix: np.ndarray) -> float:
    """Mean distance from where the mesh of the plain picture went, as a share of face height."""
    expected = landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    height = np.linalg.norm(expected[10] - expected[152])
    return float(np.linalg.norm(face.landmarks[:, :2] - expected, axis=1).mean() / height)


def turned(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture turned in a canvas that holds all of it, and the matrix of continuous coordinates."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    columns, rows = round(height * sine + width * cosine), round(height * cosine + width * sine)
    matrix[:, 2] += (columns - width) / 2, (rows - height) / 2
    return cv2.warpAffine(image, matrix, (columns, rows)), matrix


def placed(image: np.ndarray, scale: float, corner: tuple[int, int], size: tuple[int, int]):
    """The picture scaled into a larger one of soft noise."""
    canvas = cv2.resize(np.random.default_rng(0).integers(60, 200, (12, 16, 3), np.uint8), size)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left, top = corner
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas, np.array([[scale, 0, left], [0, scale, top]])


def test_the_mesh_lies_on_the_face(astronaut_face):
    """Her irises, her mouth's corners, the teeth's upper edge and the tip of her nose, measured by eye."""
    points = astronaut_face.landmarks
    assert points.shape == (478, 3) and points.dtype == np.float32
    by_eye = {468: (203, 101), 473: (246, 103), 78: (204, 141), 308: (246, 140), 13: (222, 143), 4: (222, 126)}
    for index, place in by_eye.items():
        assert np.linalg.norm(points[index, :2] - place) < 4, index
    assert points[1, 2] < points[10, 2] < points[234, 2]  # nose nearer than forehead nearer than ear
    left, top, right, bottom = astronaut_face.box
    assert 160 < left < 200 and 40 < top < 80 and 250 < right < 290 and 160 < bottom < 200
    assert 90 < astronaut_face.height < 150 and 0.5 < astronaut_face.score <= 1


@pytest.mark.parametrize("degrees", [20, 45, -45, 90, 180, 270])
def test_a_face_at_any_roll(astronaut, astronaut_face, tracker, degrees):
    picture, matrix = turned(astronaut, degrees)
    faces = tracker.find(picture)
    assert len(faces) == 1 and error(faces[0], astronaut_face.landmarks, matrix) < 0.02


@pytest.mark.parametrize(
    ("scale", "corner", "size"),
    [
        (0.5, (700, 700), (1024, 1024)),  # in a corner
        (1.6, (0, 0), (1100, 900)),
        (0.6, (3600, 2600), (4000, 3000)),  # 70 pixels in twelve megapixels
        (2.0, (100, 1500), (3000, 4000)),
    ],
)
def test_a_face_of_any_size_and_place(astronaut, astronaut_face, tracker, scale, corner, size):
    picture, matrix = placed(astronaut, scale, corner, size)
    faces = tracker.find(picture)
    assert faces and error(faces[0], astronaut_face.landmarks, matrix) < 0.02


def test_a_face_that_fills_the_picture(astronaut, astronaut_face, tracker):
    left, top, right, bottom = (int(value) for value in astronaut_face.box)
    close = np.ascontiguousarray(astronaut[top:bottom, left:right])
    faces = tracker.find(close)
    assert len(faces) == 1
    assert error(faces[0], astronaut_face.landmarks, np.array([[1, 0, -left], [0, 1, -top]])) < 0.03


def test_all_faces_the_largest_first(astronaut, tracker):
    crowd = np.zeros((700, 1200, 3), np.uint8)
    for scale, left in ((0.7, 0), (1.2, 380), (0.4, 1000)):
        small = cv2.resize(astronaut[:400], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        crowd[: small.shape[0], left : left + small.shape[1]] = small[:, : 1200 - left]
    faces = tracker.find(crowd)
    assert len(faces) == 3
    assert [round(face.height / faces[0].height, 1) for face in faces] == [1.0, 0.6, 0.3]


@pytest.mark.parametrize("kind", ["flat", "noise", "stripes", "tiny"])
def test_no_face_where_there_is_none(tracker, kind):
    noise = np.random.default_rng(1).integers(0, 256, (400, 500, 3), np.uint8)
    picture = {
        "flat": np.full((300, 400, 3), 128, np.uint8),
        "noise": noise,
        "stripes": np.tile(np.repeat(np.array([0, 255], np.uint8), 20), 10)[:, None, None].repeat(400, 1).repeat(3, 2),
        "tiny": noise[:1, :1],
    }[kind]
    assert tracker.find(picture) == []


def test_a_mirrored_picture_has_the_mirrored_mesh(astronaut, astronaut_face, tracker):
    (face,) = tracker.find(np.ascontiguousarray(astronaut[:, ::-1]))
    back = face.landmarks[MIRROR] * [-1, 1, 1] + [astronaut.shape[1], 0, 0]
    assert np.linalg.norm((back - astronaut_face.landmarks)[:, :2], axis=1).mean() < 0.01 * face.height


def test_find_is_repeatable(astronaut, astronaut_face, tracker):
    assert np.array_equal(tracker.find(astronaut)[0].landmarks, astronaut_face.landmarks)


def test_following_a_face_that_moves_leaves_and_comes_back(astronaut, astronaut_face):
    empty = np.full_like(astronaut, 90)
    with FaceTracker(video=True) as tracker:
        for frame in range(8):
            shift = np.array([[1.0, 0, 6.0 * frame], [0, 1.0, 3.0 * frame]])
            face = tracker.follow(cv2.warpAffine(astronaut, shift, (512, 512), borderMode=cv2.BORDER_REPLICATE))
            assert face is not None and face.score == 1.0
            assert error(face, astronaut_face.landmarks, shift) < 0.02
        assert tracker.follow(empty) is None
        assert tracker.follow(empty) is None
        face = tracker.follow(astronaut)
        assert face is not None and error(face, astronaut_face.landmarks, np.eye(2, 3)) < 0.02


def test_a_tracker_is_quiet(capfd):
    """MediaPipe's C++ would write to standard error, which belongs to the command line's progress."""
    with FaceTracker() as tracker:
        tracker.find(np.zeros((64, 64, 3), np.uint8))
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_corpus_portraits_of_every_kind_are_found(corpus, tracker):
    """Photographs, paintings, a statue, a drawing, a terracotta soldier, a turned head, and Van Gogh's Dr Gachet."""
    from pipeline.face.image import read_image

    for name in (
        "anitalker_Einstein echomimic_e hallo3_0022 hallo_4 joyvasa_joyvasa_003 liveportrait_s0 liveportrait_s6 "
        "makeittalk_dwayne makeittalk_statue1 musev_dufu musev_Portrait-of-Dr_-Gachet x-portrait_source_image"
    ).split():
        picture = read_image(corpus / "portraits" / f"{name}.jpg")
        faces = tracker.find(picture)
        assert faces, name
        left, top, right, bottom = faces[0].box
        assert left > -20 and top > -20 and right < picture.shape[1] + 20 and bottom < picture.shape[0] + 20, name
        assert faces[0].height > 0.12 * max(picture.shape[:2]), name


@pytest.mark.parametrize(("logit", "away", "stays"), [(2.0, 0.35, False), (20.0, 0.35, True), (2.0, 1.5, True)])
def test_a_doubtful_mesh_gives_way_to_the_face_that_it_lies_on(
    astronaut, astronaut_face, monkeypatch, logit, away, stays
):
    """Followed into an ear by a network that doubts it, a face is searched anew; another person's is not taken."""
    ear = (astronaut_face.landmarks - astronaut_face.landmarks.mean(0)) * 0.3 + astronaut_face.landmarks.mean(0)
    ear[:, 0] += away * astronaut_face.height
    with FaceTracker(video=True) as tracker:
        tracker.hold(Face(ear))
        track, first = tracker._track, iter([(ear.astype(np.float32), logit)])
        monkeypatch.setattr(tracker, "_track", lambda *args: next(first, None) or track(*args))
        found = tracker.follow(astronaut).landmarks
    expected = ear if stays else astronaut_face.landmarks
    assert np.linalg.norm(found.mean(0) - expected.mean(0)) < 0.05 * astronaut_face.height
