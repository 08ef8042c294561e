"""The 45 features: each column is what its name says, each row is its video frame's, in pieces as in one."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from pipeline.audio.features import (
    CONTEXT_FRAMES,
    ENERGY,
    FEATURE_DIM,
    LOUDNESS,
    N_MFCC,
    ZERO_CROSSINGS,
    extract_features,
    stream_features,
)
from pipeline.audio.reading import read_audio
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME


@pytest.fixture(scope="module")
def speech(repository) -> np.ndarray:
    return read_audio(repository / "examples" / "speech" / "question_slt.flac")


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


@pytest.mark.parametrize(("samples", "rows"), [(0, 0), (1, 1), (639, 1), (640, 1), (641, 2), (1600, 3), (16000, 25)])
def test_one_row_a_video_frame(samples: int, rows: int) -> None:
    got = extract_features(np.ones(samples, np.float32) * 0.1)
    assert got.shape == (rows, FEATURE_DIM) == (rows, 45)
    assert got.dtype == np.float32 and np.isfinite(got).all()


def test_same_sound_same_bytes(speech: np.ndarray) -> None:
    assert extract_features(speech).tobytes() == extract_features(speech.copy()).tobytes()


def test_pieces_equal_the_whole(speech: np.ndarray) -> None:
    whole = extract_features(speech)
    start, end = 30, 80
    piece = speech[(start - CONTEXT_FRAMES) * SAMPLES_PER_FRAME : (end + CONTEXT_FRAMES) * SAMPLES_PER_FRAME]
    assert np.abs(extract_features(piece)[CONTEXT_FRAMES:-CONTEXT_FRAMES] - whole[start:end]).max() < 1e-3


def test_context_is_no_longer_than_needed(speech: np.ndarray) -> None:
    short = CONTEXT_FRAMES - 1
    piece = speech[(40 - short) * SAMPLES_PER_FRAME : (60 + short) * SAMPLES_PER_FRAME]
    assert np.abs(extract_features(piece)[short:-short] - extract_features(speech)[40:60]).max() > 1e-2


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_stream_equals_the_whole_however_it_is_cut(speech: np.ndarray, chunk: int) -> None:
    speech = speech[:50_001]
    whole = extract_features(speech)
    streams = [
        list(stream_features([speech[i : i + cut] for i in range(0, len(speech), cut)], chunk))
        for cut in (333, 6400, len(speech))
    ]
    for rows in streams:
        assert all(len(part) == chunk for part in rows[:-1])
        assert np.abs(np.concatenate(rows) - whole).max() < 1e-3
    assert len({np.concatenate(rows).tobytes() for rows in streams}) == 1


def test_row_is_its_own_frame() -> None:
    """A burst inside frame 10 is that row's energy, and the spectrum's peak is there too."""
    sound = np.zeros(25 * SAMPLES_PER_FRAME, np.float32)
    sound[10 * SAMPLES_PER_FRAME : 11 * SAMPLES_PER_FRAME] = tone(500)[:SAMPLES_PER_FRAME]
    features = extract_features(sound)
    assert np.flatnonzero(features[:, ENERGY]).tolist() == [10]
    assert features[:, LOUDNESS].argmax() == features[:, 0].argmax() == 10
    assert features[9, LOUDNESS] == pytest.approx(features[11, LOUDNESS], abs=0.5)  # centred: equal on both sides
    assert features[8, LOUDNESS] == features[12, LOUDNESS] == pytest.approx(-70, abs=0.01)


def test_energy_loudness_and_crossings_of_a_tone() -> None:
    middle = extract_features(tone(1000))[12]
    assert middle[ENERGY] == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert middle[LOUDNESS] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)  # A-weighting is 0 dB there
    assert middle[ZERO_CROSSINGS] == pytest.approx(2 * 1000 / SAMPLE_RATE, abs=0.002)
    low = extract_features(tone(100))[12]
    assert low[LOUDNESS] - middle[LOUDNESS] == pytest.approx(-19.1, abs=0.5)  # IEC 61672-1, 100 Hz


def test_mfcc_and_their_derivatives_are_librosas(speech: np.ndarray) -> None:
    whole = speech[: len(speech) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    padded = np.pad(whole, 192)  # (1024 - 640) / 2: the window's overhang
    mel = librosa.feature.melspectrogram(y=padded, sr=SAMPLE_RATE, n_fft=1024, hop_length=640, n_mels=40, center=False)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel, amin=1e-7, top_db=None), n_mfcc=14)
    got = extract_features(whole)
    assert np.abs(got[:, :N_MFCC].T - mfcc).max() < 1e-3
    for order in (1, 2):
        expected = librosa.feature.delta(mfcc, order=order)[:, 4:-4]
        assert np.abs(got[4:-4, N_MFCC * order : N_MFCC * (order + 1)].T - expected).max() < 1e-3


def test_delta_is_the_change_a_frame() -> None:
    """Of a sound that fades by 1 dB a frame the first coefficient falls, at a rate that stays as it is."""
    fade = 10 ** (-np.arange(25 * SAMPLES_PER_FRAME) / SAMPLES_PER_FRAME / 20)
    sound = (tone(440) * fade).astype(np.float32)
    features = extract_features(sound)[6:-6]
    assert features[:, N_MFCC] == pytest.approx(np.gradient(features[:, 0]), abs=0.25)
    assert features[:, N_MFCC].max() < -0.5
    assert np.abs(features[:, 2 * N_MFCC]).max() < 0.2


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N,\)"):
        extract_features(np.zeros((100, 2), np.float32))
    with pytest.raises(ValueError, match="finite"):
        extract_features(np.array([0.1, np.nan], np.float32))
