"""The corpus on disk: its manifest, and its clips tracked and fitted once, then kept in a folder.

The footage itself is never copied; the folder holds coefficients only, and belongs outside the repository.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.errors import InputError, VideoError
from pipeline.face.morphable import MorphableModel


@dataclass(frozen=True)
class CorpusFile:
    """A row of MANIFEST.csv. `lag` is in frames, positive where the picture is later than the sound; `sync` is how
    well sound and lips agree there (0 where it was not measured)."""

    path: Path
    kind: str
    split: str
    speaker: str
    seconds: float
    lag: int
    sync: float
    generated: bool

    @property
    def name(self) -> str:
        return f"{self.kind}__{self.path.stem}"


@dataclass(frozen=True)
class TrackedClip:
    """A clip's coefficients, one row a frame; rows without a face repeat their nearest neighbour with one.

    Attributes:
        file: where it comes from.
        identity: α (K,).
        coefficients: of T frames.
        found: (T,) bool, whether a face was tracked.
    """

    file: CorpusFile
    identity: np.ndarray = field(repr=False)
    coefficients: Coefficients = field(repr=False)
    found: np.ndarray = field(repr=False)


def read_manifest(corpus: str | Path) -> list[CorpusFile]:
    """All rows of the corpus's MANIFEST.csv, in its order.

    Raises:
        InputError: if there is no corpus at `corpus`.
    """
    corpus = Path(corpus)
    try:
        with (corpus / "MANIFEST.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{corpus} holds no corpus; give the folder in which MANIFEST.csv is.") from error
    return [
        CorpusFile(
            path=corpus / row["path"],
            kind=row["kind"],
            split=row["split"],
            speaker=row["speaker_id"] or row["path"],
            seconds=float(row["seconds"] or 0),
            lag=int(row["sync_lag"] or 0),
            sync=float(row["sync_r"] or 0),
            generated=row["real_or_generated"] == "generated",
        )
        for row in rows
    ]


def tracked_clips(
    corpus: str | Path,
    kinds: Iterable[str],
    split: str | None,
    cache: str | Path,
    model: MorphableModel | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> list[TrackedClip]:
    """Clips of some kinds with their coefficients; those not in `cache` yet are tracked, which takes about as
    long as a tenth of the footage, and kept there.

    Args:
        corpus: the folder with MANIFEST.csv.
        kinds: "talk", "synthetic", "silent", "listen".
        split: "train", "val", or None for both.
        cache: a folder for the results; those of another morphable model must not be in it.
        model: fits the faces; the embedded one unless given.
        log: told of each clip that is tracked.

    Raises:
        InputError: if there is no corpus.
    """
    kinds = set(kinds)
    files = [file for file in read_manifest(corpus) if file.kind in kinds and split in (None, file.split)]
    return tracked_files(files, cache, model, log)


def tracked_files(
    files: Iterable[CorpusFile],
    cache: str | Path,
    model: MorphableModel | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> list[TrackedClip]:
    """Given clips with their coefficients, as `tracked_clips` has them; those without any face are left out."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    clips = []
    for file in files:
        kept = cache / f"{file.name}.npz"
        if not kept.exists():
            log(f"tracking {file.name}")
            model = model or _embedded_model()
            if not _track(file, model, kept):
                log(f"no face in {file.name}")
                continue
        with np.load(kept) as arrays:
            coefficients = Coefficients(arrays["expression"], arrays["pose"], arrays["crop"])
            clips.append(TrackedClip(file, arrays["identity"], coefficients, arrays["ok"].astype(bool)))
    return clips


def _embedded_model() -> MorphableModel:
    return MorphableModel.load(Path(__file__).resolve().parents[2] / "weights" / "face")


def _track(file: CorpusFile, model: MorphableModel, target: Path) -> bool:
    """Track and fit one clip; False if it shows no face."""
    from pipeline.face.follower import FaceFollower
    from pipeline.face.measures import lip_opening
    from pipeline.video import VideoReader

    video = VideoReader(file.path)
    with FaceFollower() as follower:
        faces = [follower.follow(frame) for frame in video]
    found = np.array([face is not None for face in faces])
    if not found.any():
        return False
    landmarks = np.stack([face.landmarks for face in faces if face is not None])
    identity, fitted = model.fit(landmarks, video.size)
    index = np.flatnonzero(found)
    nearest = np.rint(np.interp(np.arange(len(found)), index, np.arange(len(index)))).astype(int)
    np.savez(
        target,
        expression=fitted.expression[nearest],
        pose=fitted.pose[nearest],
        crop=fitted.crop[nearest],
        identity=identity,
        opening=lip_opening(landmarks)[nearest].astype(np.float32),
        ok=found,
    )
    return True


def check_found(clips: list[TrackedClip]) -> list[TrackedClip]:
    """Those clips in which a face was found in nearly every frame.

    Raises:
        VideoError: if none is left.
    """
    good = [clip for clip in clips if clip.found.mean() > 0.9]
    if not good:
        raise VideoError("No clip of the corpus shows a face throughout; check the corpus and the cache folder.")
    return good
