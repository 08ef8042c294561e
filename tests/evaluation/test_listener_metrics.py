"""Measures of listening, on motion and sound whose truth is known."""

import numpy as np
import pytest

from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.coefficients import Coefficients
from pipeline.drivers.upper_face import UpperFace
from pipeline.errors import WeightsError
from pipeline.evaluation.listener_metrics import (
    WINDOW,
    Motion,
    MotionClusters,
    blink_count,
    motion_distance,
    paired_distance,
    residual_correlation,
    spread,
    variance_ratio,
)
from pipeline.evaluation.nods import Nod, Speech, Timing, nods, shuffled_chance
from pipeline.evaluation.pairs import FACE_MODEL
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED


def wave(seed, frames=300, width=70, slowness=12):
    """(frames, width) smooth motion of unit variance."""
    noise = np.random.default_rng(seed).normal(size=(frames + 2 * slowness, width))
    smooth = np.stack([np.convolve(column, np.hanning(2 * slowness + 1), "valid") for column in noise.T], 1)
    return smooth / smooth.std(0)


def motion(seed, scale=1.0, frames=300):
    series = scale * wave(seed, frames)
    return Motion(series[:, :64], 0.1 * series[:, 64:])


def clip(pose=None, expression=None):
    frames = len(pose if pose is not None else expression)
    return Coefficients(
        np.zeros((frames, 64)) if expression is None else expression,
        np.zeros((frames, 6)) if pose is None else pose,
        np.zeros((frames, 3)),
    )


# --- spread, distances, variety -------------------------------------------------------------------------------------


def test_motion_is_told_from_the_reference_and_steadied():
    rng = np.random.default_rng(0)
    series = clip(expression=3 + 0.2 * rng.normal(size=(200, 64)))
    told = Motion.of(series, clip(expression=np.full((1, 64), 3.0)))
    assert abs(told.expression.mean()) < 0.02 and told.expression.std() < 0.12  # of 0.2: half of the trembling is gone
    assert abs(np.median(Motion.of(series).expression)) < 0.02
    assert np.ptp(Motion.of(clip(expression=np.full((9, 64), 2.0))).expression) == 0
    with pytest.raises(ValueError, match="without frames"):
        Motion.of(series[:0])


def test_twice_the_motion_has_four_times_the_variance():
    real = [motion(1), motion(2)]
    assert variance_ratio(real, real) == (1, 1)
    expression, pose = variance_ratio([motion(1, 2.0), motion(2, 2.0)], real)
    assert expression == pytest.approx(4) and pose == pytest.approx(4)
    assert variance_ratio([motion(3, 0.0)], real) == (0, 0)


def test_spread_is_taken_over_windows_so_that_length_does_not_matter():
    drift = np.linspace(0, 8, 8 * WINDOW)[:, None]  # 1 a window
    long = Motion(np.tile(drift, 64), np.tile(drift, 6))
    short = Motion(np.tile(drift[:WINDOW], 64), np.tile(drift[:WINDOW], 6))
    assert spread([long])[0] == pytest.approx(64 / 12, rel=0.02)
    assert spread([long]) == pytest.approx(spread([short]))
    assert spread([short, long])[1] == pytest.approx(6 / 12, rel=0.02)
    with pytest.raises(ValueError, match="no clip"):
        spread([])


def test_distance_is_nothing_to_oneself_and_grows_with_an_offset():
    real = [motion(1), motion(2)]
    assert motion_distance(real, real[::-1]) == pytest.approx((0, 0), abs=1e-6)
    moved = [Motion(one.expression + 0.5, one.pose) for one in real]
    expression, pose = motion_distance(moved, real)
    assert expression == pytest.approx(64 * 0.25, rel=1e-3) and pose == pytest.approx(0, abs=1e-6)


def test_paired_distance_sees_an_answer_given_to_the_wrong_speaker():
    speakers = [motion(seed) for seed in (1, 2, 3)]
    mirrors = [Motion(0.5 * one.expression, 0.5 * one.pose) for one in speakers]  # a listener who follows
    real = list(zip(mirrors, speakers, strict=True))
    swapped = list(zip(mirrors[1:] + mirrors[:1], speakers, strict=True))
    assert paired_distance(real, real) == pytest.approx((0, 0), abs=1e-6)
    alone = motion_distance([pair[0] for pair in swapped], mirrors)
    assert paired_distance(swapped, real)[0] > 1 > 100 * alone[0]
    assert paired_distance(swapped, real)[1] > 100 * alone[1]


