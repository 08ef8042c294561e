"""The audio encoder: the same rows however sound arrives, no future in the causal one, and rows that say something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.audio.features import extract_features
from pipeline.audio.reading import read_audio
from pipeline.audio.voice import voice_activity
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from pipeline.drivers import audio_encoder
from pipeline.drivers.audio_encoder import (
    CONTEXT_FRAMES,
    LEVEL_DIM,
    LOOKAHEAD_FRAMES,
    MFCC_DIM,
    AudioEncoder,
    EncoderConfig,
    LiveEncoder,
    encode,
    encode_stream,
)  # fmt: skip
from pipeline.drivers.phonetics import log_mel
from pipeline.drivers.running_level import levelled
from pipeline.drivers.words import Word, WordTrack
from pipeline.errors import WeightsError
from pipeline.hub import EMBEDDED
from pipeline.training.audio_encoder import Example, contrastive, example, run, train_encoder
from pipeline.training.audio_encoder_score import area
from pipeline.training.spoken import ENERGY, PITCH, VOICE, VOICED, Spoken, phrase_ends, pitch, spoken

SECOND = SAMPLE_RATE


def tiny(causal: bool = False) -> AudioEncoder:
    """Untrained, but with running means that are not those of nothing, and words that count."""
    torch.manual_seed(0)
    encoder = AudioEncoder(EncoderConfig(causal=causal, word_dim=5, width=4, output_dim=16))
    torch.nn.init.normal_(encoder.words_in[1].weight)
    for part in encoder.modules():
        if hasattr(part, "running_mean"):
            part.running_mean.normal_(0, 0.1)
    return encoder.eval()


@pytest.fixture(scope="module")
def speech(repository: Path) -> np.ndarray:
    return read_audio(repository / "examples" / "speech" / "lips_rms.flac")


@pytest.fixture(scope="module")
def long(speech: np.ndarray) -> np.ndarray:
    """70 s and a bit, in which nothing comes twice."""
    rng = np.random.default_rng(0)
    return np.resize(speech, 70 * SECOND + 77) * 0.7 + rng.normal(0, 0.02, 70 * SECOND + 77).astype(np.float32)


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_levels_and_rows_have_their_shapes(causal: bool) -> None:
    encoded = tiny(causal)(torch.randn(2, 40, 64), torch.randn(2, 10, MFCC_DIM))
    assert [tuple(level.shape) for level in encoded] == [(2, 10, LEVEL_DIM)] * 3 + [(2, 10, 16)]
    assert AudioEncoder()(torch.randn(1, 20, 64), torch.randn(1, 5, MFCC_DIM)).fused.shape == (1, 5, 128)


def test_shapes_that_do_not_fit_are_refused() -> None:
    encoder, mel, mfcc = tiny(), torch.zeros(1, 40, 64), torch.zeros(1, 10, MFCC_DIM)
    with pytest.raises(ValueError, match="mel must be"):
        encoder(mel[:, 1:], mfcc)
    with pytest.raises(ValueError, match="words must be"):
        encoder(mel, mfcc, torch.zeros(1, 10, 6))
    with pytest.raises(ValueError, match="samples must have shape"):
        encode(np.zeros((2, 640), np.float32), encoder)


@pytest.mark.parametrize("causal", [False, True])
def test_saved_and_loaded_is_the_same(tmp_path: Path, speech: np.ndarray, causal: bool) -> None:
    encoder = tiny(causal)
    encoder.save(tmp_path)
    again = AudioEncoder.load(tmp_path)
    assert again.config == encoder.config and not again.training
    assert np.abs(encode(speech, again) - encode(speech, encoder)).max() < 0.02  # half precision
    again.save(tmp_path / "b")
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_weights_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    tiny().save(tmp_path)
    config, weights = (tmp_path / "config.json").read_text(), (tmp_path / "model.safetensors").read_bytes()
    cases = [
        (config, weights[:1000]), (config, b""), ("[]", weights), ("{", weights),
        (config.replace("AudioEncoder", "TalkingDriver"), weights),
        (json.dumps({**json.loads(config), "width": 8}), weights),
    ]  # fmt: skip
    for text, data in cases:
        (tmp_path / "config.json").write_text(text)
        (tmp_path / "model.safetensors").write_bytes(data)
        with pytest.raises(WeightsError, match=r"cannot be read; install the weights again\.$"):
            AudioEncoder.load(tmp_path)
    with pytest.raises(WeightsError):
        AudioEncoder.load(tmp_path / "nothing")


# --- sound in pieces ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_how_sound_is_cut_makes_no_difference(long: np.ndarray, causal: bool) -> None:
    encoder = tiny(causal)
    whole = encode(long, encoder)
    assert whole.shape == (frame_count(len(long)), 16) and whole.dtype == np.float32
    cuts = np.sort(np.random.default_rng(1).integers(0, len(long), 9))
    pieces = list(encode_stream(iter(np.split(long, cuts)), encoder))
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("causal", [False, True])
def test_windows_are_not_seen_in_the_rows(long: np.ndarray, causal: bool) -> None:
    encoder = tiny(causal)
    even = np.concatenate(list(levelled([long], 0 if causal else audio_encoder.LEVEL_AHEAD)))
    mfcc = torch.from_numpy(extract_features(even)[None, :, :MFCC_DIM])
    with torch.inference_mode():
        at_once = encoder(log_mel(even)[None], mfcc).fused[0].numpy()
    assert np.abs(encode(long, encoder) - at_once).max() < 1e-4


def test_an_hour_takes_the_memory_of_half_a_minute() -> None:
    encoder = tiny()
    blocks = (np.zeros(10 * SECOND, np.float32) for _ in range(360))
    first = next(encode_stream(blocks, encoder))
    heard = 360 - sum(1 for _ in blocks)
    assert len(first) * SAMPLES_PER_FRAME == 30 * SECOND
    assert heard * 10 <= 30 + (CONTEXT_FRAMES + audio_encoder.LEVEL_AHEAD) / 25 + 10


@pytest.mark.parametrize("count", [0, 1, 639, 641])
def test_short_sound(count: int) -> None:
    for causal in (False, True):
        rows = encode(np.full(count, 0.1, np.float32), tiny(causal))
        assert rows.shape == (frame_count(count), 16) and np.isfinite(rows).all()


def test_level_is_made_even(speech: np.ndarray) -> None:
    loud, soft = encode(speech, tiny()), encode(speech * 0.1, tiny())
    assert np.abs(loud - soft)[10:].mean() < 0.03 * loud.std()


# --- the future -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [60, 61, 62, 97])
def test_causal_rows_do_not_know_the_future(long: np.ndarray, frame: int) -> None:
    encoder, sound = tiny(causal=True), long[: 5 * SECOND]
    other = sound.copy()
    other[frame * SAMPLES_PER_FRAME :] = np.random.default_rng(2).normal(0, 0.3, len(sound) - frame * SAMPLES_PER_FRAME)
    change = np.abs(encode(sound, encoder) - encode(other, encoder)).max(1)
    assert change[: frame - LOOKAHEAD_FRAMES].max() == 0
    assert change[frame - 1 :].min() > 1e-4
    assert np.abs(encode(sound, tiny()) - encode(other, tiny())).max(1)[: frame - LOOKAHEAD_FRAMES].max() > 1e-4


def test_frame_by_frame_gives_the_same_rows(long: np.ndarray) -> None:
    encoder, sound = tiny(causal=True), long[: 8 * SECOND]
    live = LiveEncoder(encoder)
    rows = [live.step(frame) for frame in sound.reshape(-1, SAMPLES_PER_FRAME)]
    assert [row is None for row in rows[: LOOKAHEAD_FRAMES + 1]] == [True] * LOOKAHEAD_FRAMES + [False]
    rows = np.stack(rows[LOOKAHEAD_FRAMES:])
    assert np.abs(rows - encode(sound, encoder)[: len(rows)]).max() < 1e-4


def test_live_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="causal encoder"):
        LiveEncoder(tiny())
    with pytest.raises(ValueError, match="samples must have shape"):
        LiveEncoder(tiny(causal=True)).step(np.zeros(641, np.float32))


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_words_count_where_they_are_said_and_nowhere_when_masked(long: np.ndarray, causal: bool) -> None:
    encoder, place = tiny(causal), 1000  # in the second window
    track = WordTrack((Word("yes", place, place + 10),), np.ones((1, 5), np.float32))
    without, given = encode(long, encoder), encode(long, encoder, track)
    change = np.abs(without - given).max(1)
    assert change[place : place + 10].min() > 1e-3
    assert change[: place - 20].max() == 0 and change[place + 60 :].max() == 0
    np.testing.assert_array_equal(encode(long, encoder, WordTrack(track.words)), without)


def test_untrained_words_add_nothing() -> None:
    encoder = AudioEncoder(EncoderConfig(word_dim=5, width=4)).eval()
    mel, mfcc = torch.randn(1, 40, 64), torch.randn(1, 10, MFCC_DIM)
    assert torch.equal(encoder(mel, mfcc).fused, encoder(mel, mfcc, torch.randn(1, 10, 5)).fused)


# --- the embedded weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["audio_encoder", "audio_encoder/causal"])
def test_rows_say_who_speaks_when_and_how_high(repository: Path, speech: np.ndarray, folder: str) -> None:
    """Read off by a line fitted on two synthetic voices, for a third, in noise."""
    encoder = AudioEncoder.load(EMBEDDED / folder)
    taught = [speech, read_audio(repository / "examples" / "speech" / "question_slt.flac")]
    rows = np.concatenate([encode(samples, encoder) for samples in taught])
    voice = np.concatenate([voice_activity(samples) for samples in taught])
    hertz = np.concatenate([pitch(samples) for samples in taught])

    def line(which: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        own = np.pad(rows[which], ((0, 0), (0, 1)), constant_values=1.0)
        return np.linalg.solve(own.T @ own + 3 * np.eye(own.shape[1]), own.T @ wanted[which])

    asked = read_audio(repository / "examples" / "speech" / "pause_awb.ogg")
    noise = np.random.default_rng(0).normal(0, 0.01, len(asked)).astype(np.float32)
    own = np.pad(encode(asked + noise, encoder), ((0, 0), (0, 1)), constant_values=1.0)
    assert area(own @ line(np.ones(len(rows), bool), voice), voice_activity(asked)) > 0.95
    real = pitch(asked)
    guessed = own @ line(hertz > 0, np.log2(np.maximum(hertz, 1)))
    assert np.corrcoef(guessed[real > 0], np.log2(real[real > 0]))[0, 1] > 0.25


def test_weights_are_small() -> None:
    files = list((EMBEDDED / "audio_encoder").rglob("*.safetensors"))
    assert len(files) == 2 and sum(file.stat().st_size for file in files) < 3_000_000


# --- training -------------------------------------------------------------------------------------------------------


def test_contrastive_loss_wants_the_high_level_of_the_same_word() -> None:
    torch.manual_seed(0)
    text, other = torch.randn(6, 8), torch.randn(6, 8)
    names = [f"word{index}" for index in range(6)]
    right = contrastive(text, other, other.roll(1, 0), text * 3, names)
    assert right < 0.1
    assert contrastive(text, other, other, text.roll(1, 0), names) > 5 * right
    assert contrastive(text, text, other, text, names) > right + 0.5  # the low level must not say the same
    twice = [*names[:5], names[0]]
    same = torch.cat([text[:5], text[:1]])
    assert contrastive(same, other, other, same, twice) < 0.1  # said twice, it is no negative of itself


def beeps() -> np.ndarray:
    """Ten seconds: a second of a voice-like tone of 120 Hz, then a second of nothing, and so on."""
    at = np.arange(10 * SECOND) / SECOND
    tone = sum(np.sin(2 * np.pi * 120 * k * at) / k for k in range(1, 12))
    return (0.1 * tone * (1 + 0.5 * np.sin(2 * np.pi * 4 * at)) * (at % 2 < 1)).astype(np.float32)


def test_what_is_known_of_speech() -> None:
    known = spoken(beeps())
    assert known.targets.shape == (250, 7)
    voiced = known.targets[:, VOICED] > 0.5
    assert 110 < voiced.sum() < 150
    assert np.median(2 ** known.targets[voiced, PITCH] * 150) == pytest.approx(120, rel=0.03)
    ends = phrase_ends(known.targets[:, VOICE])
    assert len(ends) == 5 and all(
        abs(end - expected) <= 4 for end, expected in zip(ends, range(25, 250, 50), strict=True)
    )


def test_an_example_keeps_questions_and_sound_together() -> None:
    item = spoken(beeps())
    for seed in range(4):
        one = example(item, np.random.default_rng(seed), [], causal=False)
        assert one.mel.shape == (500, 64) and one.mfcc.shape == (125, MFCC_DIM) and (one.phones == -1).all()
        loud = one.mel.reshape(125, -1).mean(1)
        assert np.corrcoef(loud, one.targets[:, ENERGY])[0, 1] > 0.8


def test_training_learns_to_hear_the_voice_and_words() -> None:
    heard = spoken(beeps())
    words = WordTrack((Word("tone", 0, 25), Word("sound", 50, 75)), np.ones((2, 5), np.float32))
    item = Spoken(heard.samples, heard.targets, np.zeros(len(heard.targets) * 2, int), words)
    said: list[str] = []
    config = EncoderConfig(word_dim=5, width=4, output_dim=16)
    encoder, questions = train_encoder([heard], [item, item], config, minutes=10, log=said.append, most_steps=7)
    assert said and "words" in said[-1]
    assert encoder.words_in[1].weight.abs().max() > 0  # they were given vectors, and were used
    batch: list[Example] = [example(heard, np.random.default_rng(9), [], causal=False)]
    with torch.inference_mode():
        answers = questions.fused(run(encoder, batch).fused)[0, :, VOICE].numpy()
    assert area(answers, batch[0].targets[:, VOICE]) > 0.8
