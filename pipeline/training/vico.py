"""Data in ViCo's layout as lessons: whoever holds ViCo can train the listening driver on real listeners.

    folder/videos/<uuid>.listener.mp4   folder/videos/<uuid>.speaker.mp4   folder/audios/<uuid>.wav
    folder/*.csv                        a row a clip, comma-separated with a header

Two forms of the CSV are in use and both are read: the dataset's, whose columns `attitude`, `audio`, `listener`,
`speaker` name files, with `listener_id`, `speaker_id` and `data_split`; and the challenge's, whose `uuid` (with
`speaker_id`, `listener_id`) names them all (Zhou 2022, vico.solutions; the challenge's data has no attitudes).
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.attitudes import ATTITUDES
from pipeline.audio.reading import read_audio
from pipeline.drivers.mouth import Mouth
from pipeline.errors import InputError
from pipeline.face.morphable import MorphableModel
from pipeline.training.corpus import CorpusFile, TrackedClip, tracked_files
from pipeline.training.listening_lessons import ListeningLesson, embedded_model, real_lesson

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