def test_residual_correlation_is_the_distance_from_the_real_listeners():
    speaker, other = motion(1), motion(2)
    follows = Motion(2 * speaker.expression, speaker.pose)
    against = Motion(-speaker.expression, -speaker.pose)
    still = Motion(np.zeros((250, 64)), np.zeros((250, 6)))
    assert residual_correlation(follows, follows, speaker) == (0, 0)
    assert residual_correlation(against, follows, speaker) == pytest.approx((2, 2))
    assert residual_correlation(still, follows, speaker) == pytest.approx((1, 1))
    assert residual_correlation(other, still, speaker)[0] < 0.4
    with pytest.raises(ValueError, match="two common frames"):
        residual_correlation(Motion(np.zeros((1, 64)), np.zeros((1, 6))), follows, speaker)


def test_variety_is_counted_in_kinds_of_motion(tmp_path):
    rng = np.random.default_rng(4)
    kinds = 20 * rng.normal(size=(5, 70))

    def of(labels):
        rows = kinds[labels] + 0.1 * rng.normal(size=(len(labels), 70))
        return Motion(rows[:, :64], rows[:, 64:])

    clusters = MotionClusters(kinds[:, :64], kinds[:, 64:])
    assert clusters.shannon_index([of(np.zeros(100, int))]) == (0, 0)
    assert clusters.shannon_index([of(np.arange(100) % 5)]) == pytest.approx((np.log(5), np.log(5)))
    assert clusters.shannon_index([of(np.zeros(50, int)), of(np.ones(50, int))])[0] == pytest.approx(np.log(2))

    found = MotionClusters.fit([of(np.arange(300) % 5)], step=1)
    for kind in kinds:
        assert np.linalg.norm(found.expression - kind[:64], axis=1).min() < 1.5
    found.save(tmp_path)
    again = MotionClusters.load(tmp_path)
    np.testing.assert_allclose(again.pose, found.pose, rtol=1e-2, atol=1e-2)
    with pytest.raises(WeightsError, match="install the weights again"):
        MotionClusters.load(tmp_path / "nothing")


def test_embedded_clusters_tell_real_kinds_of_motion_apart():
    clusters = MotionClusters.load(EMBEDDED / "attitude")
    assert clusters.expression.shape == (40, 64) and clusters.pose.shape == (20, 6)
    still = Motion(np.zeros((50, 64)), np.zeros((50, 6)))
    assert clusters.shannon_index([still]) == (0, 0)


def test_blinks_are_counted_from_the_lids():
    model = MorphableModel.load(FACE_MODEL)
    closure = np.zeros(250)
    for start in (40, 120, 200):
        closure[start : start + 6] = (0.4, 0.9, 1.0, 0.8, 0.5, 0.2)
    nobody = np.zeros(model.identity_basis.shape[-1])
    shut = UpperFace.of(model, nobody, np.zeros(64)).blink
    assert blink_count(clip(expression=closure[:, None] * shut), model, nobody) == 3
    assert blink_count(clip(expression=np.zeros((250, 64))), model, nobody) == 0
    narrow = 0.5 * shut  # half-closed lids blink too
    assert blink_count(clip(expression=narrow + 0.5 * closure[:, None] * shut), model, nobody) == 3
    laughing = 0.9 * shut
    assert blink_count(clip(expression=laughing + 0.1 * closure[:, None] * shut), model, nobody) == 0


# --- nods ------------------------------------------------------------------------------------------------------------


def nodding(frames, starts, degrees=4.0, swings=1, hertz=2.5, axis=0):
    """(frames, 6) a head that trembles as tracked ones do and nods `swings` times from each start on."""
    pose = np.zeros((frames, 6))
    pose[:, :3] = np.radians(0.1) * np.random.default_rng(1).normal(size=(frames, 3))
    length = round(swings * FPS / hertz)
    for start in starts:
        phase = 2 * np.pi * np.arange(length) * hertz / FPS
        pose[start : start + length, axis] += np.radians(degrees) * (1 - np.cos(phase)) / 2
    return pose


