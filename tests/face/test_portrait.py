"""Portraits: read from whatever is given, fitted where the face is, exact where the renderer needs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from heads import face_box
from PIL import Image

from pipeline.errors import InputError
from pipeline.face.morphable import placement
from pipeline.face.portrait import Portrait

NAMES = ["astronaut", "drawing", "man_beard", "man_smiling", "statue", "woman_curls", "woman_spectacles"]


@pytest.mark.parametrize("name", NAMES)
def test_a_portrait_is_whole(portraits, name):
    portrait = portraits[name]
    width, height = portrait.size
    assert portrait.image.shape == (height, width, 3) and portrait.image.dtype == np.uint8
    assert portrait.alpha.shape == (height, width) and portrait.alpha.min() >= 0 and portrait.alpha.max() <= 1
    assert len(portrait.coefficients) == 1
    inside = portrait.alpha[face_box(portrait)]
    assert np.median(inside) > 0.95, "the face is not in the foreground"
    assert portrait.alpha[:, 0].min() < 0.2, "there is no background"


@pytest.mark.parametrize("name", NAMES)
def test_vertices_without_pose_are_the_portraits_own(portraits, name):
    """Put back where the head is they are the tracked landmarks, exactly, and lie where the model's vertices lie."""
    portrait = portraits[name]
    unposed = portrait.unposed()
    own = portrait.coefficients
    rotation, scale, shift = placement(own.pose[0], own.crop[0], portrait.size)
    again = (scale * unposed @ rotation.T + shift)[:, :2]
    assert again == pytest.approx(portrait.landmarks[:, :2], abs=1e-3)
    fitted = portrait.model.shape(portrait.identity, own.expression[0])
    assert np.linalg.norm(unposed - fitted, axis=1).mean() < 0.05


def test_scale_is_the_faces_height(portraits):
    for name, portrait in portraits.items():
        height = np.linalg.norm(portrait.landmarks[10] - portrait.landmarks[152])
        assert portrait.scale == pytest.approx(height, rel=0.2), name


def test_a_file_an_array_and_a_picture_are_the_same(pipe, repository: Path):
    path = repository / "examples" / "portraits" / "man_beard.jpg"
    picture = Image.open(path)
    made = [pipe.portrait(given, 256) for given in (path, str(path), picture, np.asarray(picture.convert("RGB")))]
    for other in made[1:]:
        assert (other.image == made[0].image).all()
        assert other.coefficients.expression.tobytes() == made[0].coefficients.expression.tobytes()


@pytest.mark.parametrize("shape", [(9, 9), (5, 5, 7), (0, 0, 3)])
def test_arrays_that_are_no_pictures(pipe, shape):
    with pytest.raises(InputError):
        pipe.portrait(np.zeros(shape, np.uint8))


def test_identity_given_is_identity_kept(portraits):
    portrait = portraits["statue"]
    alpha = np.full_like(portrait.identity, 0.1)
    again = Portrait.fit(portrait.image, portrait.landmarks, portrait.alpha, portrait.model, identity=alpha)
    assert again.identity == pytest.approx(alpha)
    assert again.warnings == ()


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((512, 512), None, (512, 512)),
        ((511, 509), None, (508, 510)),  # even sides, nothing resampled
        ((400, 300), 256, (192, 256)),
        ((300, 400), 800, (800, 600)),
        ((3000, 2000), None, (1280, 1920)),
    ],
)
def test_sizes(shape, size, expected):
    from pipeline.face.portrait import _at_size, _even

    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    resized, note = _at_size(_even(image), size)
    assert resized.shape[1::-1] == expected
    assert bool(note) == (shape == (3000, 2000))
    if shape == (511, 509):
        assert (resized == image[:510, :508]).all()


@pytest.mark.parametrize("size", [0, 63, 4097, -5, float("nan")])
def test_sizes_out_of_range(pipe, portraits, size):
    with pytest.raises(InputError, match=r"size must be between 64 and 4096, not .*\.$"):
        pipe.portrait(portraits["statue"].image, size)


def test_a_size_does_not_decide_what_is_a_portrait(pipe, repository):
    """The astronaut's face is 112 pixels high; at 256 pixels only 56 are left of it, but it is a good portrait."""
    portrait = pipe.portrait(repository / "examples" / "portraits" / "astronaut.png", 256)
    assert portrait.size == (256, 256) and portrait.scale < 64
