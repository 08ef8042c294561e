"""Liveliness: blinks that close any lids at human rates, heads that move with the voice, wander nowhere, and repeat."""

from functools import lru_cache

import numpy as np
import pytest

from pipeline.audio.features import FEATURE_DIM, LOUDNESS
from pipeline.clock import FPS
from pipeline.coefficients import Coefficients
from pipeline.drivers.head_motion import LIMITS
from pipeline.drivers.liveliness import Liveliness, LivelinessFrames
from pipeline.drivers.prosody import ACTIVITY, prosody
from pipeline.drivers.upper_face import LOWER_LIDS, UPPER_LIDS, UpperFace
from pipeline.errors import WeightsError
from pipeline.face import measures, topology
from pipeline.face.morphable import UPPER_DIM, MorphableModel
from tests.conftest import REPOSITORY

MINUTE = 60 * FPS


@lru_cache
def liveliness() -> Liveliness:
    return Liveliness.load(REPOSITORY / "weights" / "liveliness")


@lru_cache
def model() -> MorphableModel:
    return MorphableModel.load(REPOSITORY / "weights" / "face")


def portrait(expression: np.ndarray | None = None, yaw: float = 0.0) -> Coefficients:
    pose = np.array([[0, yaw, 0, 0, 0, 0]])
    return Coefficients(np.zeros((1, 64)) if expression is None else expression[None], pose, np.ones((1, 3)))


def speech(frames: int, seed: int = 0) -> np.ndarray:
    """Features of phrases of 1 to 3 s with syllables four times a second, between pauses of about half a second."""
    random = np.random.default_rng(seed)
    loudness = np.full(frames, -62.0)
    at = 5
    while at < frames:
        length = int(random.uniform(25, 75))
        t = np.arange(min(length, frames - at))
        stress = 5 * np.sin(2 * np.pi * t / random.uniform(20, 40) + random.uniform(0, 6))
        loudness[at : at + len(t)] = -24 + stress + 5 * np.sin(2 * np.pi * t / 6.2) - 4 * t / length
        at += length + int(random.uniform(6, 22))
    features = np.zeros((frames, FEATURE_DIM), np.float32)
    features[:, LOUDNESS] = loudness + random.normal(size=frames)
    return features


def silence(frames: int) -> np.ndarray:
    features = np.zeros((frames, FEATURE_DIM), np.float32)
    features[:, LOUDNESS] = -70
    return features


def live(features: np.ndarray, reference: Coefficients | None = None, identity=None, **options) -> LivelinessFrames:
    return liveliness().start(reference or portrait(), model(), identity, **options)(features, last=True)


def count_blinks(frames: LivelinessFrames) -> int:
    shut = frames.closure > 0.5
    return int((shut[1:] & ~shut[:-1]).sum())


def gaps(shapes: np.ndarray) -> np.ndarray:
    """(T, 2, 7) the lids' distance, along the face, at seven places of each eye."""
    return shapes[:, LOWER_LIDS, 1] - shapes[:, UPPER_LIDS, 1]


@pytest.mark.parametrize("sound", [speech, silence])
def test_blinks_come_at_human_rates_and_unevenly(sound):
    rates, intervals = [], []
    for seed in range(4):
        frames = live(sound(2 * MINUTE), seed=seed)
        rates.append(count_blinks(frames) / 2)
        shut = frames.closure > 0.5
        intervals.append(np.diff(np.flatnonzero(shut[1:] & ~shut[:-1])) / FPS)
    assert min(rates) >= 10 and max(rates) <= 28
    assert 14 <= np.mean(rates) <= 22
    spread = np.log(np.concatenate(intervals))
    assert spread.std() > 0.3  # a metronome has 0
    assert np.exp(spread.min()) > 0.3


def test_blinks_prefer_the_ends_of_phrases():
    features = speech(6 * MINUTE)
    frames = live(features, seed=1)
    shut = frames.closure > 0.5
    at = np.flatnonzero(shut[1:] & ~shut[:-1])
    active = prosody(features)[:, ACTIVITY]
    pausing = active < 0.5
    assert np.mean(pausing[at.clip(max=len(active) - 1)]) > 1.2 * pausing.mean()


