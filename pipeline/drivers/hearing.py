"""What there is to hear, one row a video frame: ViCo's features, mel spectra and what the phone recogniser finds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.audio.features import FEATURE_DIM, extract_features
from pipeline.clock import SAMPLES_PER_FRAME, frame_count
from pipeline.drivers.phonetics import (
    HIDDEN_DIM,
    MEL_BANDS,
    MELS_PER_FRAME,
    STEPS_PER_FRAME,
    VISEME_NAMES,
    VISEMES,
    PhoneNet,
    log_mel,
)

_PHONETIC_DIM = HIDDEN_DIM + len(VISEMES)
BLOCKS = {
    "vico": slice(0, FEATURE_DIM),
    "mel": slice(FEATURE_DIM, FEATURE_DIM + STEPS_PER_FRAME * MEL_BANDS),
    "phonetic": slice(
        FEATURE_DIM + STEPS_PER_FRAME * MEL_BANDS, FEATURE_DIM + STEPS_PER_FRAME * (MEL_BANDS + _PHONETIC_DIM)
    ),
}
SOUND_DIM = BLOCKS["phonetic"].stop
RAW_DIM = FEATURE_DIM + MELS_PER_FRAME * MEL_BANDS
HALVES_DIM = STEPS_PER_FRAME * MEL_BANDS


def sense(samples: np.ndarray) -> np.ndarray:
    """What there is to hear, of sound (N,) at 16 kHz that `pipeline.drivers.level` made even.

    Returns:
        (ceil(N / 640), `RAW_DIM`) float32: ViCo's features, then four mel spectra.
    """
    frames = frame_count(len(samples))
    if frames == 0:
        return np.zeros((0, RAW_DIM), np.float32)
    whole = np.pad(samples.astype(np.float32), (0, frames * SAMPLES_PER_FRAME - len(samples)))
    return np.concatenate([extract_features(whole), log_mel(whole).reshape(frames, -1).numpy()], 1)


def rows_of(mel: np.ndarray) -> np.ndarray:
    """Rows (T, RAW_DIM) as `sense` gives them, of mel spectra (4 T, 64) alone: ViCo's features are nought."""
    frames = len(mel) // MELS_PER_FRAME
    return np.pad(mel.reshape(frames, -1), ((0, 0), (FEATURE_DIM, 0)))


def spectra(raw: Tensor) -> Tensor:
    """Mel spectra (B, 4 T, 64) among what was sensed (B, T, RAW_DIM)."""
    return raw[..., FEATURE_DIM:].reshape(raw.shape[0], raw.shape[1] * MELS_PER_FRAME, MEL_BANDS)


def halves(raw: Tensor) -> Tensor:
    """(B, T, HALVES_DIM): the mean spectra of each frame's two halves, of what was sensed (B, T, RAW_DIM)."""
    count, frames, _ = raw.shape
    mel = raw[..., FEATURE_DIM:].reshape(count, frames, STEPS_PER_FRAME, MELS_PER_FRAME // STEPS_PER_FRAME, MEL_BANDS)
    return mel.mean(3).reshape(count, frames, HALVES_DIM)


def heard(raw: Tensor, phone_net: PhoneNet) -> Tensor:
    """Rows (B, T, SOUND_DIM), columns as in `BLOCKS`, of what was sensed (B, T, RAW_DIM)."""
    phonetic = phone_net.heard(spectra(raw)).reshape(*raw.shape[:2], -1)
    return torch.cat([raw[..., :FEATURE_DIM], halves(raw), phonetic], -1)


@torch.inference_mode()
def hear(samples: np.ndarray, phone_net: PhoneNet) -> np.ndarray:
    """Rows (ceil(N / 640), SOUND_DIM) float32 of sound (N,): `sense` and `heard` in one."""
    raw = sense(samples)
    if len(raw) == 0:
        return np.zeros((0, SOUND_DIM), np.float32)
    return heard(torch.from_numpy(raw)[None], phone_net)[0].numpy()


def viseme_in(rows: np.ndarray, name: str) -> np.ndarray:
    """Probability (T,) of one of `VISEMES` in rows (T, SOUND_DIM) of `hear`: the greater of a frame's two halves."""
    steps = rows[:, BLOCKS["phonetic"]].reshape(len(rows), STEPS_PER_FRAME, _PHONETIC_DIM)
    return steps[..., HIDDEN_DIM + VISEME_NAMES.index(name)].max(1)
