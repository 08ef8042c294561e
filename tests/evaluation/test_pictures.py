"""PSNR, SSIM, CPBD and background change against values known beforehand."""

import math

import cv2
import numpy as np
import pytest

from pipeline.evaluation.pictures import PSNR_CAP, background_change, cpbd, grown_box, mouth_box, psnr, ssim
from pipeline.face.topology import LANDMARKS_COUNT, LIPS


def _noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_psnr_of_a_constant_difference_is_analytic():
    a = np.full((20, 30, 3), 100, np.uint8)
    assert psnr(a, a + 10) == pytest.approx(20 * math.log10(255 / 10))


def test_psnr_of_equal_frames_is_capped():
    a = _noise((16, 16, 3))
    assert psnr(a, a) == PSNR_CAP
    b = a.copy()
    b[0, 0, 0] ^= 1  # one step in one of 768 values: 76.9 dB uncapped
    assert psnr(a, b) == PSNR_CAP


def test_psnr_in_a_box_sees_nothing_else():
    a = np.zeros((40, 40, 3), np.uint8)
    b = a.copy()
    b[:20] = 255
    b[20:, :10] = 25
    assert psnr(a, b, (10, 20, 40, 40)) == PSNR_CAP
    assert psnr(a, b, (0, 20, 10, 40)) == pytest.approx(20 * math.log10(255 / 25))
    with pytest.raises(ValueError, match="no pixel"):
        psnr(a, b, (5, 5, 5, 9))
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(a, b[1:])


def _ssim_by_definition(x, y):
    """Wang 2004 written out window by window, in float64, as a slow second opinion."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (image[row : row + 11, column : column + 11].astype(float) for image in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 6.5025, 58.5225
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * covariance + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return np.mean(values)


@pytest.mark.parametrize("sigma", [2, 30])
def test_ssim_agrees_with_its_definition(sigma):
    rng = np.random.default_rng(1)
    x = cv2.GaussianBlur(_noise((32, 40)), (0, 0), 2)
    y = np.clip(x + rng.normal(0, sigma, x.shape), 0, 255).astype(np.uint8)
    assert ssim(x, y) == pytest.approx(_ssim_by_definition(x, y), abs=2e-6)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b = np.full((16, 16), 100, np.uint8), np.full((16, 16), 110, np.uint8)
    assert ssim(a, b) == pytest.approx((2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025), abs=1e-5)
    assert ssim(a, a) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a[:10], b[:10])


def _ramps(width, contrast):
    """256 × 256 with two ramps a block, `width` pixels wide, so that every edge has that very width."""
    row = np.zeros(64)
    row[16 : 16 + width] = np.linspace(0, contrast, width + 1)[1:]
    row[16 + width : 40] = contrast
    row[40 : 40 + width] = np.linspace(contrast, 0, width + 1)[1:]
    return np.tile(np.round(50 + row).astype(np.uint8), (256, 4))


@pytest.mark.parametrize(
    ("width", "contrast", "expected"),
    [(1, 120, 1), (3, 120, 1), (4, 120, 0), (8, 120, 0), (3, 48, 1), (5, 45, 1), (6, 48, 0)],
)
def test_cpbd_counts_edges_up_to_the_just_noticeable_width(width, contrast, expected):
    assert cpbd(_ramps(width, contrast)) == expected


def test_cpbd_falls_with_blur():
    cells = np.kron(_noise((32, 32)), np.ones((8, 8), np.uint8))
    values = [cpbd(cv2.GaussianBlur(cells, (0, 0), sigma)) for sigma in (0.3, 0.8, 1.2, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.95 and values[-1] < 0.1


def test_cpbd_of_pictures_without_edges_is_zero():
    assert cpbd(np.full((128, 128, 3), 90, np.uint8)) == 0
    assert cpbd(_noise((40, 40))) == 0


def test_background_change_looks_at_the_background_alone():
    reference = np.full((10, 10, 3), 50, np.uint8)
    frame = reference.copy()
    frame[:5] = 250  # the head
    frame[9, :, 0] += 3
    background = np.zeros((10, 10), bool)
    background[5:] = True
    assert background_change(frame, reference, background) == pytest.approx(3 * 10 / (5 * 10 * 3))
    with pytest.raises(ValueError, match="No pixel"):
        background_change(frame, reference, np.zeros((10, 10), bool))


def test_grown_box_is_larger_by_its_share_and_stays_inside():
    points = np.array([[40.0, 20.0, 5.0], [80.0, 70.0, -5.0]])
    assert grown_box(points, (200, 200)) == (38, 17, 82, 73)
    assert grown_box(points, (81, 72)) == (38, 17, 81, 72)
    assert grown_box(points - 39, (200, 200)) == (0, 0, 43, 34)


def test_mouth_crop_is_around_the_lips_and_nothing_else():
    landmarks = np.random.default_rng(0).uniform(0, 200, (LANDMARKS_COUNT, 3))
    landmarks[LIPS] = (100, 150, 0)
    landmarks[LIPS[0]], landmarks[LIPS[1]] = (80, 140, 3), (120, 160, -3)
    assert mouth_box(landmarks, (200, 200)) == (70, 135, 130, 165)
    a = np.zeros((200, 200, 3), np.uint8)
    b = a.copy()
    b[:135] = b[165:] = 255
    assert psnr(a, b, mouth_box(landmarks, (200, 200))) == PSNR_CAP
