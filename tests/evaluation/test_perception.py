"""The perceptual distance against degradations whose order everybody sees, and the embedder where it is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from evaluation_stubs import astronaut
from heads import one_sentence

from pipeline.errors import WeightsError
from pipeline.evaluation.perception import (
    FACE_SIDE,
    IdentityEmbedder,
    _bands,
    identity_similarity,
    perceptual_distance,
)
from pipeline.face.image import read_picture
from pipeline.face.tracker import FaceTracker
from pipeline.hub import EMBEDDED
from pipeline.postprocess.alignment import cut_face, to_template

PORTRAITS = EMBEDDED.parent / "examples" / "portraits"


@pytest.fixture(scope="module")
def people() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures of two people and their landmarks."""
    other = sorted(PORTRAITS.glob("woman_curls*"))[0]
    pictures = [astronaut(), read_picture(str(other)).pixels]
    with FaceTracker() as tracker:
        return [(picture, tracker.find(picture)[0].landmarks) for picture in pictures]


@pytest.fixture(scope="module")
def faces(people) -> list[np.ndarray]:
    return [cut_face(picture, to_template(points.astype(float), FACE_SIDE), FACE_SIDE) for picture, points in people]


def shifted(face: np.ndarray, pixels: float) -> np.ndarray:
    matrix = np.float32([[1, 0, pixels], [0, 1, 0]])
    return cv2.warpAffine(face, matrix, face.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def noisy(face: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, face.shape)
    return np.clip(face + noise, 0, 255).astype(np.uint8)


def test_the_more_a_face_is_degraded_the_farther_it_is(faces):
    own, other = faces
    series = {
        "blur": [cv2.GaussianBlur(own, (0, 0), sigma) for sigma in (0.7, 1, 2, 4)],
        "noise": [noisy(own, sigma) for sigma in (3, 8, 20)],
        "shift": [shifted(own, pixels) for pixels in (0.5, 1, 2, 5)],
    }
    assert perceptual_distance(own, own) == pytest.approx(0, abs=1e-6)
    far = perceptual_distance(own, other)
    assert 0.25 < far < 0.7
    for name, pictures in series.items():
        distances = [perceptual_distance(picture, own) for picture in pictures]
        assert distances == sorted(distances) and distances[0] > 0 and distances[-1] < far, name


def test_what_nobody_sees_is_forgiven_and_what_everybody_sees_is_not(faces):
    """PSNR has it the wrong way round: that is why the distance is there."""
    own = faces[0]
    shift, blur = shifted(own, 1), cv2.GaussianBlur(own, (0, 0), 2)
    brighter = np.clip(own.astype(int) + 8, 0, 255).astype(np.uint8)
    assert cv2.PSNR(shift, own) < cv2.PSNR(blur, own) + 3
    assert perceptual_distance(shift, own) < 0.5 * perceptual_distance(blur, own)
    assert perceptual_distance(brighter, own) < 0.1 * perceptual_distance(blur, own)
    assert perceptual_distance(blur, own) == pytest.approx(perceptual_distance(own, blur), abs=1e-6)


def test_a_wave_is_found_in_its_own_band_and_shifting_it_changes_nothing():
    x = np.arange(64)
    spectrum = np.fft.fft2(np.tile(100 * np.cos(2 * np.pi * 8 * x / 64), (64, 1)))
    energies = np.array([[np.abs(np.fft.ifft2(spectrum * band)).mean() for band in bands] for bands in _bands(64)[:1]])
    assert energies.argmax() == 0 and energies[0, 0] > 2 * energies[0, 1]
    assert energies[0, 3] < 1e-6, "nothing of it goes up and down"
    wave = [np.uint8(128 + 100 * np.cos(2 * np.pi * 8 * (x + phase) / 64)) for phase in (0, 2)]
    a, b = (np.repeat(np.tile(row, (64, 1))[..., None], 3, -1) for row in wave)
    assert perceptual_distance(a, b) < 0.02 < np.abs(a.astype(int) - b).mean() / 255


def test_only_squares_of_one_size_are_compared(faces):
    own = faces[0]
    for a, b in ((own, own[:128, :128]), (own[:, :128], own[:, :128]), (own[:100, :100], own[:100, :100])):
        with pytest.raises(ValueError, match="multiple of 64"):
            perceptual_distance(a, b)


def test_without_its_packages_a_sentence_tells_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(WeightsError, match="pip install dlib-bin face_recognition_models") as error:
        IdentityEmbedder()
    assert one_sentence(error.value)


def test_similarity_is_one_less_the_distance():
    a, b = np.zeros(128), np.zeros(128)
    b[:2] = 0.3, 0.4
    assert identity_similarity(a, a) == 1 and identity_similarity(a, b) == pytest.approx(0.5)


def test_one_person_is_more_alike_than_two(people):
    for package in ("dlib", "face_recognition_models"):
        if find_spec(package) is None:
            pytest.skip("This test needs the embedder's packages: pip install dlib-bin face_recognition_models.")
    embed = IdentityEmbedder()
    (own, points), other = people[0], people[1]
    described = embed(own, points)
    assert described.shape == (128,) and identity_similarity(described, embed(own, points)) == 1
    for changed in (cv2.GaussianBlur(own, (0, 0), 2), noisy(own, 8)):
        assert identity_similarity(described, embed(changed, points)) > 0.6
    assert identity_similarity(described, embed(*other)) < 0.4
