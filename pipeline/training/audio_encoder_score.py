"""How much of what a listener needs lies in the audio encoder's rows, ready to be read off.

    python -m pipeline.training.audio_encoder_score CORPUS

Linear questions (ridge regression) are fitted on people of the training split and asked of the val split's talkers,
whom nothing here was trained on, without noise and in white noise 10 dB below the speech. The right answers are found
by signal processing in the sound without noise. The same questions are put to ViCo's 45 features, for comparison. Then
follows the time that 60 s of sound take.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.audio.features import extract_features
from pipeline.audio.reading import read_audio
from pipeline.drivers.audio_encoder import LEVEL_AHEAD, AudioEncoder, encode
from pipeline.drivers.level import speech_level
from pipeline.drivers.running_level import levelled
from pipeline.hub import EMBEDDED
from pipeline.threads import settle_process
from pipeline.training.corpus import read_manifest
from pipeline.training.spoken import BINARY, PITCH, TARGETS, VOICED, targets

NOISE = 10.0  # dB below the speech
_RIDGE = 1.0
_SECONDS = 60


def area(scores: np.ndarray, right: np.ndarray) -> float:
    """How often a frame where `right` (T,) holds scores (T,) higher than one where it doesn't (area under ROC)."""
    from scipy.stats import rankdata

    right = right > 0.5
    many, few = right.sum(), (~right).sum()
    if not many or not few:
        return float("nan")
    return float((rankdata(scores)[right].sum() - many * (many + 1) / 2) / (many * few))


def probe(rows: np.ndarray, wanted: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The linear question, rows (T, D) to targets (T, 7): ridge regression; pitch is fitted where there is a voice."""
    mean, spread = rows.mean(0), rows.std(0) + 1e-6

    def ready(some: np.ndarray) -> np.ndarray:
        return np.pad((some - mean) / spread, ((0, 0), (0, 1)), constant_values=1.0)

    def fitted(which: np.ndarray, columns: list[int]) -> np.ndarray:
        own = ready(rows[which])
        return np.linalg.solve(own.T @ own + _RIDGE * np.eye(own.shape[1]), own.T @ wanted[which][:, columns])

    everywhere = fitted(np.ones(len(rows), bool), list(range(wanted.shape[1])))
    everywhere[:, PITCH] = fitted(wanted[:, VOICED] > 0.5, [PITCH])[:, 0]
    return lambda some: ready(some) @ everywhere


def score(answers: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Area under ROC of what is yes or no, and Pearson correlation of pitch (where voiced) and energy."""
    found = {}
    for column, name in enumerate(TARGETS):
        own, real = answers[:, column], wanted[:, column]
        if column == PITCH:
            voiced = wanted[:, VOICED] > 0.5
            own, real = own[voiced], real[voiced]
        found[name] = area(own, real) if column in BINARY else float(np.corrcoef(own, real)[0, 1])
    return found


def noisy(samples: np.ndarray, seed: int) -> np.ndarray:
    """Sound (N,) in white noise `NOISE` dB below its speech."""
    level = 10 ** ((speech_level(samples) - NOISE) / 20)
    return samples + np.random.default_rng(seed).normal(0, level, len(samples)).astype(np.float32)


def main() -> None:
    """Print the table and the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--weights", type=Path, default=EMBEDDED / "audio_encoder")
    arguments = parser.parse_args()
    settle_process()
    encoders = {"full": AudioEncoder.load(arguments.weights), "causal": AudioEncoder.load(arguments.weights / "causal")}
    views = {
        "45 features": lambda samples: extract_features(np.concatenate(list(levelled([samples], LEVEL_AHEAD)))),
        **{name: lambda samples, encoder=encoder: encode(samples, encoder) for name, encoder in encoders.items()},
    }
    files = [file for file in read_manifest(arguments.corpus) if file.seconds > 2]
    taught = [read_audio(file.path) for file in files if file.kind == "speech"][::3]
    asked = [read_audio(file.path) for file in files if file.kind == "talk" and file.split == "val"]
    wanted, real = (np.concatenate([targets(samples) for samples in some]) for some in (taught, asked))
    print(f"fitted on {len(wanted) / 1500:.1f} min, asked of {len(real) / 1500:.1f} min, {len(asked)} people's clips")
    print(f"{'':24s}" + "".join(f"{name:>18s}" for name in TARGETS))
    both = [*taught, *(noisy(samples, index) for index, samples in enumerate(taught))]
    for name, view in views.items():
        question = probe(np.concatenate([view(samples) for samples in both]), np.concatenate([wanted, wanted]))
        for kind, some in (("", asked), (", noise", [noisy(s, 1000 + i) for i, s in enumerate(asked)])):
            found = score(question(np.concatenate([view(samples) for samples in some])), real)
            print(f"{name + kind:24s}" + "".join(f"{value:18.3f}" for value in found.values()))
    sound = np.resize(np.concatenate(asked), _SECONDS * 16_000)
    for name, encoder in encoders.items():
        started = time.process_time()
        encode(sound, encoder)
        print(f"{_SECONDS} s of sound, {name}: {time.process_time() - started:.2f} s of one core")


if __name__ == "__main__":
    main()
