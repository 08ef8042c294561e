"""What neural renderers learn from: clips of the corpus cut to a window around the head, with coefficients and sound.

Each clip is tracked, fitted and cut once and kept in a shard (`pipeline.training.shards`). Lessons are
self-reenactment: reference and frame are of the same clip (Doukas 2021 §4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.face import topology
from pipeline.face.morphable import MorphableModel
from pipeline.renderers.neural import FaceImages, HeadWindow
from pipeline.training.corpus import CorpusFile
from pipeline.training.footage import Footage, read_footage
from pipeline.video import VideoReader

if TYPE_CHECKING:
    from pipeline.drivers.phonetics import PhoneNet
    from pipeline.training.shards import StoredPictures

_LONGEST = 250  # frames of a clip
ROWS = ("mouth", "expression", "pose", "crop", "sound", "place")


@dataclass(frozen=True)
class RendererLesson:
    """T consecutive frames of one clip.

    Attributes:
        name: of the clip.
        frames: (T, S, S, 3) uint8; an array, or pictures of a shard that are read when they are indexed.
        faces: (T, 3, S, S) uint8, the drawn faces of `FaceImages`, 255 for 1; likewise.
        mouth: (T, 2) float32, the middle of the lips in pixels.
        coefficients: of T frames, of one identity and crop.
        sound: (T, D) sound vectors; no row where there is no sound.
        place: (5,) the window's left, top and side, and the picture's width and height, in pixels.
    """

    name: str
    frames: np.ndarray | StoredPictures
    faces: np.ndarray | StoredPictures
    mouth: np.ndarray
    coefficients: Coefficients
    sound: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self) -> dict[str, np.ndarray]:
        """All but the pictures, by the names in `ROWS`; float32."""
        held = {name: getattr(self, name) for name in ("mouth", "sound", "place")}
        held |= {name: getattr(self.coefficients, name) for name in ("expression", "pose", "crop")}
        return {name: np.asarray(held[name], np.float32) for name in ROWS}

    @staticmethod
    def of_rows(
        name: str,
        frames: np.ndarray | StoredPictures,
        faces: np.ndarray | StoredPictures,
        rows: Mapping[str, np.ndarray],
    ) -> RendererLesson:
        """The lesson of pictures and what `rows` gave."""
        mouth, expression, pose, crop, sound, place = (rows[row] for row in ROWS)
        return RendererLesson(name, frames, faces, mouth, Coefficients(expression, pose, crop), sound, place)

    @property
    def window(self) -> HeadWindow:
        """What of the clip's pictures is seen."""
        left, top, side = self.place[:3].tolist()
        return HeadWindow(left, top, side, self.frames.shape[1])

    @property
    def picture_size(self) -> tuple[float, float]:
        """Width and height of the clip's pictures in pixels."""
        return float(self.place[3]), float(self.place[4])


def prepare(
    files: list[CorpusFile],
    model: MorphableModel,
    size: int,
    hear: Callable[[CorpusFile, int], np.ndarray],
    longest: int = _LONGEST,
    log: Callable[[str], None] = print,
) -> Iterator[RendererLesson]:
    """Lessons of some clips, one after the other; clips without faces are left out.

    Args:
        files: clips of the corpus.
        model: fits the faces.
        size: S.
        hear: the sound vectors of a clip's first so many frames; none where it has no sound.
        longest: frames of a clip that are used.
        log: told of each clip.
    """
    for file, footage in read_footage(files, longest):
        log(f"preparing {file.name}")
        sound = hear(file, len(footage.frames))
        if len(footage.frames) < min(longest, VideoReader(file.path).frames):  # where one is missing is unknown
            sound = sound[:0]
        yield lesson(file.name, footage, model, size, sound)


def lesson(name: str, footage: Footage, model: MorphableModel, size: int, sound: np.ndarray) -> RendererLesson:
    """A lesson of tracked footage."""
    portrait = footage.portrait(0, model)
    fitted = footage.fit(portrait, np.arange(len(footage.frames)))
    window = HeadWindow.of(portrait, size)
    draw = FaceImages(portrait, window)
    frames = np.stack([window.cut(frame) for frame in footage.frames])
    faces = np.rint(255 * draw(fitted)).astype(np.uint8)
    mouth = draw.points(fitted)[:, topology.LIPS].mean(1).astype(np.float32)
    place = np.array([window.left, window.top, window.side, *footage.size])
    return RendererLesson(name, frames, faces, mouth, fitted, sound[: len(frames)], place)


@lru_cache(maxsize=1)
def _phone_net() -> PhoneNet:
    from pipeline.drivers.talking import TalkingDriver

    return TalkingDriver.from_pretrained().phone_net


def clip_sound(file: CorpusFile, frames: int) -> np.ndarray:
    """The sound vectors of a clip's first frames, moved by its lag; (0, D) where it has no sound."""
    from pipeline.audio.reading import read_audio
    from pipeline.drivers.sound_window import SOUND_VECTOR_DIM, stream_sound_vectors
    from pipeline.errors import AudioError

    if file.kind not in ("talk", "synthetic"):
        return np.zeros((0, SOUND_VECTOR_DIM), np.float32)
    try:
        samples = read_audio(file.path)
    except AudioError:
        return np.zeros((0, SOUND_VECTOR_DIM), np.float32)
    rows = np.concatenate(list(stream_sound_vectors([samples], _phone_net())))
    return rows[np.clip(np.arange(frames) - file.lag, 0, len(rows) - 1)]