def test_a_blink_closes_quicker_than_it_opens():
    closure = live(speech(2 * MINUTE), seed=3).closure
    peaks = [t for t in range(20, len(closure) - 20) if closure[t] == 1 and closure[t - 1] < 1]
    closing = [np.sum(closure[t - 6 : t] > 0.1) for t in peaks]
    opening = [np.sum(closure[t + 1 : t + 15] > 0.1) for t in peaks]
    assert 0.04 <= np.mean(closing) / FPS <= 0.14
    assert 0.14 <= np.mean(opening) / FPS <= 0.36


@pytest.mark.parametrize("seed", range(6))
def test_lids_close_on_any_portrait_and_open_again_as_they_were(seed):
    """People with narrow and wide eyes, half-closed ones among them; the blink moves neither brows nor mouth."""
    random = np.random.default_rng(seed)
    identity = random.normal(size=model().identity_basis.shape[-1]) * 0.8
    expression = np.zeros(64)
    expression[:UPPER_DIM] = random.normal(size=UPPER_DIM) * 0.6
    frames = live(speech(MINUTE), portrait(expression), identity, seed=seed, motion_scale=0, expression_scale=0)
    shapes = model().shape(identity, expression + frames.expression)
    own = gaps(model().shape(identity, expression)[None])[0]
    shut, still = gaps(shapes)[frames.closure == 1], gaps(shapes)[frames.closure == 0]
    assert len(shut) >= 8
    middle = slice(1, 6)
    assert np.abs(shut[..., middle]).max() < 0.004  # 1.5 pixels of a face 380 pixels high
    assert np.abs(still[..., middle].mean((0, 2)) / own[:, middle].mean(1) - 1).max() < 0.15
    blink = model().offsets(UpperFace.of(model(), identity, expression).blink)
    brows = np.concatenate([topology.RIGHT_BROW, topology.LEFT_BROW])
    assert np.abs(blink[topology.LIPS]).max() < 1e-6
    assert np.abs(blink[brows, 1]).mean() < 0.002


@pytest.mark.parametrize("expression_scale", [0.0, 0.5, 2.5])
def test_blinks_close_at_any_expression_scale(expression_scale):
    frames = live(speech(MINUTE), seed=2, expression_scale=expression_scale)
    shut = model().shape(np.zeros(64), frames.expression[frames.closure == 1])
    assert np.abs(gaps(shut)[..., 1:6]).max() < 0.004
    np.testing.assert_array_equal(frames.closure, live(speech(MINUTE), seed=2).closure)


def test_the_same_seed_gives_the_same_bytes_however_the_sound_is_cut():
    features = speech(700)
    whole = live(features, seed=7)
    for sizes in (1, 33, 250):
        stream = liveliness().start(portrait(), model(), seed=7)
        parts = [stream(features[at : at + sizes], last=at + sizes >= 700) for at in range(0, 700, sizes)]
        joined = LivelinessFrames.concatenate(parts)
        for name in ("expression", "pose", "crop", "closure"):
            assert getattr(joined, name).tobytes() == getattr(whole, name).tobytes()
    assert np.abs(live(features, seed=8).pose - whole.pose).max() > np.radians(1)
    assert (live(features, seed=8).closure != whole.closure).any()


@pytest.mark.parametrize("count", [0, 1, 3, 9, 10, 11, 41])
def test_one_frame_a_feature_row(count):
    frames = live(speech(60)[:count])
    assert (
        frames.expression.shape == (count, 64) and frames.pose.shape == (count, 6) and frames.crop.shape == (count, 3)
    )


def test_motion_scale_moves_the_head_alone():
    still, once, twice = (live(speech(MINUTE), seed=4, motion_scale=scale) for scale in (0.0, 1.0, 2.0))
    assert not still.pose.any()
    assert count_blinks(still) == count_blinks(once) >= 8
    np.testing.assert_allclose(twice.pose, 2 * once.pose, rtol=1e-5, atol=1e-7)
    assert np.abs(np.diff(still.expression[50:, :UPPER_DIM], axis=0)).sum(1).astype(bool).mean() > 0.9  # never frozen


def test_it_begins_as_the_portrait_is():
    frames = live(speech(200), seed=5)
    assert np.abs(np.degrees(frames.pose[0, :3])).max() < 0.5
    assert frames.closure[0] == 0
    assert np.abs(model().offsets(frames.expression[0])).max() < 0.003


