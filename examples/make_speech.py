"""Make the example speech with free synthesisers: flite (voices of CMU ARCTIC) and espeak-ng.

    apt-get install flite espeak-ng && python examples/make_speech.py

The clips are committed, so nobody needs the synthesisers to run the examples. Every text is our own.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

SPEECH = Path(__file__).parent / "speech"
_EDGE_SECONDS = 0.25  # of silence before and after, so that a clip starts and ends with the mouth at rest
_PEAK = 0.8


@dataclass(frozen=True)
class Clip:
    """One example: its file, the synthesiser's command without text and output, and what is said.

    Sentences are separated by `pause_seconds` of silence, in which a mouth should be seen to close.
    """

    file: str
    command: tuple[str, ...]
    sentences: tuple[str, ...]
    pause_seconds: float = 0.35


CLIPS = (
    Clip(
        "hello_slt.wav",
        ("flite", "-voice", "slt"),
        ("Hello! I used to be a still picture.", "Give me a voice, and I will speak for myself."),
    ),
    Clip(
        "lips_rms.flac",
        ("flite", "-voice", "rms"),
        ("Bob and Pam bought a bowl of plum jam.", "My mother may be home by Monday morning."),
    ),
    Clip(
        "pause_awb.ogg",
        ("flite", "-voice", "awb"),
        ("Wait a moment.", "I was only listening.", "Now I have something to say."),
        pause_seconds=1.0,
    ),
    Clip(
        "question_slt.flac",
        ("flite", "-voice", "slt", "--setf", "duration_stretch=1.08"),
        ("Have you ever wondered what a painting would say?", "I would ask it who it was waiting for."),
    ),
    Clip(
        "bonjour_espeak.ogg",
        ("espeak-ng", "-v", "fr", "-s", "150"),
        ("Bonjour! Nous voilà enfin en tête-à-tête.", "Parlez-moi, je vous écoute."),
    ),
)


def synthesise(clip: Clip) -> tuple[np.ndarray, int]:
    """Speak one clip: samples (N,) float32 in -1..1, and their rate in Hz."""
    parts: list[np.ndarray] = []
    rate = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, sentence in enumerate(clip.sentences):
            wav = Path(folder) / f"{number}.wav"
            if clip.command[0] == "flite":
                command = [*clip.command, "-t", sentence, "-o", str(wav)]
            else:
                command = [*clip.command, "-w", str(wav), sentence]
            subprocess.run(command, check=True)
            samples, rate = soundfile.read(wav, dtype="float32")
            parts += [_trim(samples), np.zeros(int(clip.pause_seconds * rate), np.float32)]
    edge = np.zeros(int(_EDGE_SECONDS * rate), np.float32)
    whole = np.concatenate([edge, *parts[:-1], edge])
    return whole * (_PEAK / np.abs(whole).max()), rate


def _trim(samples: np.ndarray, threshold: float = 0.005) -> np.ndarray:
    """Cut the synthesiser's own silence off both ends, so that the pauses are those asked for."""
    loud = np.flatnonzero(np.abs(samples) > threshold)
    return samples[loud[0] : loud[-1] + 1]


def main() -> None:
    """Write every clip into examples/speech."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    SPEECH.mkdir(exist_ok=True)
    for clip in CLIPS:
        samples, rate = synthesise(clip)
        soundfile.write(SPEECH / clip.file, samples, rate)
        print(f"{clip.file}: {len(samples) / rate:.2f} s at {rate} Hz")


if __name__ == "__main__":
    main()
