"""A small corpus made from the public-domain astronaut, and a pipeline whose results are known beforehand.

Her mouth is opened by a plain warp with a series of our choice, so trackers, metrics and suites have a truth to
find that no driver or renderer of the project had a hand in.
"""

from __future__ import annotations

import csv
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.audio.reading import read_audio
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from pipeline.evaluation.pairs import FACE_MODEL
from pipeline.evaluation.warp import AffineWarp
from pipeline.face.morphable import MorphableModel, placement
from pipeline.face.tracker import FaceTracker
from pipeline.video import VideoReader, VideoWriter

FRAMES = 40
LAG = 4
ASTRONAUT = Path(__file__).resolve().parents[2] / "examples" / "portraits" / "astronaut.png"


def astronaut() -> np.ndarray:
    """(320, 320, 3) uint8: her head, large enough to track well."""
    return cv2.resize(_read(ASTRONAUT)[10:250, 100:340], (320, 320), interpolation=cv2.INTER_CUBIC)


def _read(path: Path | str) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].copy()


def series(count: int = FRAMES) -> np.ndarray:
    """(count,) 0 to 1: an opening without period, so that only one lag fits."""
    smooth = np.convolve(np.random.default_rng(8).uniform(size=count + 4), np.hanning(7)[1:-1], "valid")
    return np.clip((smooth - smooth.min()) / np.ptp(smooth), 0, 1)


class Mouth:
    """Opens the mouth of a picture by loudness: 0 closes it, 1 opens it by 0.14 face heights more."""

    def __init__(self, image: np.ndarray) -> None:
        with FaceTracker() as tracker:
            self._landmarks = tracker.find(image)[0].landmarks
        model = MorphableModel.load(FACE_MODEL)
        size = image.shape[1], image.shape[0]
        _, still = model.fit(self._landmarks[None], size)
        rotation, scale, _ = placement(still.pose, still.crop, size)
        self._step = scale[0] * model.offsets(model.direction("lip_opening")) @ rotation[0].T
        self._warp = AffineWarp(image, self._landmarks)
        self._frames: dict[float, np.ndarray] = {}

    def __call__(self, loudness: float) -> np.ndarray:
        key = round(float(loudness), 2)
        if key not in self._frames:
            # A plain warp drags what stands between head and picture's edge along, as a bad renderer does.
            self._frames[key] = self._warp(self._landmarks + (0.14 * key - 0.05) * self._step)
        return self._frames[key]


def make_corpus(folder: Path) -> Path:
    """Write a corpus of two clips and a portrait; the talking clip's picture is `LAG` frames late."""
    for kind in ("talk", "silent", "portraits"):
        (folder / kind).mkdir(parents=True)
    mouth = Mouth(astronaut())
    loudness = series()
    rng = np.random.default_rng(1)
    sound = rng.uniform(-0.5, 0.5, FRAMES * SAMPLES_PER_FRAME) * np.repeat(loudness, SAMPLES_PER_FRAME)
    write_wav(folder / "talk" / "sound.wav", sound)
    frames = [mouth(share) for share in loudness]
    late = [frames[0]] * LAG + frames[:-LAG]
    for name, shown, audio in (
        ("talk/clip.mp4", late, folder / "talk" / "sound.wav"),
        ("silent/clip.mp4", frames[:20], None),
    ):
        with VideoWriter(folder / name, (320, 320), audio=audio) as writer:
            for frame in shown:
                writer.write(frame)
    cv2.imwrite(str(folder / "portraits" / "astronaut.png"), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    rows = [
        {"path": "talk/clip.mp4", "kind": "talk", "seconds": FRAMES / 25, "sync_lag": LAG, "sync_r": 0.9},
        {"path": "talk/unsure.mp4", "kind": "talk", "seconds": 3, "sync_lag": 0, "sync_r": 0.1},
        {"path": "silent/clip.mp4", "kind": "silent", "seconds": 0.8, "sync_lag": "", "sync_r": ""},
        {"path": "portraits/astronaut.png", "kind": "portrait", "seconds": "", "sync_lag": "", "sync_r": ""},
    ]
    with open(folder / "MANIFEST.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["path", "kind", "split", "seconds", "sync_lag", "sync_r"])
        table.writeheader()
        table.writerows({"split": "val", **row} for row in rows)
    return folder


def write_wav(path: Path, samples: np.ndarray) -> None:
    """16-bit mono at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


@dataclass
class StubClip:
    """Lazy frames, and what saves them."""

    make: Callable[[], Iterator[np.ndarray]]
    audio: str
    coefficients: None = None

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """From the first on, each time."""
        return self.make()

    def save(self, path: str) -> None:
        """Write the frames with their sound."""
        with VideoWriter(path, next(self.frames).shape[1::-1], audio=self.audio) as writer:
            for frame in self.frames:
                writer.write(frame)


class StubPipeline:
    """Talks by opening the mouth with the sound's loudness; reenacts perfectly; or neither if `still`."""

    def __init__(self, still: bool = False) -> None:
        self.still = still
        self._mouths: dict[bytes, Mouth] = {}

    def talk(self, portrait: np.ndarray | str, audio: str, seed: int = 0) -> StubClip:
        image = portrait if isinstance(portrait, np.ndarray) else _read(portrait)
        key = image.tobytes()
        if key not in self._mouths:
            self._mouths[key] = Mouth(image)
        mouth = self._mouths[key]
        samples = read_audio(audio)
        padded = np.pad(samples, (0, -len(samples) % SAMPLES_PER_FRAME)).reshape(-1, SAMPLES_PER_FRAME)
        loudness = np.sqrt(np.square(padded).mean(1))
        assert len(loudness) == frame_count(len(samples))
        if self.still:
            return StubClip(lambda: (image for _ in loudness), audio)
        return StubClip(lambda: (mouth(share) for share in loudness / 0.29), audio)  # 0.29: of uniform noise in ±0.5

    def reenact(self, portrait: np.ndarray, video: str, relative: bool = True) -> StubClip:
        return StubClip(lambda: (portrait if self.still else frame for frame in VideoReader(video)), video)


def stub_factory(weights: str | None) -> StubPipeline:
    """What a worker process calls."""
    return StubPipeline(still=weights == "still")