def test_nods_are_found_where_they_are():
    starts = (30, 90, 200)
    found = nods(nodding(300, starts))
    assert np.abs(np.array([nod.start for nod in found]) - starts).max() <= 3
    assert all(abs(np.degrees(nod.depth) - 3.7) < 0.6 and nod.swings == 1 for nod in found)
    (triple,) = nods(nodding(300, (100,), swings=3))
    assert triple.swings == 3 and abs(triple.start - 100) <= 2 and abs(triple.end - 130) <= 2


@pytest.mark.parametrize(
    "pose",
    [
        nodding(300, ()),  # a still head, and the tracker
        nodding(300, (30, 90), degrees=1.0),
        nodding(300, (30, 90), axis=1),  # shaking
        nodding(300, (30, 90), axis=0) + nodding(300, (30, 90), degrees=8, axis=1),  # mostly turning
        nodding(300, (50,), degrees=12, hertz=0.3),  # bowing slowly: a posture
        np.concatenate([nodding(100, ()), nodding(200, ()) + np.radians([5.0, 0, 0, 0, 0, 0])]),  # stays down
        np.zeros((3, 6)),
    ],
)
def test_what_is_no_nod(pose):
    assert nods(pose) == []


def test_a_nod_needs_a_pose():
    with pytest.raises(ValueError, match=r"\(T, 6\)"):
        nods(np.zeros((10, 3)))


def voice(seconds, seed=0):
    """A buzz at 120 Hz with its harmonics, as loud as speech, in syllables."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 25))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    return (0.1 * syllables * buzz).astype(np.float32)


def quiet(seconds):
    return 1e-4 * np.random.default_rng(2).normal(size=round(seconds * SAMPLE_RATE)).astype(np.float32)


def test_phrase_ends_and_silence_are_heard():
    sound = np.concatenate([quiet(1), voice(2), quiet(0.6), voice(1.6), quiet(0.08), voice(1.2), quiet(5)])
    speech = Speech.of(sound)
    assert len(speech) == -(-len(sound) // SAMPLES_PER_FRAME)
    wanted = np.array([3.0, 6.48]) * FPS  # a gap of 80 ms ends nothing
    assert np.abs(speech.phrase_ends - wanted).max() <= 4
    assert speech.quiet[:15].all() and not speech.quiet[40:195].any() and speech.quiet[-60:].all()
    assert speech.after_ends.sum() == 2 * FPS
    silent = Speech.of(np.zeros(4 * SAMPLE_RATE, np.float32))
    assert silent.quiet.all() and not len(silent.phrase_ends)


def test_nods_after_phrase_ends_are_told_from_nods_anywhere():
    speech = Speech(np.array([50, 300, 600]), np.zeros(1000, bool))
    good = [Nod(start, start + 10, 0.1, 1) for start in (55, 310, 620)]
    timing = Timing.of(good, speech)
    assert (timing.nods, timing.hits) == (3, 3)
    assert timing.chance == pytest.approx(3 * 75 / 1000) and timing.ratio == pytest.approx(1000 / 75)
    rng = np.random.default_rng(0)
    anywhere = Timing()
    for _ in range(300):
        anywhere += Timing.of([Nod(int(start), 0, 0.1, 1) for start in rng.integers(0, 1000, 5)], speech)
    assert anywhere.nods == 1500 and 0.7 < anywhere.ratio < 1.3
    drawn = shuffled_chance(good, speech)
    assert drawn.mean() == pytest.approx(timing.chance, rel=0.2)
    assert (drawn >= timing.hits).mean() < 0.01
    assert np.isnan(Timing().ratio) and np.isnan(Timing().quiet_rate)


def test_nods_in_silence_are_a_rate():
    speech = Speech(np.array([], int), np.arange(500) >= 250)
    timing = Timing.of([Nod(start, start + 10, 0.1, 1) for start in (10, 300, 400)], speech)
    assert timing.quiet_nods == 2 and timing.quiet_rate == pytest.approx(0.2)
    assert Timing.of([Nod(700, 710, 0.1, 1)], speech).nods == 0  # beyond the sound
