"""The listening driver: motion that fits, from any seed, however the sound arrives, live and from files."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.attitudes import ATTITUDES
from pipeline.audio.reading import read_audio
from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from pipeline.coefficients import Coefficients
from pipeline.drivers import listening
from pipeline.drivers.audio_encoder import AudioEncoder, EncoderConfig
from pipeline.drivers.knots import behind, to_frames, to_knots
from pipeline.drivers.listener import LiveMemory, within_reach
from pipeline.drivers.listening import ListeningDriver
from pipeline.drivers.listening_flow import FrameNoise, generate, guides
from pipeline.drivers.listening_live import DELAY_FRAMES
from pipeline.drivers.listening_networks import SPEAKER_DIM, Conditions, ListenerConfig, ListenerNet
from pipeline.drivers.liveliness import Liveliness
from pipeline.drivers.motion_space import MotionSpace, shutting
from pipeline.drivers.mouth import Mouth
from pipeline.drivers.resting_face import resting_face
from pipeline.drivers.turns import TURN_DIM
from pipeline.errors import WeightsError
from pipeline.evaluation.listener_metrics import blink_count
from pipeline.evaluation.nods import Speech, Timing, nods
from pipeline.face.measures import lip_opening
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED

TINY = {"motion_dim": 10, "width": 8, "hidden": 4, "layers": 2, "head_width": 8, "dilations": (1, 2)}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(EMBEDDED / "face")


@pytest.fixture(scope="module")
def space(model: MorphableModel) -> MotionSpace:
    rng = np.random.default_rng(0)
    return MotionSpace.of(0.02 * rng.normal(size=(300, 6)), rng.normal(size=(300, 64)), model, components=4)


@pytest.fixture(scope="module")
def tiny(model: MorphableModel, space: MotionSpace) -> ListeningDriver:
    """Small untrained weights, the causal ones too: everything but meaning."""
    torch.manual_seed(0)
    driver = None
    for causal in (True, False):
        net = ListenerNet(ListenerConfig(causal=causal, **TINY))
        torch.nn.init.normal_(net.flow.out.weight, std=0.3)
        encoder = AudioEncoder(EncoderConfig(causal=causal, width=4))
        driver = ListeningDriver(net, encoder, space, Liveliness.load(EMBEDDED / "liveliness"), model, driver)
    return driver


@pytest.fixture(scope="module")
def trained() -> ListeningDriver:
    return ListeningDriver.from_pretrained()


@pytest.fixture(scope="module")
def speech(repository: Path) -> np.ndarray:
    return read_audio(repository / "examples" / "speech" / "lips_rms.flac")


@pytest.fixture(scope="module")
def conversation(repository: Path) -> np.ndarray:
    """A minute of talk with pauses."""
    said = read_audio(repository / "examples" / "speech" / "pause_awb.ogg")
    phrases = np.concatenate([said, np.zeros(2 * SAMPLE_RATE, np.float32)])
    return np.tile(phrases, 8)[: 60 * SAMPLE_RATE]


def portrait() -> Coefficients:
    return Coefficients(np.zeros((1, 64)), np.zeros((1, 6)), np.array([[0.5, 0.5, 0.4]]))


def run(driver: ListeningDriver, audio, **options) -> Coefficients:
    return Coefficients.concatenate(list(driver(audio, portrait(), **options)))


def same(one: Coefficients, other: Coefficients) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("expression", "pose", "crop"))


# --- what holds of any weights --------------------------------------------------------------------------------------


def test_one_frame_for_every_640_samples_and_none_for_no_sound(tiny, speech):
    for count in (1, 640, 641, 30_000):
        made = run(tiny, speech[:count])
        assert len(made) == frame_count(count)
        assert np.isfinite(made.expression).all()
    assert list(tiny(np.zeros(0, np.float32), portrait())) == []


def test_a_seed_gives_the_same_bytes_however_the_sound_arrives(tiny, speech, monkeypatch):
    monkeypatch.setattr(listening, "WINDOW_FRAMES", 50)
    sound = np.tile(speech, 3)[: 9 * SAMPLE_RATE + 77]
    whole = run(tiny, sound, seed=3)
    assert same(whole, run(tiny, (sound[at : at + 1001] for at in range(0, len(sound), 1001)), seed=3))
    assert not same(whole, run(tiny, sound, seed=4))


def test_windows_join_without_a_step(tiny, speech, monkeypatch):
    sound = np.tile(speech, 3)[: 12 * SAMPLE_RATE]
    steps = np.abs(np.diff(run(tiny, sound).pose[:, 0]))
    monkeypatch.setattr(listening, "WINDOW_FRAMES", 100)
    cut = np.abs(np.diff(run(tiny, sound).pose[:, 0]))
    assert max(cut[95:115].max(), cut[195:215].max()) < 1.2 * steps.max()


@pytest.mark.parametrize("attitude", ATTITUDES)
@pytest.mark.parametrize("parted", [0.0, 0.06])
def test_lips_meet_and_stay_shut(tiny, model, speech, parted, attitude):
    """Somebody photographed in the middle of a word listens with the mouth shut."""
    reference = portrait()
    reference.expression[0] += parted * model.direction("lip_opening")
    made = Coefficients.concatenate(list(tiny(speech, reference, attitude=attitude, expression_scale=2.0)))
    opening = lip_opening(model.shape(np.zeros(model.identity_basis.shape[-1]), made.expression))
    assert np.abs(np.diff(made.expression[:, 20:], axis=0)).max() > 0.01
    assert opening[40:].max() < 0.016


def test_a_smile_in_the_picture_stays_with_the_positive_alone(model):
    mouth = Mouth.of(model)
    smiling = (0.03 * model.direction("smile") + 0.05 * model.direction("lip_opening")).astype(np.float32)
    corners = {}
    for attitude in ATTITUDES:
        turned = smiling + resting_face(model, mouth, None, smiling, attitude)
        opening, _, _, corners[attitude] = mouth.geometry(None, turned)
        assert (opening > 0.04) == (attitude == "positive")
    assert corners["positive"] > corners["neutral"] + 0.005 > corners["negative"] + 0.01


def test_scales_of_nought_leave_the_portrait_still_but_for_its_eyes(tiny, speech):
    made = run(tiny, speech, expression_scale=0, motion_scale=0)
    assert np.abs(made.pose).max() == 0
    assert np.abs(made.expression[:, 20:]).max() == 0
    assert np.abs(made.expression[:, :20]).max() > 0


def test_faces_are_not_pulled_beyond_what_faces_do():
    direction = np.ones((1, 64), np.float32) / 8
    sizes = [float(np.linalg.norm(within_reach(size * direction))) for size in (0, 5, 11.9, 16, 30, 90)]
    assert sizes[:3] == pytest.approx([0, 5, 11.9], rel=1e-3)
    assert 12 < sizes[3] < sizes[4] < sizes[5] <= 20.01


def test_an_attitude_scale_of_nought_is_the_neutral_listener(tiny, speech):
    neutral = run(tiny, speech)
    assert same(neutral, run(tiny, speech, attitude="positive", attitude_scale=0))
    assert same(neutral, run(tiny, speech, attitude_scale=2))
    assert not same(neutral, run(tiny, speech, attitude="positive"))


def test_guidance_asks_the_network_no_more_than_it_must():
    assert guides(1, 1.7) == [1]
    assert guides(0, 0) == [1]
    assert guides(0, 1) == [0]
    assert guides(2, 1.5) == [1, 2]


def test_guidance_of_one_is_the_attitude_itself(tiny):
    net = tiny._shared.net
    torch.manual_seed(1)
    heard, noise = torch.randn(2, 30, 8), torch.randn(1, 30, 10)
    plain = generate(net, heard[1:], noise, torch.tensor([0]))
    guided = generate(net, heard, noise, torch.tensor([1, 0]), scale=1.0)
    assert torch.allclose(plain, guided, atol=1e-4)


def test_a_speakers_face_counts_while_it_is_seen(tiny, speech):
    rng = np.random.default_rng(0)
    face = Coefficients(rng.normal(size=(20, 64)), 0.1 * rng.normal(size=(20, 6)), np.tile([[0.5, 0.5, 0.4]], (20, 1)))
    assert len(run(tiny, speech, speaker=face)) == frame_count(len(speech))
    seen = run(tiny, speech, speaker=face)
    assert not same(run(tiny, speech), seen)
    assert same(run(tiny, speech, speaker=iter([face[:3], face[3:3], face[3:18], face[18:]])), seen)


def test_a_speakers_face_is_asked_for_only_as_far_as_it_is_needed(tiny):
    face = Coefficients(np.zeros((FPS, 64)), np.zeros((FPS, 6)), np.tile([[0.5, 0.5, 0.4]], (FPS, 1)))
    asked = []

    def chunks():
        for second in range(60):
            asked.append(second)
            yield face

    made = tiny(np.zeros(60 * SAMPLE_RATE, np.float32), portrait(), speaker=chunks())
    next(made)
    assert len(asked) <= 40
    assert sum(map(len, made)) > 0 and len(asked) == 60


def test_noise_belongs_to_frames_and_has_unit_variance():
    whole = FrameNoise([5], 4).take(6000)
    parts = FrameNoise([5], 4)
    assert np.array_equal(whole[:60], np.concatenate([parts.take(count) for count in (1, 0, 40, 19)]))
    assert 0.8 < whole.std() < 1.2
    assert np.corrcoef(whole[:-5, 0], whole[5:, 0])[0, 1] > 0.3


def test_knots_are_joined_without_overshoot_of_a_straight_way():
    line = np.arange(20, dtype=np.float32)[:, None]
    assert np.allclose(to_frames(to_knots(line), 20)[4:-4], line[4:-4], atol=1e-5)
    assert np.allclose(behind(line[:3], 0.25), 1.25)
    assert to_knots(line[:5]).shape == (3, 1)


def test_the_space_of_motion_gives_back_what_it_holds(space, model):
    rng = np.random.default_rng(1)
    pose, expression = space.decode(rng.normal(size=(20, space.size)).astype(np.float32))
    assert np.allclose(space.decode(space.encode(pose, expression))[1], expression, atol=1e-3)
    assert np.allclose(expression @ shutting(model), expression, atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"attitude": "bored"}, {"seed": -1}, {"attitude_scale": -1}, {"motion_scale": np.nan}, {"expression_scale": -0.1}],
)
def test_options_are_checked_before_anything_is_heard(tiny, speech, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tiny(speech, portrait(), **wrong)


def test_weights_come_back_as_they_went(tiny, speech, tmp_path):
    tiny.save(tmp_path / "listening")
    tiny.encoder.save(tmp_path / "audio_encoder")
    tiny.causal.encoder.save(tmp_path / "audio_encoder" / "causal")
    again = ListeningDriver.load(tmp_path / "listening")
    made, wanted = run(again, speech[:48_000]), run(tiny, speech[:48_000])
    assert np.abs(made.pose - wanted.pose).max() < 0.01
    assert again.causal is not None
    (tmp_path / "listening" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="install the weights again"):
        ListeningDriver.load(tmp_path / "listening")


# --- live -----------------------------------------------------------------------------------------------------------


def live(driver: ListeningDriver, sound: np.ndarray, **options) -> Coefficients:
    listener = driver.live(portrait(), **options)
    frames = range(0, len(sound) - SAMPLES_PER_FRAME + 1, SAMPLES_PER_FRAME)
    return Coefficients.concatenate([listener.step(sound[at : at + SAMPLES_PER_FRAME]) for at in frames])


def test_live_frames_know_nothing_of_what_is_said_later(tiny, speech):
    """A frame is shown `DELAY_FRAMES` after its sound and knows what was said until then, 200 ms."""
    assert DELAY_FRAMES / FPS <= 0.2
    sound = speech[: 60 * SAMPLES_PER_FRAME].copy()
    changed = sound.copy()
    changed[40 * SAMPLES_PER_FRAME :] = np.random.default_rng(0).normal(size=20 * SAMPLES_PER_FRAME) * 0.2
    before, after = live(tiny, sound, seed=2), live(tiny, changed, seed=2)
    assert np.array_equal(before.pose[:40], after.pose[:40])
    assert np.array_equal(before.expression[:40], after.expression[:40])
    assert not np.array_equal(before.pose[40:], after.pose[40:])


def test_live_and_from_a_file_the_causal_network_moves_alike(tiny, speech):
    sound = speech[: 100 * SAMPLES_PER_FRAME]
    told = live(tiny, sound, seed=2)
    assert np.abs(told.pose[:DELAY_FRAMES]).max() == 0
    listener_steps, file_steps = (
        np.abs(np.diff(told.pose, axis=0)),
        np.abs(np.diff(run(tiny.causal, sound).pose, axis=0)),
    )
    assert 0.3 < listener_steps.mean() / file_steps.mean() < 3


def test_frames_of_another_length_are_refused(tiny):
    with pytest.raises(ValueError, match="640"):
        tiny.live(portrait()).step(np.zeros(100, np.float32))


def test_knot_by_knot_the_causal_network_hears_what_it_hears_of_the_whole(tiny):
    net, knots = tiny.causal._shared.net, 31
    torch.manual_seed(2)
    whole = Conditions(
        sound=torch.randn(1, knots, 128),
        turns=torch.randn(1, knots, TURN_DIM),
        speaker=torch.zeros(1, knots, SPEAKER_DIM),
        seen=torch.zeros(1, knots, 1),
        own=torch.zeros(1, SPEAKER_DIM),
        attitude=torch.tensor([0]),
    )
    noise = torch.randn(1, knots, tiny._shared.space.size)
    memory = LiveMemory.empty(2)
    with torch.inference_mode():
        heard = net.hear(whole)
        motion = generate(net, heard, noise, whole.attitude, memories=(None, None))
        for t in range(knots):
            at = slice(t, t + 1)
            told = replace(
                whole, **{name: getattr(whole, name)[:, at] for name in ("sound", "turns", "speaker", "seen")}
            )
            now = net.hear(told, memory.trunk)
            assert torch.allclose(now, heard[:, at], atol=1e-5)
            moved = generate(net, now, noise[:, at], whole.attitude, memories=memory.steps)
            assert torch.allclose(moved, motion[at], atol=1e-5)


# --- what the embedded weights do -----------------------------------------------------------------------------------


def test_nods_follow_phrases_and_stay_away_in_silence(trained, conversation):
    speech = Speech.of(np.concatenate([conversation, np.zeros(20 * SAMPLE_RATE, np.float32)]))
    timing = Timing()
    for seed in range(4):
        made = run(trained, np.concatenate([conversation, np.zeros(20 * SAMPLE_RATE, np.float32)]), seed=seed)
        timing = timing + Timing.of(nods(made.pose), speech)
    assert timing.nods >= 8
    assert timing.ratio > 2
    assert timing.quiet_rate < 0.2


def test_silence_is_calm_but_alive(trained):
    made = run(trained, np.zeros(20 * SAMPLE_RATE, np.float32), seed=1)
    assert len(nods(made.pose)) <= 2
    assert np.degrees(made.pose[50:, :3].std(0)).max() > 0.2
    assert np.degrees(np.abs(made.pose[:, :3])).max() < 12


def test_attitudes_show_at_the_corners_of_the_mouth(trained, conversation, model):
    mouth = Mouth.of(model)
    corners = {}
    for attitude in ATTITUDES:
        made = run(trained, conversation[: 16 * SAMPLE_RATE], attitude=attitude)
        corners[attitude] = mouth.geometry(None, made.expression)[25:, 3].mean()
    assert corners["positive"] > corners["neutral"] + 0.003
    assert corners["negative"] < corners["neutral"]
    more = run(trained, conversation[: 16 * SAMPLE_RATE], attitude="positive", attitude_scale=2.0)
    assert mouth.geometry(None, more.expression)[25:, 3].mean() > corners["positive"] + 0.002


def test_blinks_are_as_many_as_peoples(trained, conversation, model):
    identity = np.zeros(model.identity_basis.shape[-1], np.float32)
    rates = [blink_count(run(trained, conversation, seed=seed, identity=identity), model, identity) for seed in (0, 1)]
    assert 10 <= np.mean(rates) <= 25


def test_regression_is_stiller_than_the_driver(trained, conversation):
    plain = Coefficients.concatenate(list(trained.regression(conversation, portrait())))
    assert plain.pose[:, :3].var(0).sum() < 0.3 * run(trained, conversation).pose[:, :3].var(0).sum()


def test_a_long_listener_comes_home_and_is_not_kept_in_memory(trained, conversation):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield conversation[: 10 * SAMPLE_RATE]

    parts, seconds = [], 0.0
    for part in trained(endless(), portrait(), seed=5):
        parts.append(part)
        seconds += len(part) / FPS
        assert 10 * taken - seconds < 90
        if seconds > 240:
            break
    last = Coefficients.concatenate(parts).pose[-100 * FPS :]
    assert np.degrees(np.abs(last[:, :3].mean(0))).max() < 4


def test_a_minute_takes_less_than_a_second_of_two_cores(trained, conversation):
    run(trained, conversation[:SAMPLE_RATE])
    begun = time.process_time()
    run(trained, conversation)
    assert time.process_time() - begun < 2


def test_a_live_frame_is_ready_before_the_next(trained, conversation):
    listener = trained.live(portrait(), attitude="positive", attitude_scale=1.5)
    spent = []
    for at in range(0, 120 * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME):
        begun = time.process_time()
        listener.step(conversation[at : at + SAMPLES_PER_FRAME])
        spent.append(time.process_time() - begun)
    assert np.median(spent[20:]) < 0.020
