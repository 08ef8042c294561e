"""L1 and Fréchet distances against closed forms and against other implementations of them."""

import numpy as np
import pytest
import scipy.linalg
from sklearn.covariance import ledoit_wolf

from pipeline.coefficients import Coefficients
from pipeline.evaluation.distances import expression_l1, frechet_distance, pose_l1, shrunk_covariance


def _clip(frames=5, expression=0.0, pose=0.0):
    return Coefficients(np.full((frames, 64), expression), np.full((frames, 6), pose), np.zeros((frames, 3)))


def test_l1_is_the_mean_over_frames_and_dimensions():
    assert expression_l1(_clip(expression=0.5), _clip(expression=-0.25)) == pytest.approx(0.75)
    assert pose_l1(_clip(pose=0.1), _clip()) == pytest.approx(0.1)
    one_value = _clip()
    one_value.pose[2, 4] = 3.0
    assert pose_l1(one_value, _clip()) == pytest.approx(3 / 30)
    with pytest.raises(ValueError, match="differ"):
        expression_l1(_clip(4), _clip(5))


def test_frechet_of_one_dimension_is_analytic():
    """(μa - μb)² + (σa - σb)²; two points at ±σ have exactly that spread."""
    a, b = np.array([[-2.0], [2.0]]), np.array([[3 - 5.0], [3 + 5.0]])
    assert frechet_distance(a, b) == pytest.approx(3**2 + (5 - 2) ** 2)


def test_frechet_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 1
    sigma_a, sigma_b = np.cov(a.T, bias=True), np.cov(b.T, bias=True)
    root = scipy.linalg.sqrtm(sigma_a @ sigma_b).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(sigma_a + sigma_b - 2 * root)
    assert frechet_distance(a, b, shrink=False) == pytest.approx(expected)


def test_frechet_is_zero_for_the_same_set_in_any_order_and_symmetric():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 64)), 2 * rng.normal(size=(30, 64))
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_shrinking_takes_away_what_few_frames_add():
    """Two draws of 40 frames from one distribution in 64 dimensions should lie close together."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40, 64))
    assert frechet_distance(a, b) < 0.2 * frechet_distance(a, b, shrink=False)


@pytest.mark.parametrize("shape", [(20, 64), (400, 6)])
def test_shrunk_covariance_is_ledoit_and_wolfs(shape):
    rng = np.random.default_rng(4)
    x = rng.normal(size=shape) * np.linspace(0.2, 3, shape[1])
    np.testing.assert_allclose(shrunk_covariance(x), ledoit_wolf(x)[0], rtol=1e-9)


def test_frechet_refuses_what_has_no_covariance():
    with pytest.raises(ValueError, match="two frames"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="must be"):
        frechet_distance(np.zeros((5, 2)), np.zeros((5, 3)))
