"""Suite `background`: what stands behind the person must stand still while the head moves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.corpus import SYNC_R, Clip, select
from pipeline.evaluation.pictures import background_change
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Check, Column, Row, Table

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

SECONDS = 4  # the speech clip nearest to this length is spoken
_ALPHA = 0.05  # pixels with more of the person than this are not background
_MARGIN = 0.02  # share of the picture's longer side kept clear of the person
_MATTE_STEP = 10  # the person is segmented in every tenth frame, and in all of them taken to be where any shows it
_LEAST_SHARE = 0.01  # with less background than this there is nothing to measure

_COLUMNS = [
    Column("clip", "portrait", total=""),
    Column("frames", "frames", 0, "sum"),
    Column("share", "background", 2),
    Column("change", "change /255", 3),
    Column("worst_frame", "worst frame", 3),
    Column("mp4_change", "in MP4", 3),
    Column("mp4_flicker", "frame to frame", 3),
    Column("mp4_from_portrait", "from portrait", 3),
]


@dataclass(frozen=True)
class Task:
    """A portrait, and the clip whose speech it speaks."""

    portrait: Clip
    speech: Clip

    @property
    def name(self) -> str:
        """The portrait's."""
        return self.portrait.name


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Task]:
    """All portraits of the split."""
    speech = select(clips, ("talk",), options.split, min_sync=SYNC_R)
    nearest = min(speech, key=lambda clip: abs(clip.seconds - SECONDS))
    return [Task(portrait, nearest) for portrait in select(clips, ("portrait",), options.split)]


def measure(pipeline: ConversationalHeadPipeline, task: Task, options: SuiteOptions) -> Row:
    """Change of the background against the portrait itself, over all frames of a talking clip."""
    from pipeline.face.image import read_image
    from pipeline.face.segmentation import Segmenter
    from pipeline.face.tracker import FaceTracker
    from pipeline.video import VideoReader

    clip = pipeline.talk(str(task.portrait.path), str(task.speech.path), seed=options.seed, **options.pipeline)
    portrait = read_image(task.portrait.path)
    with tempfile.TemporaryDirectory(prefix="tete-") as folder:
        # Both passes read one file: the first finds where the person ever is, the second measures the rest.
        path = Path(folder) / "clip.mp4"
        clip.save(str(path))
        frames = VideoReader(path)
        person: np.ndarray | None = None
        count = 0
        with Segmenter() as segmenter, FaceTracker() as tracker:
            for count, frame in enumerate(frames, 1):
                shown = [frame] if (count - 1) % _MATTE_STEP == 0 else []
                if count == 1:
                    portrait = _fit(portrait, frame.shape)
                    shown.append(portrait)
                for picture in shown:
                    for face in tracker.find(picture)[:1]:
                        alpha = segmenter.person_alpha(picture, face.landmarks)
                        person = alpha if person is None else np.maximum(person, alpha)
        if person is None:
            raise InputError("No face was found in the generated clip.")
        background = background_mask(person)
        share = float(background.mean())
        if share < _LEAST_SHARE:
            return {"frames": count, "share": share, "change": None}
        drifts, flickers = _changes(frames, next(iter(frames)), background)
        losses, _ = _changes(frames, portrait, background)
    changes, _ = _changes(clip.frames, portrait, background)
    return {
        "frames": count,
        "share": share,
        "change": float(np.mean(changes)),
        "worst_frame": max(changes),
        "mp4_change": float(np.mean(drifts)),
        "mp4_flicker": float(np.mean(flickers)) if flickers else 0.0,
        "mp4_from_portrait": float(np.mean(losses)),
    }


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All portraits, and what issue 2 asks of them."""
    result = Table("background: pixels outside the person, of 255", _COLUMNS, rows)
    changes = result.values("change")
    result.extra = {"worst_change": float(changes.max()) if len(changes) else None}
    result.checks = [
        Check("background change from the portrait, of 255", result.mean("change"), high=1.0),
        Check("background change within the MP4, of 255", result.mean("mp4_change"), high=1.0),
    ]
    result.notes = [
        "Mean absolute difference where neither the portrait nor any frame shows the person. change: of the frames "
        "from the portrait; in MP4: of the saved file's frames from its own first; from portrait: of the saved file "
        "from the portrait, of which yuv420p alone takes 0.7 to 2 even from a still picture.",
        "The mattes are the pipeline's own, so background that it takes for person is not seen here. Portraits with "
        f"less than {_LEAST_SHARE:.0%} of background show '-'.",
    ]
    return result


def background_mask(person: np.ndarray) -> np.ndarray:
    """(H, W) bool: where the matte `person` (H, W) of 0 to 1 is clear, a margin around the person left out."""
    margin = max(1, round(_MARGIN * max(person.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return cv2.dilate((person > _ALPHA).astype(np.uint8), kernel) == 0


def _changes(
    frames: Iterable[np.ndarray], portrait: np.ndarray, background: np.ndarray
) -> tuple[list[float], list[float]]:
    changes, flickers = [], []
    before = None
    for frame in frames:
        changes.append(background_change(frame, portrait, background))
        if before is not None:
            flickers.append(background_change(frame, before, background))
        before = frame
    return changes, flickers


def _fit(portrait: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The portrait as the video shows it: without the last row or column of odd sides, or scaled to its size."""
    height, width = shape[:2]
    if portrait.shape[0] - height in (0, 1) and portrait.shape[1] - width in (0, 1):
        return portrait[:height, :width]
    return cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)
