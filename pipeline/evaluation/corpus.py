"""The corpus's manifest: which clips, portraits and sounds a suite measures on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

SYNC_R = 0.35  # lip figures are taken on clips whose sound is this face's beyond doubt


@dataclass(frozen=True)
class Clip:
    """A file of the corpus.

    Attributes:
        path: the file.
        kind: talk, silent, portrait, ...
        seconds: 0 for pictures.
        sync_lag: frames by which the picture is later than the sound.
        sync_r: how well the lips fit the sound; NaN if unknown.
    """

    path: Path
    kind: str
    split: str
    seconds: float
    sync_lag: int
    sync_r: float

    @property
    def name(self) -> str:
        """Kind and file name, for tables."""
        return f"{self.kind}/{self.path.stem}"


def read_manifest(corpus: str | Path) -> list[Clip]:
    """All files of the corpus in `MANIFEST.csv`.

    Raises:
        InputError: if the folder holds no corpus; ViCo's layout is told of.
    """
    path = Path(corpus) / "MANIFEST.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [_clip(Path(corpus), row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        from pipeline.training.vico import is_vico

        if is_vico(corpus):
            raise InputError(
                f"{corpus} has ViCo's layout; make a corpus of it by `python -m pipeline.training.vico {corpus} "
                "FOLDER` and give that folder."
            ) from error
        raise InputError(f"{corpus} holds no corpus (a MANIFEST.csv with its files); give its folder.") from error


def select(clips: list[Clip], kinds: tuple[str, ...], split: str, min_sync: float | None = None) -> list[Clip]:
    """The clips of some kinds and one split ("all" for every split), in the order of `kinds` and the manifest.

    Args:
        clips: of `read_manifest`.
        kinds: of files.
        split: train, val, test or all.
        min_sync: leaves out clips whose `sync_r` is below or unknown.

    Raises:
        InputError: if none is left.
    """
    chosen = [
        clip
        for kind in kinds
        for clip in clips
        if clip.kind == kind and split in ("all", clip.split) and (min_sync is None or clip.sync_r >= min_sync)
    ]
    if not chosen:
        raise InputError(f"The corpus has no {' or '.join(kinds)} files in the split {split!r}; try val or train.")
    return chosen


def _clip(corpus: Path, row: dict[str, str]) -> Clip:
    return Clip(
        path=corpus / row["path"],
        kind=row["kind"],
        split=row["split"],
        seconds=float(row["seconds"] or 0),
        sync_lag=int(row["sync_lag"] or 0),
        sync_r=float(row["sync_r"] or "nan"),
    )
