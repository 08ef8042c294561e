"""Detail and flicker are measured along the mesh, and the suite compares restorations on the same frames."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from evaluation_stubs import astronaut, make_corpus

from pipeline.evaluation.steadiness import SteadinessMeter, StillMeter, carry, luma, skin
from pipeline.evaluation.suites import SuiteOptions, run_suite
from pipeline.face.topology import INNER_LIPS
from pipeline.face.tracker import FaceTracker


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    image = astronaut()
    with FaceTracker() as tracker:
        return image, tracker.find(image)[0].landmarks


def measured(frames: list[np.ndarray], points: list[np.ndarray]) -> SteadinessMeter:
    meter = SteadinessMeter()
    for frame, where in zip(frames, points, strict=True):
        meter.add(frame, where)
    return meter


def test_skin_is_without_eyes_and_mouth(face):
    _, points = face
    where = skin(points, (320, 320))
    at = np.rint(points[:, :2]).astype(int)
    assert where[at[151, 1], at[151, 0]] and where[at[50, 1], at[50, 0]] and where[at[5, 1], at[5, 0]]
    assert (
        not where[at[INNER_LIPS, 1], at[INNER_LIPS, 0]].any() and not where[at[[468, 473], 1], at[[468, 473], 0]].any()
    )
    assert 0.03 < where.mean() < 0.3


def test_a_head_that_moves_does_not_flicker_and_noise_does(face):
    image, points = face
    moved = [np.roll(image, 3 * step, axis=1) for step in range(4)]
    places = [points + np.float32([3 * step, 0, 0]) for step in range(4)]
    still = measured(moved, places)
    random = np.random.default_rng(0)
    noisy = [np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    noise = measured(noisy, [points] * 4)
    assert still.flicker < 0.05 and still.pulse < 0.01
    assert noise.flicker > 1.5 and noise.detail > still.detail


def test_sharpness_that_comes_and_goes_is_seen(face):
    image, points = face
    soft = cv2.GaussianBlur(image, (0, 0), 1)
    assert measured([image, image, image], [points] * 3).pulse == 0
    assert measured([image, soft, image], [points] * 3).pulse > 0.2
    assert measured([soft] * 2, [points] * 2).detail < 0.7 * measured([image] * 2, [points] * 2).detail


def test_carrying_moves_the_face_and_leaves_the_rest(face):
    image, points = face
    carried = carry(luma(image), points, points + np.float32([4, 2, 0]))
    nose = np.rint(points[1, :2]).astype(int)
    around = slice(nose[1] - 5, nose[1] + 5), slice(nose[0] - 5, nose[0] + 5)
    assert np.abs(carried - np.roll(luma(image), (2, 4), (0, 1)))[around].max() < 1
    assert (carried[:20, :20] == luma(image)[:20, :20]).all()


def test_without_frames_there_is_no_figure():
    meter = SteadinessMeter()
    assert np.isnan(meter.detail) and np.isnan(meter.flicker) and np.isnan(meter.pulse)
    still = StillMeter()
    assert np.isnan(still.flicker) and np.isnan(still.real) and np.isnan(still.share)


def test_flicker_where_the_real_clip_stands_still(face):
    """The real clip's lower half moves; the generated one changes there at will, and above by a known step."""
    image = face[0]
    below = [image.copy() for _ in range(3)]
    for step, real in enumerate(below):
        real[160:] = np.roll(real[160:], 6 * step, axis=1)
    box = (0, 0, 320, 320)

    def measured(frames):
        meter = StillMeter()
        for frame, real in zip(frames, below, strict=True):
            meter.add(frame, real, box)
        return meter

    same = measured(below)
    assert same.flicker == same.real < 0.2 and 0.45 < same.share < 0.9
    blinking = [np.full_like(image, 100 + 3 * (step % 2)) for step in range(3)]
    assert measured(blinking).flicker == pytest.approx(3)
    assert measured([image] * 3).flicker == 0
    only_there = [frame.copy() for frame in blinking]
    for frame in only_there:
        frame[160:] = 7  # what stands still while the real one moves is no flicker either
    assert 1.5 < measured(only_there).flicker <= 3
    with pytest.raises(ValueError, match="shapes differ"):
        StillMeter().add(image, image[:-1], box)


def test_noise_in_the_real_clip_does_not_hide_what_stands_still(face):
    image, random = face[0], np.random.default_rng(0)
    meter = StillMeter()
    for _ in range(4):
        noisy = np.clip(image + random.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)
        meter.add(image, noisy, (60, 60, 260, 260))
    assert meter.share > 0.7 and meter.flicker == 0 < meter.real


def test_the_suite_compares_restorations_on_the_same_frames(tmp_path, pipe, monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.restoration._FRAMES", 13)
    corpus = make_corpus(tmp_path / "corpus")
    table = run_suite("restoration", corpus, replace(SuiteOptions(), only="clip"), factory=lambda _: pipe)
    (row,) = table.rows
    assert row["frames"] == 12 and row["size"] == 320
    assert row["none_psnr"] > 25 and abs(row["detail_psnr"] - row["none_psnr"]) < 0.5
    assert row["none_ms"] < 0.01 < row["detail_ms"]
    assert row["detail_pulse"] < row["none_pulse"]
    assert not any(key.startswith("gfpgan") for key in row), "its weights are not here"
    assert len(table.checks) == 5 and table.text()
