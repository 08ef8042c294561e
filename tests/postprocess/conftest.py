"""One portrait and its motion, shared by the tests of what is done to frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.coefficients import Coefficients
from pipeline.conversation import ConversationalHeadPipeline
from pipeline.face.portrait import Portrait


@pytest.fixture(scope="session")
def astronaut(pipe: ConversationalHeadPipeline, repository: Path) -> Portrait:
    """An example portrait, fitted at 256 pixels."""
    return pipe.portrait(repository / "examples" / "portraits" / "astronaut.png", 256)


@pytest.fixture(scope="session")
def motion(astronaut: Portrait) -> Coefficients:
    """Eight frames of it turning, nodding and opening its mouth, the first as in the portrait."""
    own = astronaut.coefficients
    ramp = np.linspace(0, 1, 8)[:, None]
    pose = own.pose + ramp * np.array([0.1, 0.2, 0.08, 0.03, 0.01, 0.02])
    opening = 0.06 * np.sin(np.pi * ramp) * astronaut.model.direction("lip_opening")
    return Coefficients(own.expression + opening, pose, np.repeat(own.crop, 8, 0))
