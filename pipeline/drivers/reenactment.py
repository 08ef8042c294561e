"""Reenactment: coefficients taken from a driving video (HeadGAN's and PIRenderer's task, with our own model)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.drivers.mouth import Mouth
from pipeline.face.checks import several_faces
from pipeline.face.follower import LOOK, FaceFollower, find_face, follow_face
from pipeline.face.measures import lid_opening, lip_opening, lip_width
from pipeline.face.mouth_inside import BRIGHTEST, mouth_inside
from pipeline.face.portrait import Portrait
from pipeline.face.tracker import Face
from pipeline.video import VideoReader

_CHUNK = 50
_BLACK = 0.25  # share of the cheeks' colour below which all is dark
_TOUCHING = 0.0015  # face heights between closed lips
_RETURN = 12  # frames that a head takes to go to rest when the driving face is gone, and back when it returns


class ReenactmentDriver:
    """Callable that yields the coefficients of a driving video in chunks, tracked as they are asked for.

    Args:
        video: the driving video.
        portrait: what will be moved.
        relative: carry over changes (another person) or values (the same person, the same framing).
        expression_scale: 0 to 2, of the expression's change from the portrait's own.
        motion_scale: 0 to 2, of the pose's change from the portrait's own.
        warnings: takes a sentence for each oddity found on the way.
    """

    def __init__(
        self,
        video: VideoReader,
        portrait: Portrait,
        relative: bool,
        expression_scale: float,
        motion_scale: float,
        warnings: list[str],
    ) -> None:
        self._video = video
        self._portrait = portrait
        self._relative = relative
        self._scales = (expression_scale, motion_scale)
        self._warnings = warnings
        self._mouth = Mouth.of(portrait.model)
        self._shown = mouth_inside(portrait.image, portrait.landmarks)

    def check(self) -> None:
        """Look for a face in the video's beginning.

        Raises:
            VideoError: if there is none in its first ten seconds.
        """
        _, others = find_face(self._video)
        if others:
            self._warnings.append(f"{several_faces(others)} in the video; the largest is followed.")

    def __call__(self) -> Iterator[Coefficients]:
        portrait, model = self._portrait, self._portrait.model
        own = portrait.coefficients
        identity, crop, start = (None if self._relative else portrait.identity), None, None
        missing = total = 0
        shown = self._shown
        rest = np.concatenate([own.expression[0], own.pose[0], shown])
        seen: list[np.ndarray] = []

        def look(frame: np.ndarray, face: Face | None) -> None:
            seen.append(shown if face is None else mouth_inside(frame, face.landmarks))

        last, presence = rest, 1.0
        chunks = (LOOK if self._relative else _CHUNK, _CHUNK)
        with FaceFollower() as follower:
            for landmarks, found in follow_face(self._video, follower, chunks, look):
                total += len(found)
                missing += int((~found).sum())
                rows = np.tile(last, (len(found), 1))
                if found.any():
                    identity, fitted = model.fit(landmarks[found], self._video.size, identity, crop)
                    crop = fitted.crop[0]
                    fitted = replace(fitted, inside=np.stack(seen)[found])
                    if start is None:
                        start = self._most_alike(fitted, identity)
                    rows[found] = np.concatenate([self._transfer(fitted, start), self._inside(fitted, start)], -1)
                seen.clear()
                for i, there in enumerate(found):
                    last = rows[i].copy() if there else last
                    # The last known face is let go, not frozen in mid-word; one that is back is not jumped to.
                    presence = min(1.0, max(0.0, presence + (1 if there else -1) / _RETURN))
                    rows[i] = rest + presence**2 * (3 - 2 * presence) * (last - rest)
                crops = np.tile(own.crop[0], (len(rows), 1))
                yield Coefficients(rows[:, :64], rows[:, 64:70], crops, inside=rows[:, 70:])
        if missing:
            self._warnings.append(f"No face was found in {missing} of {total} frames; the head rests there.")

    def _transfer(self, driving: Coefficients, start: Coefficients) -> np.ndarray:
        """(T, 70) expression and pose of the portrait for those of the driving face."""
        own = self._portrait.coefficients
        expression_scale, motion_scale = self._scales
        expression, pose = driving.expression, driving.pose
        if self._relative:
            expression, pose = expression - start.expression, pose - start.pose
        else:
            expression, pose = expression - own.expression, self._placed(driving) - own.pose
        pose[:, :3] = (pose[:, :3] + np.pi) % (2 * np.pi) - np.pi
        moved = self._with_lips_apart(own.expression + expression_scale * expression)
        return np.concatenate([moved, own.pose + motion_scale * pose], -1)

    def _inside(self, driving: Coefficients, start: Coefficients) -> np.ndarray:
        """(T, 27) what the portrait's mouth shows inside for what the driving one does.

        Another person's teeth are not as white as this one's, nor is the light on them: what counts is how many times
        as bright as in the frame most like the portrait they are. Colours near black say little by themselves.
        """
        seen = driving.inside
        if self._relative:
            seen = (self._shown + _BLACK) * (seen + _BLACK) / (start.inside + _BLACK) - _BLACK
        return self._shown + min(1.0, self._scales[0]) * (np.clip(seen, 0, BRIGHTEST) - self._shown)

    def _with_lips_apart(self, expression: np.ndarray) -> np.ndarray:
        """(T, 64) with lips that would run through one another just touching: others close from further apart."""
        portrait = self._portrait
        own, opening = (
            self._mouth.geometry(portrait.identity, beta)[:, 0]
            for beta in (portrait.coefficients.expression, expression)
        )
        return self._mouth.opened(expression, np.maximum(np.minimum(own, _TOUCHING) - opening, 0))

    def _placed(self, driving: Coefficients) -> np.ndarray:
        """(T, 6) the driving pose as one that counts from the portrait's crop and not from the video's."""
        own = self._portrait.coefficients.crop[0]
        (width, height), (columns, rows) = self._video.size, self._portrait.size
        x = driving.crop[:, 0] + driving.crop[:, 2] * driving.pose[:, 3] * height / width
        y = driving.crop[:, 1] + driving.crop[:, 2] * driving.pose[:, 4]
        size = driving.pose[:, 5] + np.log(driving.crop[:, 2] / own[2])
        shift = np.stack([(x - own[0]) * columns / rows, y - own[1]], -1) / own[2]
        return np.concatenate([driving.pose[:, :3], shift, size[:, None]], -1)

    def _most_alike(self, driving: Coefficients, identity: np.ndarray) -> Coefficients:
        """The frame in which lips, lids and the head's turn are most as in the portrait.

        Measured on the faces: β itself keeps traces of who it is, which would outweigh a mouth that is open.
        """
        portrait, own = self._portrait, self._portrait.coefficients
        looks = _look(portrait.model.shape(identity, driving.expression))
        look = _look(portrait.model.shape(portrait.identity, own.expression))
        turn = (driving.pose[:, :3] - own.pose[:, :3]) / 0.15
        return driving[int(np.argmin((((looks - look) / 0.015) ** 2).sum(-1) + (turn**2).sum(-1)))]


def _look(shapes: np.ndarray) -> np.ndarray:
    """(T, 3) openings of lips and lids and a third of the mouth's width, of (T, 478, 3) faces."""
    return np.stack([lip_opening(shapes), lid_opening(shapes).mean(-1), lip_width(shapes) / 3], -1)
