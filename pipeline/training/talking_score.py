"""How well the driver's own output follows real lips, before any rendering.

    python -m pipeline.training.talking_score CORPUS CACHE [--split val]

Each clip's first frame, fitted alone, is the portrait. `python -m pipeline evaluate` measures the rendered video.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pipeline.audio.reading import read_audio
from pipeline.clock import SAMPLE_RATE
from pipeline.coefficients import Coefficients
from pipeline.drivers.talking import TalkingDriver
from pipeline.evaluation.lips import lip_sync, pearson, spread_ratio
from pipeline.face.measures import jaw_drop, lip_opening, lip_width
from pipeline.hub import EMBEDDED
from pipeline.training.corpus import TrackedClip, tracked_clips

_SILENCE_SECONDS = 10


def score_clip(driver: TalkingDriver, clip: TrackedClip, sound: np.ndarray) -> dict[str, float]:
    """Correlations, spreads and lags of one clip's lips, and their spread in digital silence and in faint hiss."""
    model, size = driver.model, (512, 512)
    first = clip.coefficients[0]
    seen = model.project(model.shape(clip.identity, first.expression), first.pose, first.crop, size)
    identity, portrait = model.fit(seen, size)

    def spoken(samples: np.ndarray) -> np.ndarray:
        made = Coefficients.concatenate(list(driver(samples, portrait, identity=identity)))
        return model.shape(identity, made.expression)

    made, real = spoken(sound), model.shape(clip.identity, clip.coefficients.expression)
    opening, true = lip_opening(made), lip_opening(real)
    sync = lip_sync(opening, true, clip.file.lag, real_found=clip.found)
    lag = clip.file.lag
    start, stop = max(0, -lag), min(len(made), len(real) - lag)
    pairs = {"width": lip_width, "jaw": jaw_drop}
    hiss = np.random.default_rng(0).normal(size=_SILENCE_SECONDS * SAMPLE_RATE).astype(np.float32)
    still = {name: lip_opening(spoken(hiss * level))[25:] for name, level in (("silence", 0.0), ("hiss", 1e-3))}
    return {
        "r": sync.correlation,
        "found lag": sync.lag - lag,
        "spread": spread_ratio(opening[start:stop], true[start + lag : stop + lag]),
        "mean opening": float(opening.mean()),
        "real opening": float(true.mean()),
        **{f"r {n}": pearson(f(made)[start:stop], f(real)[start + lag : stop + lag]) for n, f in pairs.items()},
        **{f"{name} spread": float(rows.std() / opening.std()) for name, rows in still.items()},
        **{f"{name} opening": float(rows.mean()) for name, rows in still.items()},
    }


def main() -> None:
    """Print one line a clip and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("cache", type=Path, help="folder of tracked clips")
    parser.add_argument("--split", default="val", choices=("val", "train"))
    parser.add_argument("--weights", type=Path, default=EMBEDDED / "talking")
    arguments = parser.parse_args()
    driver = TalkingDriver.from_pretrained(arguments.weights)
    driver.liveliness = None  # it moves nothing that is measured here
    rows = []
    for clip in tracked_clips(arguments.corpus, ("talk",), arguments.split, arguments.cache, driver.model):
        if clip.file.sync < 0.35:
            continue
        rows.append(score_clip(driver, clip, read_audio(clip.file.path)))
        print(f"{clip.file.name[:44]:44s} " + " ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()))
    print(f"\nmeans of {len(rows)} clips")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:16s} {np.mean(values):7.3f}   median {np.median(values):7.3f}   least {min(values):7.3f}")


if __name__ == "__main__":
    main()
