"""The open morphable model: it describes the faces it is given, and keeps who, what and where apart."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.coefficients import Coefficients
from pipeline.errors import WeightsError
from pipeline.face import topology
from pipeline.face.geometry import rotation_angles, rotation_matrices
from pipeline.face.measures import lid_opening, lip_opening
from pipeline.face.morphable import UPPER_DIM, MorphableModel, placement

NAMES = ["astronaut", "drawing", "man_beard", "man_smiling", "statue", "woman_curls", "woman_spectacles"]


@pytest.fixture(scope="module")
def model(pipe) -> MorphableModel:
    return pipe.model


@pytest.fixture(scope="module")
def neutral(model) -> np.ndarray:
    return np.zeros(model.identity_basis.shape[-1])


def reconstructed(model: MorphableModel, alpha: np.ndarray, fitted: Coefficients, size: tuple[int, int]) -> np.ndarray:
    return model.project(model.shape(alpha, fitted.expression), fitted.pose, fitted.crop, size)


def errors(made: np.ndarray, real: np.ndarray, height: float) -> np.ndarray:
    """(478,) distance in the picture as a share of face height."""
    return np.linalg.norm((made - real)[..., :2], axis=-1).reshape(-1, 478).mean(0) / height


def test_shapes(model, neutral):
    assert model.expression_basis.shape == (478, 3, 64) and model.mean.shape == (478, 3)
    assert model.identity_basis.shape[:2] == (478, 3)
    assert model.directions.shape == (len(model.actions), 64)
    assert model.shape(neutral).shape == (478, 3)
    assert model.shape(neutral, np.zeros((5, 64))).shape == (5, 478, 3)
    assert model.offsets(np.zeros((2, 3, 64))).shape == (2, 3, 478, 3)
    for name in ("mean", "identity_basis", "expression_basis", "directions"):
        assert np.isfinite(getattr(model, name)).all()


@pytest.mark.parametrize("name", NAMES)
def test_fitting_and_projecting_gives_the_landmarks_back(portraits, model, name):
    """A share of face height: in all, and where the eye looks: lips and lids."""
    portrait = portraits[name]
    alpha, fitted = model.fit(portrait.landmarks[None], portrait.size)
    assert alpha.shape == (model.identity_basis.shape[-1],)
    assert (fitted.expression.shape, fitted.pose.shape, fitted.crop.shape) == ((1, 64), (1, 6), (1, 3))
    made = reconstructed(model, alpha, fitted, portrait.size)
    error = errors(made, portrait.landmarks, portrait.scale)
    assert error.mean() < 0.02
    assert error[topology.LIPS].mean() < 0.015 and error[topology.LIDS].mean() < 0.015
    assert lip_opening(made[0]) == pytest.approx(lip_opening(portrait.landmarks), abs=0.012)
    assert lid_opening(made[0]) == pytest.approx(lid_opening(portrait.landmarks), abs=0.012)


def test_what_the_model_makes_is_fitted_exactly(model, neutral):
    """A face out of the model itself comes back with its own expression and pose."""
    generator = np.random.default_rng(0)
    beta = 0.7 * generator.normal(size=(6, 64))
    pose = np.concatenate([0.2 * generator.normal(size=(6, 3)), 0.05 * generator.normal(size=(6, 3))], 1)
    crop = np.tile([0.5, 0.45, 0.4], (6, 1))
    landmarks = model.project(model.shape(neutral, beta), pose, crop, (640, 480))
    _, fitted = model.fit(landmarks, (640, 480), neutral, crop[0], rounds=8)
    assert reconstructed(model, neutral, fitted, (640, 480)) == pytest.approx(landmarks, abs=0.4)
    assert np.abs(fitted.pose - pose).max() < 0.02
    assert np.corrcoef(fitted.expression.ravel(), beta.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", ["astronaut", "man_smiling"])
def test_moving_the_head_changes_the_pose_alone(portraits, model, name):
    portrait = portraits[name]
    size = portrait.size
    alpha, own = model.fit(portrait.landmarks[None], size)
    rotation = rotation_matrices(np.array([0.15, -0.25, 0.3]))
    centre = portrait.landmarks.mean(0)
    moved = 1.3 * (portrait.landmarks - centre) @ rotation.T + centre + np.array([12.0, -7.0, 0.0])
    again, fitted = model.fit(moved[None], size, crop=own.crop[0])
    assert np.abs(fitted.expression - own.expression).max() < 0.02
    assert np.abs(again - alpha).max() < 0.02
    before, after = (rotation_matrices(c.pose[0, :3].astype(np.float64)) for c in (own, fitted))
    assert rotation_angles(after @ before.T) == pytest.approx([0.15, -0.25, 0.3], abs=0.01)
    assert fitted.pose[0, 5] - own.pose[0, 5] == pytest.approx(np.log(1.3), abs=0.01)


def test_expression_leaves_the_pose_alone(portraits, model):
    """An open mouth is not taken for a nod or a nearer head."""
    portrait = portraits["woman_curls"]
    own = portrait.coefficients
    opened = own.expression + 0.1 * model.direction("lip_opening")
    shape = model.shape(portrait.identity, np.concatenate([own.expression, opened]))
    landmarks = model.project(shape, np.repeat(own.pose, 2, 0), np.repeat(own.crop, 2, 0), portrait.size)
    _, fitted = model.fit(landmarks, portrait.size, portrait.identity, own.crop[0])
    change = np.abs(fitted.pose[1] - fitted.pose[0])
    assert change[:3].max() < 0.02 and change[3:].max() < 0.02


def test_identity_is_shared_by_frames_and_expression_is_not(portraits, model):
    portrait = portraits["man_beard"]
    shape = model.shape(portrait.identity, np.stack([np.zeros(64), 0.08 * model.direction("lip_opening")]))
    pose, crop = np.repeat(portrait.coefficients.pose, 2, 0), np.repeat(portrait.coefficients.crop, 2, 0)
    landmarks = model.project(shape, pose, crop, portrait.size)
    alpha, fitted = model.fit(landmarks, portrait.size)
    made = model.shape(alpha, fitted.expression)
    assert np.diff(lip_opening(made))[0] == pytest.approx(np.diff(lip_opening(shape))[0], abs=0.01)
    assert alpha.ndim == 1


def test_upper_coefficients_move_no_mouth_and_lower_ones_no_lids(model):
    moves = np.linalg.norm(model.expression_basis, axis=1)  # (478, 64)
    upper, lower = moves[:, :UPPER_DIM], moves[:, UPPER_DIM:]
    assert upper[topology.INNER_LIPS].max() < 0.1 * upper.max()
    assert lower[topology.LIDS].mean() < 0.15 * lower[topology.LIPS].mean()


def test_actions_do_what_they_are_called(model, neutral):
    rest = model.shape(neutral, np.zeros(64))

    def after(action: str, amount: float) -> np.ndarray:
        return model.shape(neutral, amount * model.direction(action))

    assert lip_opening(after("lip_opening", 0.05)) - lip_opening(rest) == pytest.approx(0.05, abs=0.012)
    assert (lid_opening(after("lid_right", 0.02)) - lid_opening(rest))[0] > 0.012
    assert (lid_opening(after("lid_left", 0.02)) - lid_opening(rest))[1] > 0.012
    with pytest.raises(KeyError, match="no action 'wink'; it has lid_right"):
        model.direction("wink")


def test_placement_is_what_the_conventions_say():
    pose, crop = np.array([0, 0, 0, 0.5, -0.25, np.log(2)]), np.array([0.25, 0.5, 0.2])
    rotation, scale, shift = placement(pose, crop, (400, 300))
    assert rotation == pytest.approx(np.eye(3)) and scale == pytest.approx(120)
    assert shift == pytest.approx([100 + 30, 150 - 15, 0])


@pytest.mark.parametrize("shape", [(0, 478, 3), (478, 3)])
def test_nothing_to_fit_is_refused(model, shape):
    with pytest.raises(ValueError, match=r"shape \(T, 478, 3\)"):
        model.fit(np.zeros(shape), (100, 100))


def test_the_model_comes_back_from_disk(model, tmp_path):
    model.save(tmp_path)
    again = MorphableModel.load(tmp_path)
    assert again.actions == model.actions
    assert (again.expression_basis == model.expression_basis).all()


@pytest.mark.parametrize("damage", ["missing", "cut", "no config", "list"])
def test_a_damaged_model_is_one_sentence(model, tmp_path, damage):
    model.save(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no config":
        config.unlink()
    else:
        config.write_text("[]")
    with pytest.raises(WeightsError, match=r"cannot be read; install the weights again\.$"):
        MorphableModel.load(tmp_path)


def test_error_on_people_who_were_not_trained_on(corpus, manifest, model, pipe):
    """Portraits of `split=val`: the model was learned from others."""
    from pipeline.face.image import read_image
    from pipeline.face.tracker import FaceTracker

    names = [row["path"] for row in manifest if row["kind"].startswith("portrait") and row["split"] == "val"][:8]
    found = []
    with FaceTracker() as tracker:
        for name in names:
            image = read_image(corpus / name)
            face = tracker.follow(image)
            assert face is not None, name
            size = image.shape[1::-1]
            alpha, fitted = model.fit(face.landmarks[None], size)
            scale = float(fitted.crop[0, 2] * size[1])
            found.append(errors(reconstructed(model, alpha, fitted, size), face.landmarks, scale))
    mean = np.mean(found, 0)
    assert mean.mean() < 0.015 and mean[topology.LIPS].mean() < 0.012 and mean[topology.LIDS].mean() < 0.012
