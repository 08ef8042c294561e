"""The talking driver: lips follow speech and rest in silence, however the sound arrives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.audio.reading import read_audio
from pipeline.audio.voice import voice_activity
from pipeline.clock import SAMPLE_RATE, frame_count
from pipeline.coefficients import Coefficients
from pipeline.drivers import talking
from pipeline.drivers.ears import Ears
from pipeline.drivers.hearing import hear, viseme_in
from pipeline.drivers.mouth import MOUTH, Mouth
from pipeline.drivers.networks import DriverConfig, Member, sound_dim
from pipeline.drivers.phonetics import PHONES, VISEMES, PhoneNet, log_mel, viseme_probabilities
from pipeline.drivers.talking import Finish, TalkingDriver
from pipeline.errors import WeightsError
from pipeline.face.measures import lip_opening
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED

CLOSED = 0.012  # of face height; lips that look shut


@pytest.fixture(scope="module")
def driver() -> TalkingDriver:
    return TalkingDriver.from_pretrained(EMBEDDED / "talking")


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(EMBEDDED / "face")


@pytest.fixture(scope="module")
def debug(model: MorphableModel) -> TalkingDriver:
    """Tiny untrained weights: everything but meaning."""
    torch.manual_seed(0)
    ears = Ears(8, 4, (1, 2))
    member = Member(DriverConfig(sound_dim(ears), width=8, hidden=4, layers=1), ears)
    return TalkingDriver([member], PhoneNet(channels=8), Mouth.of(model), Finish(), None, model)


@pytest.fixture(scope="module")
def speech(repository: Path) -> np.ndarray:
    return read_audio(repository / "examples" / "speech" / "lips_rms.flac")


def portrait(model: MorphableModel, opening: float = 0.0) -> Coefficients:
    """The mean face, its lips `opening` face heights apart."""
    mouth = Mouth.of(model)
    beta = np.zeros((1, 64), np.float32)
    beta = mouth.opened(beta, opening - mouth.geometry(None, beta)[:, 0])
    return Coefficients(beta, np.zeros((1, 6)), np.array([[0.5, 0.5, 0.4]]))


def run(driver: TalkingDriver, audio, reference: Coefficients, **options) -> Coefficients:
    options.setdefault("identity", np.zeros(driver.model.identity_basis.shape[-1], np.float32))
    return Coefficients.concatenate(list(driver(audio, reference, **options)))


def openings(driver: TalkingDriver, made: Coefficients) -> np.ndarray:
    model = driver.model
    return lip_opening(model.shape(np.zeros(model.identity_basis.shape[-1]), made.expression))


def test_lips_follow_speech_and_close_in_its_pauses(driver, model, speech):
    opening = openings(driver, run(driver, speech, portrait(model)))
    voice = voice_activity(speech)
    near = np.convolve(voice, np.ones(5), "same")  # lips open a moment before the sound, as people's do
    assert opening[voice > 0.5].max() > 0.03
    assert opening[voice > 0.5].mean() > 2 * opening[near < 0.1].mean()
    pause = np.concatenate([speech, np.zeros(3 * SAMPLE_RATE, np.float32)])
    after = openings(driver, run(driver, pause, portrait(model)))[-50:]
    assert after.max() < CLOSED
    assert after.std() < 0.1 * opening.std()


@pytest.mark.parametrize("level", [0.0, 1e-3])
def test_silence_keeps_the_mouth_shut(driver, model, level):
    hiss = np.random.default_rng(0).normal(size=6 * SAMPLE_RATE).astype(np.float32) * level
    opening = openings(driver, run(driver, hiss, portrait(model)))
    assert opening.max() < CLOSED
    assert opening[25:].std() < 1e-3


def test_an_open_mouth_stays_until_something_is_said_and_then_rests(driver, model, speech):
    pause = np.zeros(2 * SAMPLE_RATE, np.float32)
    opening = openings(driver, run(driver, np.concatenate([pause, speech, pause]), portrait(model, 0.08)))
    assert np.ptp(opening[:40]) < 5e-4 and opening[0] > 0.07
    assert opening[-30:].max() < CLOSED
    assert np.abs(np.diff(opening)).max() < 0.06


def test_lips_meet_on_p_b_and_m_and_never_cross(driver, model, speech):
    """ "Bob and Pam bought a bowl of plum jam": lips shut many times while the voice goes on."""
    made = run(driver, speech, portrait(model))
    signed = Mouth.of(model).geometry(None, made.expression)[:, 0]
    assert signed.min() >= 0
    voice = voice_activity(speech) > 0.5
    open_now = (signed > 0.012) & voice
    closings = np.flatnonzero(open_now[:-1] & ~open_now[1:] & voice[1:])
    assert len(closings) >= 5


def test_louder_recording_moves_lips_the_same(driver, model, speech):
    quiet = openings(driver, run(driver, speech * 0.1, portrait(model)))
    loud = openings(driver, run(driver, speech, portrait(model)))
    assert np.corrcoef(quiet, loud)[0, 1] > 0.95


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000, 100_001])
def test_frames_cover_the_sound(debug, model, samples):
    sound = np.random.default_rng(0).normal(size=samples).astype(np.float32) * 0.1
    assert len(run(debug, sound, portrait(model))) == frame_count(samples)


def test_no_sound_no_frames(debug, model):
    assert list(debug(np.zeros(0, np.float32), portrait(model))) == []


def test_blocks_make_no_difference(debug, model, monkeypatch):
    monkeypatch.setattr(talking, "WINDOW_FRAMES", 100)
    sound = np.random.default_rng(0).normal(size=25 * SAMPLE_RATE + 77).astype(np.float32) * 0.1
    whole = run(debug, sound, portrait(model))
    parts = run(debug, np.split(sound, [1, 640, 9_999, 200_000, 200_001]), portrait(model))
    assert whole.expression.tobytes() == parts.expression.tobytes()
    assert len(whole) == frame_count(len(sound))


def test_windows_join_without_a_jump(driver, model, speech, monkeypatch):
    long = np.tile(speech, 3)
    whole = openings(driver, run(driver, long, portrait(model)))
    monkeypatch.setattr(talking, "WINDOW_FRAMES", 75)
    cut = openings(driver, run(driver, long, portrait(model)))
    assert np.corrcoef(whole, cut)[0, 1] > 0.97
    assert np.abs(np.diff(cut)).max() < 1.3 * np.abs(np.diff(whole)).max()


def test_memory_is_flat(debug, model):
    """Sound is taken as it is needed: frames come out before half an hour has gone in."""
    taken = []

    def endless():
        for index in range(180):
            taken.append(index)
            yield np.zeros(10 * SAMPLE_RATE, np.float32)

    next(debug(endless(), portrait(model)))
    assert len(taken) < 6


def test_seed_moves_the_head_and_not_the_lips(driver, model, speech):
    first, again, other = (run(driver, speech, portrait(model), seed=seed) for seed in (1, 1, 2))
    assert first.expression.tobytes() == again.expression.tobytes()
    assert first.pose.tobytes() == again.pose.tobytes()
    assert np.abs(first.pose - other.pose).max() > 1e-3
    np.testing.assert_array_equal(first.expression[:, MOUTH], other.expression[:, MOUTH])


def test_scales_act_separately(driver, model, speech):
    usual = run(driver, speech, portrait(model))
    still = run(driver, speech, portrait(model), motion_scale=0)
    np.testing.assert_array_equal(still.pose, np.repeat(portrait(model).pose, len(still), 0))
    np.testing.assert_array_equal(still.expression[:, MOUTH], usual.expression[:, MOUTH])
    mute = run(driver, speech, portrait(model), expression_scale=0)
    np.testing.assert_array_equal(mute.pose, usual.pose)
    assert openings(driver, mute)[10:].max() < CLOSED
    strong = run(driver, speech, portrait(model), expression_scale=1.5)
    assert openings(driver, strong).std() > 1.3 * openings(driver, usual).std()


def test_weights_come_back_as_they_were_saved(debug, model, speech, tmp_path):
    debug.save(tmp_path / "talking")
    read = TalkingDriver.from_pretrained(tmp_path / "talking")
    read.liveliness = None
    a, b = run(debug, speech, portrait(model)), run(read, speech, portrait(model))
    np.testing.assert_allclose(a.expression, b.expression, atol=0.05)  # half precision


def test_missing_and_damaged_weights_are_one_sentence(debug, tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        TalkingDriver.from_pretrained(tmp_path)
    debug.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="install the weights again"):
        TalkingDriver.from_pretrained(tmp_path)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"expression_scale": -0.1}, {"motion_scale": float("nan")}])
def test_wrong_options_are_refused_at_once(debug, model, wrong):
    with pytest.raises(ValueError, match="must be 0 or more"):
        debug(np.zeros(100, np.float32), portrait(model), **wrong)


def test_visemes_cover_every_phone_once():
    assert len(PHONES) == len(set(PHONES)) == 41
    even = torch.full((1, len(PHONES)), 1 / len(PHONES))
    groups = viseme_probabilities(even)
    assert groups.shape == (1, len(VISEMES))
    assert groups.sum().item() == pytest.approx(1)


def test_mel_spectra_find_a_tone():
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (log_mel(0.3 * np.sin(2 * np.pi * hertz * t).astype(np.float32)) for hertz in (200, 3000))
    assert low.shape == (100, 64)
    assert low[50].argmax() < 12 < 40 < high[50].argmax()


def test_recogniser_hears_pauses_and_lips(driver, speech):
    rows = hear(talking.normalised(speech), driver.phone_net)
    voice = voice_activity(speech)
    silence = viseme_in(rows, "silence")
    assert silence[voice < 0.05].mean() > 0.8
    assert silence[voice > 0.9].mean() < 0.3
    assert (viseme_in(rows, "lips") > 0.8).sum() >= 8
