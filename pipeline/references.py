"""Further pictures of a portrait's person, from files or from a short video, for renderers that take several."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import VideoError
from pipeline.face.morphable import MorphableModel
from pipeline.face.portrait import Portrait

if TYPE_CHECKING:
    from pipeline.face.tracker import FaceTracker
    from pipeline.portraits import Picture

MOST = 8
"""References of one portrait; Chen 2020 has 1, 8 and 32."""

_SHORT = 64  # frames of a reference video that are looked at, τ of Chen 2020 §5


def read_references(sources: Sequence[Picture], tracker: FaceTracker, model: MorphableModel) -> tuple[Portrait, ...]:
    """At most `MOST` further views of a person: each picture is one, and of a video the frames with the most unlike
    poses are taken.

    Args:
        sources: pictures as `Portrait.read` takes them, or video files.
        tracker: finds faces; this thread's own.
        model: fits them.

    Raises:
        PortraitError: if a picture cannot be read or holds no usable face.
        VideoError: if a video cannot be read or shows no face.
    """
    pictures = [source for source in sources if not _is_video(source)]
    videos = [source for source in sources if _is_video(source)]
    found = [Portrait.read(source, tracker, model, None) for source in pictures[:MOST]]
    room = MOST - len(found)
    for index, video in enumerate(videos):
        share = -(-room // (len(videos) - index))
        found += _views(video, share, model)
        room = MOST - len(found)
    return tuple(found)


def _is_video(source: Picture) -> bool:
    kind = mimetypes.guess_type(os.fspath(source))[0] if isinstance(source, str | os.PathLike) else None
    return (kind or "").startswith("video/")


def _views(path: Picture, count: int, model: MorphableModel) -> list[Portrait]:
    """So many frames of a video's beginning as portraits of one person."""
    from pipeline.face.follower import FaceFollower, no_face
    from pipeline.renderers.headgan_references import head_motion, spread_out
    from pipeline.renderers.neural import HeadWindow
    from pipeline.video import VideoReader

    video = VideoReader(path)
    landmarks: dict[int, np.ndarray] = {}
    with FaceFollower() as follower:
        for index, frame in enumerate(islice(video, _SHORT)):
            face = follower.follow(frame)
            if face is not None:
                landmarks[index] = face.landmarks
    if not landmarks:
        raise no_face(video)
    rows = np.stack(list(landmarks.values()))
    identity, fitted = model.fit(rows, video.size)
    whole = HeadWindow(0, 0, video.size[1], video.size[1])
    chosen = spread_out(head_motion(fitted, whole, video.size), count)
    wanted = {list(landmarks)[i]: rows[i] for i in chosen.tolist()}
    views = []
    for index, frame in enumerate(islice(video, _SHORT)):
        if index in wanted:
            views.append(Portrait.fit(frame, wanted[index], np.ones(frame.shape[:2], np.float32), model, identity))
    if len(views) < len(wanted):
        raise VideoError(f"{video.path.name} could be read only once; save it as a file and give that.")
    return views
