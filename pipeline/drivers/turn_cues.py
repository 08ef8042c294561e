"""What turn-taking hears: level, voicing and pitch of each frame, and from them the voice; nothing from the future.

`pipeline.audio.voice` knows the seconds to come and is surer; who listens live does not have them.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME

LEVEL, VOICING, PITCH = range(3)
CUE_DIM = 3

_WINDOW = 1024  # 64 ms that end with the frame
_N_FFT = 1280  # no shorter than a window and the longest lag
_BAND = (200.0, 4000.0)  # Hz; hum lies below, hiss above
_LAGS = (SAMPLE_RATE // 400, SAMPLE_RATE // 70)  # of the pitch of human voices
_QUIET = -80.0  # dB of full scale
_CHUNK = 250

_MEMORY = 100  # frames over which noise and loudness are judged: 4 s
_PITCHES = 250  # voiced frames that a speaker's range is known by
_LOW = 0.26  # quantile of pitch that counts as low, and
_LOW_FRAMES = 3  # for how many frames: 120 ms (Ward and Tsukahara 2000: 110 ms)


class TurnCues:
    """Turns sound into rows (n, CUE_DIM): level of the speech band (dB of full scale), voicing (0 to 1), and pitch
    (octaves above 70 Hz, 0 where there is none)."""

    def __init__(self) -> None:
        self._tail = np.zeros(_WINDOW - SAMPLES_PER_FRAME, np.float32)
        hann = np.hanning(_WINDOW + 1)[:-1]
        self._hann = hann.astype(np.float32)
        frequencies = np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE)
        self._band = (frequencies >= _BAND[0]) & (frequencies <= _BAND[1])
        # A window's own autocorrelation, by which longer lags would otherwise look less periodic.
        own = np.fft.irfft(np.abs(np.fft.rfft(hann, _N_FFT)) ** 2)
        self._own = (own / own[0])[_LAGS[0] : _LAGS[1] + 1]
        self._low_pass = np.exp(-((frequencies / 1200.0) ** 2)) * (frequencies > 60)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Rows (n, CUE_DIM) of the next n frames.

        Args:
            samples: (n * 640,) sound at 16 kHz; the clip's last block may be any length and is filled with silence.

        Raises:
            ValueError: if `samples` is not one-dimensional.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise ValueError(f"samples must have shape (N,), not {samples.shape}.")
        count = -(-len(samples) // SAMPLES_PER_FRAME)
        sound = np.concatenate([self._tail, samples, np.zeros(count * SAMPLES_PER_FRAME - len(samples), np.float32)])
        self._tail = sound[len(sound) - len(self._tail) :].copy()
        windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::SAMPLES_PER_FRAME]
        parts = [self._measure(windows[at : at + _CHUNK]) for at in range(0, count, _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, CUE_DIM))

    def _measure(self, windows: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(windows * self._hann, _N_FFT, axis=-1)) ** 2
        energy = power[:, self._band].sum(-1) * (2 / (_N_FFT * (self._hann**2).sum()))
        rows = np.zeros((len(windows), CUE_DIM))
        rows[:, LEVEL] = np.maximum(10 * np.log10(energy + 1e-12), _QUIET)
        correlation = np.fft.irfft(power * self._low_pass, axis=-1)
        periodic = correlation[:, _LAGS[0] : _LAGS[1] + 1] / (correlation[:, :1] + 1e-9) / self._own
        best = periodic.max(-1)
        # The shortest lag that is nearly as good as the best one: twice the period repeats as well.
        lag = _LAGS[0] + (periodic >= 0.92 * best[:, None]).argmax(-1)
        rows[:, VOICING] = np.clip(best, 0, 1)
        rows[:, PITCH] = np.where(best > 0.5, np.log2(SAMPLE_RATE / lag / 70.0), 0.0)
        return rows


class VoiceCue:
    """Whether somebody speaks in a frame, and whether a low-pitch region has just been seen, frame after frame."""

    def __init__(self) -> None:
        self._levels: deque[float] = deque([_QUIET + 15] * _MEMORY, _MEMORY)
        self._pitches: deque[float] = deque(maxlen=_PITCHES)
        self._floor = self._top = _QUIET
        self._frame = 0
        self._sure = 0  # frames for which voice is still certain after a voiced one
        self._limit = 0.0  # below it pitch is low
        self._low = 0  # frames of the present low-pitch region

    def step(self, row: np.ndarray) -> tuple[bool, bool]:
        """Voice, and a low-pitch region that has just lasted long enough, for one row (CUE_DIM,)."""
        level, voicing, pitch = (float(value) for value in row)
        self._levels.append(level)
        if self._frame % 5 == 0:
            ordered = sorted(self._levels)
            self._floor = min(ordered[_MEMORY // 10], -30.0)
            self._top = ordered[-_MEMORY // 20]
        self._frame += 1
        self._top = max(self._top, level - 3)
        lively = self._top - self._floor > 9.0  # a hum or a noise is steady; speech is not
        audible = level > max(self._floor + 5.0, self._top - 34.0, -62.0)
        voiced = voicing > 0.6 and level > max(self._floor + 4.0, self._top - 24.0, -62.0)
        if lively and voiced:
            self._sure = 10  # consonants beside a vowel are speech too, noise without any vowel is not
        else:
            self._sure = max(0, self._sure - 1)
        voice = self._sure > 0 and lively and (audible or voiced)
        return voice, self._low_pitch(pitch if voice and voiced else 0.0)

    def _low_pitch(self, pitch: float) -> bool:
        if pitch <= 0:
            self._low = 0
            return False
        self._pitches.append(pitch)
        if len(self._pitches) < 25:
            return False
        if self._frame % 5 == 0 or self._limit == 0:
            self._limit = sorted(self._pitches)[int(_LOW * len(self._pitches))]
        self._low = self._low + 1 if pitch < self._limit else 0
        return self._low == _LOW_FRAMES
