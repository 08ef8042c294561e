"""A small phone recogniser: what is being said, as the lips need to know it.

It is trained on synthesised speech whose phone times are known (`pipeline.training.phonetics`), so it costs no
video, and gives the talking driver a view of sound that does not depend on the voice. 41 phones (ARPAbet as
flite speaks it), grouped into 14 visemes: phones that look alike on the lips.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count

PAUSE = "pau"
VISEMES: dict[str, tuple[str, ...]] = {
    "silence": (PAUSE,),
    "lips": ("b", "m", "p"),
    "teeth": ("f", "v"),
    "tongue": ("dh", "th"),
    "ridge": ("d", "l", "n", "t"),
    "hiss": ("s", "z"),
    "pout": ("ch", "jh", "sh", "zh"),
    "back": ("g", "hh", "k", "ng"),
    "round": ("ow", "oy", "uh", "uw", "w"),
    "curl": ("er", "r"),
    "open": ("aa", "ao", "aw", "ay"),
    "mid": ("ah", "ax"),
    "front": ("ae", "eh", "ey"),
    "spread": ("ih", "iy", "y"),
}
VISEME_NAMES = tuple(VISEMES)
PHONES = tuple(phone for group in VISEMES.values() for phone in group)

MEL_BANDS = 64
MEL_RATE = 100  # spectra a second
MEL_HOP = SAMPLE_RATE // MEL_RATE
MELS_PER_FRAME = SAMPLES_PER_FRAME // MEL_HOP
_N_FFT = 512
_WINDOW = 400  # 25 ms
_LOWEST, _HIGHEST = 50.0, 7600.0  # Hz
_FLOOR = 1e-7

STRIDE = 2  # the recogniser answers every second spectrum: 50 times a second
STEPS_PER_FRAME = MELS_PER_FRAME // STRIDE
HIDDEN_DIM = 32


def log_mel(samples: np.ndarray) -> Tensor:
    """Mel spectra a hundred times a second, in about -2 to 2 for speech at its usual level.

    Args:
        samples: (N,) sound at 16 kHz.

    Returns:
        (4 · ceil(N / 640), 64) float32. Spectrum i is centred on sample 160 i + 80.
    """
    frames = frame_count(len(samples))
    steps = frames * MELS_PER_FRAME
    if steps == 0:
        return torch.zeros(0, MEL_BANDS)
    before = (_N_FFT - MEL_HOP) // 2
    padded = np.pad(samples.astype(np.float32), (before, steps * MEL_HOP - len(samples) + _N_FFT - MEL_HOP - before))
    spectrum = torch.stft(
        torch.from_numpy(padded),
        _N_FFT,
        MEL_HOP,
        _WINDOW,
        torch.hann_window(_WINDOW),
        center=False,
        return_complex=True,
    )
    power = spectrum.abs().square()  # (257, steps)
    return (torch.log(_mel_filters() @ power + _FLOOR).T + 4.0) / 4.0


@lru_cache(maxsize=1)
def _mel_filters() -> Tensor:
    """(64, 257) triangles, evenly spaced in mels, each of unit area over frequency bins and scaled to the window."""

    def mel(hertz: float) -> float:
        return 2595 * np.log10(1 + hertz / 700)

    edges = 700 * (10 ** (np.linspace(mel(_LOWEST), mel(_HIGHEST), MEL_BANDS + 2) / 2595) - 1)
    bins = np.arange(_N_FFT // 2 + 1) * SAMPLE_RATE / _N_FFT
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.clip(np.minimum(rise, fall), 0, None)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-3)
    return torch.from_numpy((weights * 4 / _WINDOW).astype(np.float32))


class PhoneNet(nn.Module):
    """Convolutions over mel spectra that see 200 ms to either side.

    Input (B, S, 64) from `log_mel`; S is a multiple of 2. `forward` gives logits (B, S / 2, 41) over `PHONES`;
    `features` gives what the driver reads.
    """

    CONTEXT = 24  # answers on each side that an answer's value depends on

    def __init__(self, channels: int = 192) -> None:
        super().__init__()
        self.channels = channels
        self.sizes = {"channels": channels}
        self.heard_dim = HIDDEN_DIM + len(VISEMES)
        self.stem = nn.Sequential(
            nn.Conv1d(MEL_BANDS, channels, 5, stride=STRIDE, padding=2), nn.BatchNorm1d(channels), nn.GELU()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation),
                nn.BatchNorm1d(channels),
                nn.GELU(),
                nn.Dropout(0.1),
            )
            for dilation in (1, 2, 4, 1, 2)
        )
        self.neck = nn.Conv1d(channels, HIDDEN_DIM, 1)
        self.head = nn.Conv1d(HIDDEN_DIM, len(PHONES), 1)

    def hidden(self, mel: Tensor) -> Tensor:
        x = self.stem(mel.transpose(1, 2))
        for block in self.blocks:
            x = x + block(x)
        return torch.tanh(self.neck(x))

    def forward(self, mel: Tensor) -> Tensor:
        return self.head(self.hidden(mel)).transpose(1, 2)

    def features(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units (B, S / 2, 32) in -1 to 1, and probabilities (B, S / 2, 14) of `VISEMES`."""
        hidden = self.hidden(mel)
        phones = self.head(hidden).softmax(1)
        return hidden.transpose(1, 2), viseme_probabilities(phones.transpose(1, 2))

    def heard(self, mel: Tensor) -> Tensor:
        """Both `features` side by side, (B, S / 2, 46)."""
        return torch.cat(self.features(mel), -1)


def viseme_probabilities(phones: Tensor) -> Tensor:
    """Sum probabilities (..., 41) of phones into (..., 14) of visemes."""
    return phones @ _groups()


@lru_cache(maxsize=1)
def _groups() -> Tensor:
    groups = torch.zeros(len(PHONES), len(VISEMES))
    for column, members in enumerate(VISEMES.values()):
        for phone in members:
            groups[PHONES.index(phone), column] = 1.0
    return groups
