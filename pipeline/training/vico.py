"""Data in ViCo's layout as lessons: whoever holds ViCo can train the listening driver on real listeners.

    folder/videos/<uuid>.listener.mp4   folder/videos/<uuid>.speaker.mp4   folder/audios/<uuid>.wav
    folder/*.csv                        a row a clip, comma-separated with a header

Two forms of the CSV are in use and both are read: the dataset's, whose columns `attitude`, `audio`, `listener`,
`speaker` name files, with `listener_id`, `speaker_id` and `data_split`; and the challenge's, whose `uuid` (with
`speaker_id`, `listener_id`) names them all (Zhou 2022, vico.solutions; the challenge's data has no attitudes).

    python -m pipeline train listening --corpus VICO                              # learn from it
    python -m pipeline.training.vico VICO FOLDER                                  # make a corpus of it, and
    python -m pipeline evaluate --suite listen --corpus FOLDER --split val        # measure on it
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.attitudes import ATTITUDES
from pipeline.audio.reading import read_audio
from pipeline.clock import FPS
from pipeline.drivers.mouth import Mouth
from pipeline.errors import InputError
from pipeline.face.morphable import MorphableModel
from pipeline.training.corpus import CorpusFile, TrackedClip, tracked_files
from pipeline.training.listening_lessons import ListeningLesson, embedded_model, real_lesson

_COLUMNS = ("path", "kind", "split", "speaker_id", "real_or_generated", "seconds", "sync_lag", "sync_r", "notes")
_AUDIO, _VIDEO = (".wav", ".m4a", ".mp3", ".flac"), (".mp4", ".mov", ".avi", ".mkv")


@dataclass(frozen=True)
class VicoClip:
    """A row of the CSV: files, an index into `ATTITUDES` or None where it is not told, and the listener's id."""

    name: str
    audio: Path
    listener: Path
    speaker: Path | None
    attitude: int | None
    listener_id: str
    split: str


def read_vico(
    folder: str | Path,
    cache: str | Path,
    split: str | None = "train",
    model: MorphableModel | None = None,
    log: Callable[[str], None] = print,
) -> list[ListeningLesson]:
    """All listeners of a folder in ViCo's layout, as the driver learns them.

    Videos are tracked once and kept in `cache`/vico; those without a face are left out, and told of.

    Args:
        folder: with videos, audios and a CSV.
        cache: keeps tracks.
        split: "train", "val", "test" (of the column `data_split`; rows without one belong to all), or None for all.
        model: fits the faces; the embedded one unless given.
        log: told of progress.

    Raises:
        InputError: if the folder is not in that layout, or no row could be used.
    """
    model = model or embedded_model()
    mouth = Mouth.of(model)
    lessons = []
    for clip in vico_clips(folder):
        if split is not None and clip.split not in ("", split):
            continue
        files = [clip.listener] + ([clip.speaker] if clip.speaker is not None else [])
        tracks = _tracked(files, clip, Path(cache) / "vico", model, log)
        listener = tracks.get(clip.listener)
        if listener is None or listener.found.mean() < 0.5:
            log(f"no face throughout {clip.listener.name}")
            continue
        partner = None if clip.speaker is None else tracks.get(clip.speaker)
        lesson = real_lesson(listener, partner, read_audio(clip.audio), clip.attitude, model, mouth)
        if lesson is not None:
            lesson.name = clip.name
            lessons.append(lesson)
    if not lessons:
        raise InputError(f"No row of the CSV in {folder} could be used; check that videos/ and audios/ hold its files.")
    return lessons


def vico_clips(folder: str | Path) -> list[VicoClip]:
    """The rows of all CSV files in a folder, files found; rows whose listener or sound is missing are left out.

    Raises:
        InputError: if there is no CSV with the columns, or an attitude is unknown.
    """
    folder = Path(folder)
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        raise InputError(f"{folder} holds no CSV file; give a folder in ViCo's layout: videos, audios and a CSV.")
    clips: dict[str, VicoClip] = {}
    for table in tables:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = {(name or "").strip().lower() for name in reader.fieldnames or ()}
            if not ("uuid" in columns or {"audio", "listener"} <= columns):
                raise InputError(f"{table} lacks columns; ViCo's are attitude, audio, listener, speaker, or uuid.")
            for row in reader:
                clip = _clip(folder, {(k or "").strip().lower(): (v or "").strip() for k, v in row.items()}, table)
                if clip is not None:
                    clips.setdefault(clip.name, clip)
    return list(clips.values())


