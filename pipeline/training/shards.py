"""Prepared shards: clips cut, drawn and described once, and read by trainings as often as they like.

    python -m pipeline.training.shards CORPUS FOLDER --size 256

A shard is a plain tar file; each clip has frames as JPEG, drawn faces as PNG, and what else is known of them as one
safetensors file and one of JSON. `index.json` says where in which shard a clip lies, so that any frame is read without
what lies before it. Writing that was broken off goes on where it stopped. The folder holds footage: it belongs outside
the repository.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from pipeline.errors import InputError, OutputError
from pipeline.training.renderer_lessons import RendererLesson

INDEX = "index.json"
_VERSION = 1
_BLOCK = 512  # bytes of a tar file's header, and what its contents are rounded up to
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
_PLACES = ("frame_places", "face_places")
_KEPT = 256  # clips whose rows stay in memory, in each process that reads


@dataclass
class _Shard:
    """A shard that is being written: it has its name once it is whole."""

    path: Path
    file: IO[bytes]
    tar: tarfile.TarFile
    clips: list[dict[str, object]] = field(default_factory=list)

    @staticmethod
    def begin(path: Path) -> _Shard:
        file = path.with_suffix(".part").open("wb")
        return _Shard(path, file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT))

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write one member; where its bytes begin, and how many there are."""
        begin = self.file.tell() + _BLOCK
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self.tar.addfile(info, io.BytesIO(data))
        return begin, len(data)

    def add_clip(self, number: int, lesson: RendererLesson) -> None:
        from safetensors.numpy import save

        places: dict[str, list[tuple[int, int]]] = {name: [] for name in _PLACES}
        for index in range(len(lesson)):
            frame, face = lesson.frames[index], np.moveaxis(lesson.faces[index], 0, -1)
            places["frame_places"].append(self.add(f"{number:05d}/{index:05d}.jpg", _encoded(".jpg", frame, _QUALITY)))
            places["face_places"].append(self.add(f"{number:05d}/{index:05d}.png", _encoded(".png", face)))
        rows = {name: np.ascontiguousarray(value) for name, value in lesson.rows().items()}
        rows |= {name: np.array(value, np.int64) for name, value in places.items()}
        told = {"name": lesson.name, "frames": len(lesson)}
        self.add(f"{number:05d}/clip.json", json.dumps(told).encode())
        begin, size = self.add(f"{number:05d}/rows.safetensors", save(rows))
        self.clips.append({**told, "shard": self.path.name, "begin": begin, "size": size})

    def end(self) -> list[dict[str, object]]:
        self.tar.close()
        self.file.close()
        self.path.with_suffix(".part").replace(self.path)
        return self.clips

    def give_up(self) -> None:
        self.file.close()
        self.path.with_suffix(".part").unlink(missing_ok=True)


def write_shards(
    lessons: Iterable[RendererLesson], folder: str | Path, size: int, shard_bytes: int = 256 << 20
) -> Path:
    """Write clips to shards; those that a folder has already stay.

    Args:
        lessons: clips of pictures of `size`; each is forgotten once it is written.
        folder: made if need be.
        size: pixels of the pictures' sides.
        shard_bytes: a shard that has become as large is closed, and the index says so.

    Returns:
        the index's path.

    Raises:
        InputError: if the folder holds shards of another size.
        OutputError: if it cannot be written.
    """
    folder = Path(folder)
    known = _index(folder)["clips"] if (folder / INDEX).exists() else []
    if known and _index(folder)["size"] != size:
        raise InputError(f"{folder} holds shards of {_index(folder)['size']} pixels; give another folder or that size.")
    shard: _Shard | None = None
    number, clips = 1 + max((int(Path(str(c["shard"])).stem) for c in known), default=-1), list(known)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for lesson in lessons:
            if shard is None:
                shard = _Shard.begin(folder / f"{number:05d}.tar")
            shard.add_clip(len(clips) + len(shard.clips), lesson)
            if shard.file.tell() >= shard_bytes:
                clips, shard, number = clips + shard.end(), None, number + 1
                _write_index(folder, size, clips)
        if shard is not None:
            clips, shard = clips + shard.end(), None
        _write_index(folder, size, clips)
    except OSError as error:
        raise OutputError(f"Shards cannot be written to {folder}: {error.strerror or error}.") from error
    finally:
        if shard is not None:
            shard.give_up()
    return folder / INDEX


def shard_names(folder: str | Path) -> set[str]:
    """Names of the clips that a folder's shards hold; none where there is no index yet."""
    return {clip["name"] for clip in _index(Path(folder))["clips"]} if (Path(folder) / INDEX).exists() else set()


