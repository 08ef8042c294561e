"""What the talking driver hears, one row a video frame: ViCo's features, mel spectra and what the recogniser finds."""

from __future__ import annotations

import numpy as np
import torch

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
CONTEXT_FRAMES = 14  # rows on each side that a row depends on: the recogniser sees furthest


@torch.inference_mode()
def hear(samples: np.ndarray, phone_net: PhoneNet) -> np.ndarray:
    """Rows for the driver, of sound (N,) at 16 kHz that `pipeline.drivers.level` made even.

    Returns:
        (ceil(N / 640), `SOUND_DIM`) float32; columns as in `BLOCKS`.
    """
    frames = frame_count(len(samples))
    if frames == 0:
        return np.zeros((0, SOUND_DIM), np.float32)
    whole = np.pad(samples.astype(np.float32), (0, frames * SAMPLES_PER_FRAME - len(samples)))
    vico = extract_features(whole)
    mel = log_mel(whole)
    hidden, visemes = phone_net.features(mel[None])
    halves = mel.reshape(frames, STEPS_PER_FRAME, MELS_PER_FRAME // STEPS_PER_FRAME, MEL_BANDS).mean(2)
    phonetic = torch.cat([hidden[0], visemes[0]], -1).reshape(frames, -1)
    return np.concatenate([vico, halves.reshape(frames, -1).numpy(), phonetic.numpy()], 1)


def viseme_in(rows: np.ndarray, name: str) -> np.ndarray:
    """Probability (T,) of one of `VISEMES` in rows (T, SOUND_DIM) of `hear`: the greater of a frame's two halves."""
    steps = rows[:, BLOCKS["phonetic"]].reshape(len(rows), STEPS_PER_FRAME, _PHONETIC_DIM)
    return steps[..., HIDDEN_DIM + VISEME_NAMES.index(name)].max(1)
