"""The curves of a clip: what moves shows, and an hour's are as many points as a minute's."""

from __future__ import annotations

import numpy as np
import pytest
from heads import write_sound

from pipeline.clock import FPS, SAMPLE_RATE
from pipeline.coefficients import Coefficients
from pipeline.movement import movement_of


@pytest.fixture(scope="module")
def model(debug_pipe):
    return debug_pipe.model


def coefficients(frames: int, **columns: np.ndarray) -> Coefficients:
    expression, pose = np.zeros((frames, 64)), np.zeros((frames, 6))
    for name, values in columns.items():
        {"expression": expression, "pose": pose}[name][:] = values
    return Coefficients(expression, pose, np.full((frames, 3), 0.5))


def test_pose_is_in_degrees_and_lips_are_those_of_the_model(model) -> None:
    rng = np.random.default_rng(0)
    beta, pose = rng.normal(size=(20, 64)), np.zeros((20, 6))
    pose[:, 1] = np.radians(np.linspace(-10, 10, 20))
    shown = movement_of(coefficients(20, expression=beta, pose=pose), None, model)
    assert shown.seconds == pytest.approx(20 / FPS)
    np.testing.assert_allclose(shown.pose[:, 1], np.linspace(-10, 10, 20), atol=1e-4)
    assert np.ptp(shown.lips) > 0 and (shown.lips >= 0).all()
    assert not shown.level.any()


def test_sound_lies_where_it_is_heard(model, tmp_path) -> None:
    second = np.ones(SAMPLE_RATE)
    sound = write_sound(tmp_path / "step.wav", np.concatenate([0 * second, 0.5 * second]))
    shown = movement_of(coefficients(2 * FPS), sound, model)
    assert not shown.level[: FPS - 1].any()
    np.testing.assert_allclose(shown.level[FPS + 1 :], 0.5, atol=0.01)


def test_an_hour_has_as_many_points_as_a_minute(model) -> None:
    frames = 3600 * FPS
    pose = np.zeros((frames, 6))
    pose[-1, 0] = 0.1
    shown = movement_of(coefficients(frames, pose=pose), None, model)
    assert len(shown.lips) == len(shown.pose) == len(shown.level) == 600
    assert shown.pose[-1, 0] == pytest.approx(np.degrees(0.1)), "the end is left out"