class StoredPictures:
    """Pictures of one clip in a shard, read when they are asked for: indexed like the array they stand for.

    Attributes:
        shape: of that array, (T, S, S, 3), or (T, 3, S, S) where colours come first.
    """

    def __init__(self, path: Path, places: np.ndarray, size: int, colours_first: bool) -> None:
        self._path, self._places, self._first = path, places, colours_first
        self.shape = (len(places), 3, size, size) if colours_first else (len(places), size, size, 3)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        places = self._places[index]
        with self._path.open("rb") as file:
            if places.ndim == 1:
                return self._read(file, *places.tolist())
            return np.stack([self._read(file, *place) for place in places.tolist()])

    def _read(self, file: IO[bytes], begin: int, size: int) -> np.ndarray:
        file.seek(begin)
        picture = cv2.imdecode(np.frombuffer(file.read(size), np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"{self._path} is damaged; delete its folder and prepare the shards again.")
        picture = picture[..., ::-1]
        return np.ascontiguousarray(np.moveaxis(picture, -1, 0) if self._first else picture)


class ShardedLessons(Sequence[RendererLesson]):
    """The clips of a folder of shards, as lessons whose pictures are read when they are asked for.

    Args:
        folder: what `write_shards` wrote.
        most: only the first so many.

    Attributes:
        size: pixels of the pictures' sides.

    Raises:
        InputError: if there are no shards, or they are damaged.
    """

    def __init__(self, folder: str | Path, most: int | None = None) -> None:
        self._folder = Path(folder)
        index = _index(self._folder)
        self.size = int(index["size"])
        self._clips = index["clips"][:most]
        self._held: dict[int, RendererLesson] = {}

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> RendererLesson:
        index = range(len(self))[index]
        if index not in self._held:
            while len(self._held) >= _KEPT:
                self._held.pop(next(iter(self._held)))
            self._held[index] = self._read(index)
        return self._held[index]

    def _read(self, index: int) -> RendererLesson:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        clip = self._clips[index]
        path = self._folder / clip["shard"]
        try:
            with path.open("rb") as file:
                file.seek(clip["begin"])
                rows = load(file.read(clip["size"]))
            frames, faces = (
                StoredPictures(path, rows[name], self.size, first)
                for name, first in zip(_PLACES, (False, True), strict=True)
            )
            return RendererLesson.of_rows(clip["name"], frames, faces, rows)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{path} is damaged; delete its folder and prepare the shards again.") from error


def prepare_shards(
    corpus: Path,
    folder: Path,
    size: int = 256,
    split: str = "train",
    clips: int | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Track, fit and cut a corpus's clips and write what is not in the folder yet; the index's path.

    Args:
        corpus: the folder with MANIFEST.csv.
        folder: of the shards.
        size: pixels of the pictures' sides.
        split: "train" or "val".
        clips: only the first so many.
        log: told of each clip.

    Raises:
        InputError: if there is no corpus, or the folder holds shards of another size.
    """
    from pipeline.face.morphable import MorphableModel
    from pipeline.hub import EMBEDDED
    from pipeline.training.corpus import read_manifest
    from pipeline.training.footage import KINDS
    from pipeline.training.renderer_lessons import clip_sound, prepare

    files = [file for file in read_manifest(corpus) if file.split == split and file.kind in KINDS][:clips]
    known = shard_names(folder)
    new = [file for file in files if file.name not in known]
    if not new and known:
        return Path(folder) / INDEX
    return write_shards(prepare(new, MorphableModel.load(EMBEDDED / "face"), size, clip_sound, log=log), folder, size)


def _encoded(kind: str, picture: np.ndarray, how: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(kind, np.ascontiguousarray(picture[..., ::-1]), list(how))[1].tobytes()


def _index(folder: Path) -> dict[str, object]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["version"] != _VERSION or not isinstance(index["clips"], list):
            raise ValueError("another version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no shards; write some with python -m pipeline.training.shards CORPUS {folder}."
        ) from error
    return index


def _write_index(folder: Path, size: int, clips: list[dict[str, object]]) -> None:
    part = folder / f"{INDEX}.part"
    part.write_text(json.dumps({"version": _VERSION, "size": size, "clips": clips}) + "\n", encoding="utf-8")
    os.replace(part, folder / INDEX)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path, help="outside the repository")
    parser.add_argument("--size", type=int, default=256, help="pixels of the pictures' sides (default %(default)s)")
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--clips", type=int, help="only the first so many")
    print(prepare_shards(**vars(parser.parse_args())))
