"""Generated clips against real ones: `evaluate GENERATED REAL`, two videos or two folders of the same names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, VideoError
from pipeline.evaluation.distances import expression_l1, frechet_distance, pose_l1
from pipeline.evaluation.lips import MIN_FRAMES, lip_distance, lip_sync, spread_ratio
from pipeline.evaluation.pictures import cpbd, grown_box, psnr, ssim
from pipeline.evaluation.tables import Column, Row, Table
from pipeline.evaluation.tracks import Track, track_video
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED

Progress = Callable[[str, int, int], None]
FACE_MODEL = EMBEDDED / "face"
VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"}

COLUMNS = [
    Column("clip", "clip", total=""),
    Column("frames", "frames", 0, "sum"),
    Column("psnr", "PSNR dB"),
    Column("psnr_face", "face dB"),
    Column("ssim", "SSIM", 3),
    Column("cpbd", "CPBD", 3),
    Column("cpbd_real", "real", 3),
    Column("lmd", "LMD %"),
    Column("lmd_px", "px"),
    Column("lmd_aligned", "aligned %"),
    Column("lip_r", "lip r", 3),
    Column("lip_lag", "lag", 0, ""),
    Column("lip_r_at_lag", "r there", 3),
    Column("lip_spread", "spread"),
    Column("exp_l1", "ExpL1", 3),
    Column("pose_l1", "PoseL1", 4),
    Column("exp_fd", "ExpFD", 3),
    Column("pose_fd", "PoseFD", 4),
]
_NOTES = [
    "PSNR, SSIM, CPBD: means over frames, PSNR of a frame at most 60 dB; face: the real face's box, 10 % larger.",
    "LMD: 40 lip points in the picture's plane, as % of face height; aligned: the mouth's mean taken out.",
    "lip r: Pearson of inner-lip opening at the known offset ±1 frame; lag: best of ±12 (positive: real later).",
    "spread: standard deviation of the opening, generated over real. ExpFD, PoseFD below: all clips' frames pooled.",
]


@dataclass(frozen=True)
class PairResult:
    """One generated clip against its real one.

    Attributes:
        figures: values under the keys of `COLUMNS`, None where one could not be measured.
        generated: coefficients of the frames where both faces were found; None if these are too few.
        real: the same of the real clip.
    """

    figures: Row
    generated: Coefficients | None
    real: Coefficients | None


def evaluate_pair(
    generated: str | Path,
    real: str | Path,
    lag: int = 0,
    cache: str | Path | None = None,
    model: MorphableModel | None = None,
    progress: Progress | None = None,
) -> PairResult:
    """Measure a generated video against the real one; both are tracked anew, and no clip is held in memory.

    Frame t of the generated video is compared with frame t + lag of the real one, as far as both go. A
    generated video of another size is brought to the real one's; if its proportions differ by more than 1 %
    the figures that need the same picture (PSNR, SSIM, LMD unaligned) are left out.

    Args:
        generated: a video file.
        real: a video file.
        lag: frames by which the real picture is later, such as the corpus's `sync_lag`.
        cache: a folder that keeps tracks, see `track_video`.
        model: the morphable model behind ExpL1 and its like; None loads the embedded one.
        progress: called with the stage, frames done and frames in all.

    Raises:
        VideoError: if a video cannot be read, shows no face, or the two have no frame in common.
    """
    tracks = [track_video(path, cache) for path in (generated, real)]
    size = tracks[1].size
    comparable = abs(tracks[0].size[0] / tracks[0].size[1] / (size[0] / size[1]) - 1) < 0.01
    if comparable:
        tracks[0] = tracks[0].scaled(size)
    skip = max(0, -lag), max(0, lag)
    count = min(len(track) - first for track, first in zip(tracks, skip, strict=True))
    if count < 1:
        raise VideoError(f"{generated} and {real} share no frame at an offset of {lag}; check the offset.")
    ours, theirs = (_part(track, first, count) for track, first in zip(tracks, skip, strict=True))

    figures: Row = {"clip": Path(generated).stem, "frames": count}
    figures |= _pictures(generated, real, skip, theirs, comparable, progress)
    figures |= _lips(ours, theirs, comparable)
    figures |= _sync(*tracks, lag)
    distances, *coefficients = _coefficients(ours, theirs, model or MorphableModel.load(FACE_MODEL))
    return PairResult(figures | distances, *coefficients)


def evaluate_paths(
    generated: str | Path,
    real: str | Path,
    lag: int = 0,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Table:
    """Measure one generated video, or all of a folder, against the real ones of the same names.

    Args:
        generated: a video file or a folder of them.
        real: a video file, or a folder whose videos bear the same names (suffixes may differ).
        lag: as for `evaluate_pair`, of all pairs.
        cache: a folder that keeps tracks.
        progress: called with "evaluate", clips done and clips in all.

    Returns:
        A table with a row a clip; a clip that could not be measured bears the reason.

    Raises:
        VideoError: if the two are not both files or both folders, or no names match.
    """
    generated, real = Path(generated), Path(real)
    pairs, notes = _match(generated, real)
    model = MorphableModel.load(FACE_MODEL)
    rows, coefficients = [], []
    for done, (ours, theirs) in enumerate(pairs):
        if progress:
            progress("evaluate", done, len(pairs))
        try:
            result = evaluate_pair(ours, theirs, lag, cache, model)
        except InputError as error:
            if len(pairs) == 1:
                raise
            rows.append({"clip": ours.stem, "error": str(error)})
            continue
        rows.append(result.figures)
        if result.generated is not None and result.real is not None:
            coefficients.append((result.generated, result.real))
    if progress:
        progress("evaluate", len(pairs), len(pairs))
    table = Table(f"{generated} against {real}", COLUMNS, rows, notes=_NOTES + notes)
    if coefficients:
        ours, theirs = (Coefficients.concatenate(list(side)) for side in zip(*coefficients, strict=True))
        table.extra = {
            "exp_fd_pooled": frechet_distance(ours.expression, theirs.expression),
            "pose_fd_pooled": frechet_distance(ours.pose, theirs.pose),
        }
    return table


def _match(generated: Path, real: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    for path in (generated, real):
        if not path.exists():
            raise VideoError(f"There is no {path}; give a video or a folder of videos.")
    if generated.is_file() and real.is_file():
        return [(generated, real)], []
    if generated.is_file() or real.is_file():
        raise VideoError("Give two videos or two folders of videos, not one of each.")
    ours, theirs = ({p.stem: p for p in sorted(folder.iterdir()) if _is_video(p)} for folder in (generated, real))
    names = [name for name in ours if name in theirs]
    if not names:
        raise VideoError(f"No video in {generated} has a namesake in {real}; name them alike.")
    alone = sorted(set(ours) - set(theirs))
    notes = [f"Without a real clip of the same name, left out: {', '.join(alone)}."] if alone else []
    return [(ours[name], theirs[name]) for name in names], notes


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _part(track: Track, first: int, count: int) -> Track:
    part = slice(first, first + count)
    return Track(track.landmarks[part], track.found[part], track.size)


def _pictures(
    generated: str | Path,
    real: str | Path,
    skip: tuple[int, int],
    theirs: Track,
    comparable: bool,
    progress: Progress | None,
) -> Row:
    sums: dict[str, list[float]] = {key: [] for key in ("psnr", "psnr_face", "ssim", "cpbd", "cpbd_real")}
    for index, (ours, truth) in enumerate(_frames(generated, real, skip, len(theirs))):
        if progress:
            progress("compare", index, len(theirs))
        sums["cpbd"].append(cpbd(ours))
        sums["cpbd_real"].append(cpbd(truth))
        if not comparable:
            continue
        if ours.shape != truth.shape:
            ours = cv2.resize(ours, truth.shape[1::-1], interpolation=cv2.INTER_AREA)
        sums["psnr"].append(psnr(ours, truth))
        sums["ssim"].append(ssim(ours, truth))
        if theirs.found[index]:
            sums["psnr_face"].append(psnr(ours, truth, grown_box(theirs.landmarks[index], theirs.size)))
    return {key: float(np.mean(values)) if values else None for key, values in sums.items()}


def _frames(
    generated: str | Path, real: str | Path, skip: tuple[int, int], count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from pipeline.video import VideoReader

    ours, theirs = (islice(VideoReader(path), first, None) for path, first in zip((generated, real), skip, strict=True))
    return islice(zip(ours, theirs, strict=False), count)


def _lips(ours: Track, theirs: Track, comparable: bool) -> Row:
    both = ours.found & theirs.found
    row: Row = {"lmd": None, "lmd_px": None, "lmd_aligned": None}
    if not both.any():
        return row
    a, b = ours.landmarks[both], theirs.landmarks[both]
    if comparable:
        distance = lip_distance(a, b)
        row["lmd"] = 100 * float(distance.mean())
        row["lmd_px"] = float((distance * theirs.height[both]).mean())
    row["lmd_aligned"] = 100 * float(lip_distance(a, b, aligned=True).mean())
    return row


def _sync(ours: Track, theirs: Track, lag: int) -> Row:
    try:
        sync = lip_sync(ours.opening, theirs.opening, lag, ours.found, theirs.found)
        spread = spread_ratio(ours.opening[ours.found], theirs.opening[theirs.found])
    except ValueError:  # too short, or the real lips stand still: neither has a correlation or a spread
        return {"lip_r": None, "lip_lag": None, "lip_r_at_lag": None, "lip_spread": None}
    return {
        "lip_r": sync.correlation,
        "lip_lag": sync.lag,
        "lip_r_at_lag": sync.correlation_at_lag,
        "lip_spread": spread,
    }


def _coefficients(
    ours: Track, theirs: Track, model: MorphableModel
) -> tuple[Row, Coefficients | None, Coefficients | None]:
    both = ours.found & theirs.found
    if both.sum() < MIN_FRAMES:
        return {"exp_l1": None, "pose_l1": None, "exp_fd": None, "pose_fd": None}, None, None
    a, b = (model.fit(track.landmarks[both], track.size)[1] for track in (ours, theirs))
    row: Row = {
        "exp_l1": expression_l1(a, b),
        "pose_l1": pose_l1(a, b),
        "exp_fd": frechet_distance(a.expression, b.expression),
        "pose_fd": frechet_distance(a.pose, b.pose),
    }
    return {key: value if math.isfinite(value) else None for key, value in row.items()}, a, b
