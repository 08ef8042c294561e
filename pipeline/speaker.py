"""The speaker in a video: whom the listener sees, as coefficients, and where in the picture they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clip import Progress
from pipeline.clock import FPS
from pipeline.coefficients import Coefficients
from pipeline.errors import InputError
from pipeline.face.checks import several_faces
from pipeline.face.follower import LOOK, FaceFollower, follow_face, no_face
from pipeline.face.morphable import MorphableModel
from pipeline.video import VideoReader

if TYPE_CHECKING:
    from pipeline.drivers.listening import ListeningDriver
    from pipeline.drivers.words import WordTrack

_CHUNK = 250
_ALIKE = 5  # frames by which picture and sound may differ in length without a word: codecs pad


class Speaker:
    """What is seen of a speaker: the largest face of a video, followed as it is asked for.

    Args:
        video: the speaker's video; it may be longer or shorter than the sound.
        frames: how many the sound has; what the video shows after them is not looked at.
        model: fits the face.
        warnings: takes sentences on what was odd, once the video was followed to its end.
        progress: told of the stage "speaker", frame by frame, while the first ten seconds are followed, which is at
            once; raise `Cancelled` in it to stop.

    Attributes:
        box: left, top, right and bottom of the face in those ten seconds, in pixels of the video's frames.

    Raises:
        VideoError: if there is no face in the first ten seconds.
    """

    def __init__(
        self,
        video: VideoReader,
        frames: int,
        model: MorphableModel,
        warnings: list[str],
        progress: Progress | None = None,
    ) -> None:
        self._video, self._frames, self._model, self._warnings = video, frames, model, warnings
        self._told = False
        self.box = (0.0, 0.0, 0.0, 0.0)
        following = self._follow(progress)
        self._begun: Iterator[Coefficients] | None = chain([next(following)], following)

    def faces(self) -> Iterator[Coefficients]:
        """Coefficients in chunks, at most as many frames as the sound has; where no face was found, the last known.

        Each call begins anew; the first one goes on with what was followed already.
        """
        begun, self._begun = self._begun, None
        return self._follow(None) if begun is None else begun

    def _follow(self, progress: Progress | None) -> Iterator[Coefficients]:
        count = missing = 0
        identity = crop = last = None
        total = max(1, min(self._video.frames, self._frames, LOOK))
        with FaceFollower() as follower:
            pictures = _counted(islice(self._video, self._frames), total, progress)
            for landmarks, found in follow_face(pictures, follower, (LOOK, _CHUNK)):
                missing += int((~found).sum())
                if found.any():
                    identity, fitted = self._model.fit(landmarks[found], self._video.size, identity, crop)
                    crop = fitted.crop[0]
                elif last is None:
                    raise no_face(self._video)
                else:
                    fitted = last
                if last is None:
                    self.box = _box(landmarks[found])
                part = _held(fitted, found, fitted[0] if last is None else last)
                last, count = part[-1], count + len(part)
                yield part
            others = follower.others
        if not count:
            raise no_face(self._video)
        if not self._told:
            self._told = True
            self._warnings += _warnings(count, missing, others, self._video.frames, self._frames)


def sound_of(video: VideoReader | None) -> Path:
    """The file that a speaker's sound comes from when none is given: their video.

    Raises:
        InputError: if there is no video, or it has no sound.
    """
    if video is None:
        raise InputError("There is nothing to listen to; give the speaker's sound, or a video of the speaker.")
    if not video.has_sound:
        raise InputError(f"{video.path.name} has no sound; give the speaker's sound beside it.")
    return video.path


def words_of(
    audio: str | os.PathLike[str],
    transcript: str | None,
    language_model: str | None,
    driver: ListeningDriver,
    warnings: list[str],
) -> WordTrack | None:
    """What the speaker says, as vectors of meaning; None where it would change nothing.

    Args:
        audio: the speaker's sound; read whole.
        transcript: what is said; without it a recogniser from the Hub is asked.
        language_model: a BERT's name on the Hub, or its folder, which alone can give the vectors.
        driver: what the words are for.
        warnings: takes a sentence if words were given, but are of no use.

    Raises:
        InputError: if models can't be had.
    """
    if language_model is None:
        if transcript:
            warnings.append("The transcript was not used; name a language model that tells what its words mean.")
        return None
    if not driver.uses_words:
        warnings.append("The words were not used; the listening driver's weights were trained without any.")
        return None
    from pipeline.audio.reading import read_audio
    from pipeline.drivers.words import RECOGNISER, word_track

    return word_track(read_audio(audio), transcript, language_model, RECOGNISER)


def _counted(pictures: Iterator[np.ndarray], total: int, progress: Progress | None) -> Iterator[np.ndarray]:
    for done, picture in enumerate(pictures):
        if progress is not None and done < total:
            progress("speaker", done, total)
        yield picture


def _held(fitted: Coefficients, found: np.ndarray, before: Coefficients) -> Coefficients:
    """Coefficients of all frames: those that have a face, and else the last that had, `before` being the earliest."""
    rows = Coefficients.concatenate([before, fitted])
    index = np.cumsum(found) if found.any() else np.zeros(len(found), int)
    return Coefficients(rows.expression[index], rows.pose[index], rows.crop[index])


def _box(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what the face covers in most of T frames (T, 478, 3)."""
    low, high = landmarks[..., :2].min(1), landmarks[..., :2].max(1)
    left, top = np.quantile(low, 0.1, axis=0)
    right, bottom = np.quantile(high, 0.9, axis=0)
    return float(left), float(top), float(right), float(bottom)


def _warnings(seen: int, missing: int, others: int, shown: int, heard: int) -> list[str]:
    found = []
    if others:
        found.append(f"{several_faces(others)} in the speaker's video; the largest is followed.")
    if missing:
        found.append(
            f"The speaker's face was not found in {missing} of {seen} frames; there it is taken to stay still."
        )
    if heard - seen > _ALIKE:
        found.append(
            f"The speaker's picture ends {(heard - seen) / FPS:.1f} s before the sound; from there on the listener "
            "goes by the sound alone."
        )
    elif seen == heard and shown - heard > _ALIKE:
        found.append(
            f"The speaker's picture lasts {(shown - heard) / FPS:.1f} s longer than the sound; the clip ends with the "
            "sound."
        )
    return found
