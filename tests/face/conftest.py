"""One tracker and one real photograph (NASA's portrait of Eileen Collins, public domain) for all tests of faces."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.face.image import read_image
from pipeline.face.tracker import Face, FaceTracker


@pytest.fixture(scope="session")
def tracker():
    with FaceTracker() as tracker:
        yield tracker


@pytest.fixture(scope="session")
def astronaut(repository) -> np.ndarray:
    """(512, 512, 3) uint8: a woman in a spacesuit before a flag and a model shuttle."""
    return read_image(repository / "examples" / "portraits" / "astronaut.png")


@pytest.fixture(scope="session")
def astronaut_face(astronaut, tracker) -> Face:
    faces = tracker.find(astronaut)
    assert len(faces) == 1
    return faces[0]