def _clip(folder: Path, row: dict[str, str], table: Path) -> VicoClip | None:
    uuid = row.get("uuid", "")
    audio = _find(folder / "audios", row.get("audio") or uuid, _AUDIO)
    listener = _find(folder / "videos", row.get("listener") or f"{uuid}.listener", _VIDEO)
    speaker = _find(folder / "videos", row.get("speaker") or f"{uuid}.speaker", _VIDEO)
    if audio is None or listener is None:
        return None
    word = row.get("attitude", "").lower()
    if word and word not in ATTITUDES:
        raise InputError(f"{table} names the attitude {word!r}; it must be one of {', '.join(ATTITUDES)}.")
    attitude = ATTITUDES.index(word) if word else None
    return VicoClip(
        f"vico__{listener.stem}",
        audio,
        listener,
        speaker,
        attitude,
        row.get("listener_id", ""),
        row.get("data_split", "").lower(),
    )


def _find(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path | None:
    """The file of that name in the folder, whether or not the name has its ending; none outside the folder."""
    base = Path(name).name
    for candidate in (base, *(base + suffix for suffix in suffixes)):
        if base and (folder / candidate).is_file():
            return folder / candidate
    return None


def _tracked(
    files: list[Path], clip: VicoClip, cache: Path, model: MorphableModel, log: Callable[[str], None]
) -> dict[Path, TrackedClip]:
    rows = [CorpusFile(path, "vico", "train", clip.listener_id or clip.name, 0.0, 0, 0.0, False) for path in files]
    return {track.file.path: track for track in tracked_files(rows, cache, model, log)}


def is_vico(folder: str | Path) -> bool:
    """Whether a folder has ViCo's layout rather than our corpus's."""
    folder = Path(folder)
    return not (folder / "MANIFEST.csv").exists() and (folder / "videos").is_dir() and (folder / "audios").is_dir()


def as_corpus(folder: str | Path, output: str | Path, log: Callable[[str], None] = print) -> int:
    """Lay ViCo's clips out as our corpus: `listen`, `talk` and `portraits` with a MANIFEST.csv, for `evaluate`.

    Videos are written anew at 25 frames/s with the speaker's sound; each listener's first frame is a portrait. Rows
    of the splits val and test become val, all others train.

    Args:
        folder: with videos, audios and a CSV.
        output: a folder for the corpus.
        log: told of progress.

    Returns:
        How many listeners it has.

    Raises:
        InputError: if the folder is not in that layout, or holds no listener.
        OutputError: if `output` cannot be written.
    """
    import cv2

    from pipeline.video import VideoReader, VideoWriter

    output = Path(output)
    rows: list[dict[str, object]] = []
    clips = vico_clips(folder)
    for clip in clips:
        split = "val" if clip.split in ("val", "valid", "validation", "test") else "train"
        stem = clip.name.removeprefix("vico__").removesuffix(".listener").replace(".", "_")
        for kind, video in (("listen", clip.listener), ("talk", clip.speaker)):
            if video is None:
                continue
            path = f"{kind}/vico_{stem}_{'listener' if kind == 'listen' else 'speaker'}.mp4"
            (output / kind).mkdir(parents=True, exist_ok=True)
            reader = VideoReader(video)
            log(f"writing {path}")
            with VideoWriter(output / path, reader.size, audio=clip.audio, marked=False) as writer:
                for frames, frame in enumerate(reader, 1):
                    writer.write(frame)
                    if kind == "listen" and frames == 1:
                        portrait = f"portraits/vico_{stem}.png"
                        (output / "portraits").mkdir(exist_ok=True)
                        cv2.imwrite(str(output / portrait), frame[..., ::-1])
                        rows.append(_row(portrait, "portrait", split, clip, 0.0))
            rows.append(_row(path, kind, split, clip, frames / FPS))
    if not rows:
        raise InputError(f"No row of the CSV in {folder} could be used; check that videos/ and audios/ hold its files.")
    with (output / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return len(clips)


def _row(path: str, kind: str, split: str, clip: VicoClip, seconds: float) -> dict[str, object]:
    attitude = "" if clip.attitude is None else ATTITUDES[clip.attitude]
    who = clip.listener_id or clip.name
    values = (path, kind, split, who, "real", round(seconds, 2), 0, 1.0 if kind == "talk" else 0, attitude)
    return dict(zip(_COLUMNS, values, strict=True))


def main(arguments: list[str] | None = None) -> None:
    """The module's own command; see the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.training.vico", description=as_corpus.__doc__)
    parser.add_argument("vico", type=Path, help="folder with videos, audios and a CSV")
    parser.add_argument("folder", type=Path, help="where the corpus goes")
    options = parser.parse_args(arguments)
    print(f"{as_corpus(options.vico, options.folder)} listeners")


if __name__ == "__main__":
    main()