def test_heads_wander_nowhere_and_move_as_heads_can():
    frames = live(speech(9 * MINUTE), seed=6)
    angles = np.degrees(frames.pose[:, :3])
    thirds = angles.reshape(3, -1, 3)
    assert np.abs(thirds.mean(1)).max() < 2.0
    assert (thirds.std(1) > 0.8).all() and (thirds.std(1) < 4.5).all()
    assert (np.abs(frames.pose[:, :3]).max(0) <= LIMITS).all()
    speed = np.abs(np.diff(angles, axis=0)) * FPS
    assert speed.max() < 90 and (speed.mean(0) > 2).all() and (speed.mean(0) < 15).all()
    assert np.abs(frames.pose[:, 3:5]).max() < 0.25 and np.abs(frames.pose[:, 5]).max() < 0.12


def test_heads_move_with_the_voice_and_rest_in_silence():
    features = np.concatenate([np.concatenate([speech(500, seed), silence(300)]) for seed in range(6)])
    correlations, shares = [], []
    for seed in range(3):
        frames = live(features, seed=seed)
        speed = np.linalg.norm(np.diff(frames.pose[:, :3], axis=0, prepend=frames.pose[:1, :3]), axis=1)
        window = np.ones(25) / 25
        loud = np.convolve(np.maximum(features[:, LOUDNESS], -60), window, "same")
        correlations.append(np.corrcoef(np.convolve(speed, window, "same"), loud)[0, 1])
        late = np.concatenate([speed[800 * n + 650 : 800 * n + 800] for n in range(6)])
        talk = np.concatenate([speed[800 * n : 800 * n + 500] for n in range(6)])
        shares.append(late.mean() / talk.mean())
    assert min(correlations) > 0.1
    assert 0.05 < np.mean(shares) < 0.75


def test_a_noise_from_the_first_frame_is_not_a_voice():
    noise = silence(10 * FPS)
    noise[:, LOUDNESS] = -45 + np.random.default_rng(0).normal(size=len(noise))
    assert prosody(noise)[:, ACTIVITY].max() < 0.05
    assert prosody(speech(10 * FPS))[:, ACTIVITY].mean() > 0.5


def test_brows_rise_with_stress():
    features = silence(20 * 100)
    features[:, LOUDNESS] = -30
    features[::3, LOUDNESS] = -34
    peaks = np.arange(100, 1950, 100)
    for peak in peaks:
        features[peak - 3 : peak + 4, LOUDNESS] = -14
        features[peak + 30 : peak + 45, LOUDNESS] = -65
    rises = []
    for seed in range(6):
        frames = live(features, seed=seed, motion_scale=0)
        height = measures.brow_height(model().shape(np.zeros(64), frames.expression)).mean(1)
        for peak in peaks:
            near, before = np.arange(peak - 2, peak + 6), np.arange(peak - 30, peak - 14)
            if frames.closure[near].max() < 0.05 and frames.closure[before].max() < 0.05:
                rises.append(height[near].mean() - height[before].mean())
    rises = np.array(rises)
    assert rises.mean() > 3 * rises.std() / np.sqrt(len(rises))
    assert 0.0005 < rises.mean() < 0.01


def test_eyes_hold_their_aim_when_the_head_turns():
    frames = live(speech(3 * MINUTE), seed=9, motion_scale=1.5)
    gaze = measures.gaze(model().shape(np.zeros(64), frames.expression))
    open_eyes = frames.closure == 0
    assert np.corrcoef(gaze[open_eyes, 0], frames.pose[open_eyes, 1])[0, 1] > 0.4
    assert np.abs(gaze - measures.gaze(model().shape(np.zeros(64)))).max() < 0.02


def test_a_turned_portrait_is_not_turned_much_further():
    ahead, turned = (live(speech(3 * MINUTE), portrait(yaw=yaw), seed=10).pose[:, 1] for yaw in (0.0, 0.45))
    assert turned.max() <= 0.31 * LIMITS[1] < ahead.max()
    assert turned.min() < -np.radians(2)


def test_what_cannot_be_is_refused():
    for options in ({"seed": -1}, {"motion_scale": -0.1}, {"expression_scale": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(options))):
            liveliness().start(portrait(), model(), **options)
    with pytest.raises(ValueError, match="features"):
        liveliness().start(portrait(), model())(np.zeros((5, 3)))


def test_weights_are_saved_and_read(tmp_path):
    liveliness().save(tmp_path)
    features = speech(100)
    again = Liveliness.load(tmp_path).start(portrait(), model(), seed=1)(features, last=True)
    assert again.pose.tobytes() == live(features, seed=1).pose.tobytes()
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="install"):
        Liveliness.load(tmp_path)
