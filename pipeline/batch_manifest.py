"""Manifests of many clips: a table whose rows are read, typed and checked before the first clip is made.

CSV with a head line, or JSON Lines with an object a line. Each row names its `mode` and what that mode takes, under the
names that the pipeline's methods use; what is left out, or empty in CSV, has its usual value. Paths are relative to the
manifest. `output` names the clip within the batch's folder; without it the name is made of the inputs' names and the
row's fingerprint.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.arguments import check_choice, check_range
from pipeline.attitudes import ATTITUDES
from pipeline.digests import file_digest
from pipeline.errors import InputError, ManifestError
from pipeline.renderers import RENDERERS

_LARGEST = 256 << 20  # bytes of a manifest
_TRUE, _FALSE = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True)
class Field:
    """What a column may hold.

    Attributes:
        kind: "file", "text", "whole", "number" or "yes or no".
        required: whether it must be given.
        low: least number.
        high: greatest number.
        choices: the texts that may stand there; empty for any.
    """

    kind: str
    required: bool = False
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()


_COMMON = {
    "portrait": Field("file", required=True),
    "expression_scale": Field("number", high=2),
    "motion_scale": Field("number", high=2),
    "size": Field("whole", low=64, high=4096),
    "renderer": Field("text", choices=tuple(RENDERERS)),
    "restore": Field("text", choices=("none", "detail", "gfpgan")),
    "visible_tag": Field("yes or no"),
}
_SEED = Field("whole", high=2**63 - 1)
FIELDS: dict[str, dict[str, Field]] = {
    "talk": {**_COMMON, "audio": Field("file", required=True), "seed": _SEED},
    "listen": {
        **_COMMON,
        "audio": Field("file"),
        "speaker_video": Field("file"),
        "attitude": Field("text", choices=tuple(ATTITUDES)),
        "attitude_scale": Field("number", high=2),
        "layout": Field("text", choices=("listener", "side-by-side")),
        "transcript": Field("file"),
        "language_model": Field("text"),
        "seed": _SEED,
    },
    "reenact": {
        **_COMMON,
        "video": Field("file", required=True),
        "relative": Field("yes or no"),
        "smoothing": Field("whole", high=5),
    },
}
"""What each mode's rows may hold, beside `mode` and `output`."""


@dataclass(frozen=True)
class Job:
    """One clip to make.

    Attributes:
        row: its number in the manifest, from 1.
        mode: "talk", "listen" or "reenact".
        options: arguments of the pipeline's method of that name; files as absolute paths.
        output: where the clip goes.
        fingerprint: changes with the row, with the content of its files and with the weights.
    """

    row: int
    mode: str
    options: dict[str, Any]
    output: Path
    fingerprint: str

    @property
    def files(self) -> dict[str, str]:
        """Options that are files."""
        return {name: path for name, path in self.options.items() if FIELDS[self.mode][name].kind == "file"}


def read_manifest(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], weights: str | None = None
) -> list[Job]:
    """Read and check every row of a manifest.

    Args:
        path: ends in .csv, .jsonl or .ndjson.
        folder: where the clips shall go.
        weights: counted into the fingerprints.

    Raises:
        ManifestError: if it cannot be read, or any row cannot be made as it stands; the first such row is named.
    """
    path, folder = Path(path), Path(folder).resolve()
    jobs: list[Job] = []
    wrong: list[str] = []
    digests: dict[str, str] = {}
    for number, row in enumerate(_rows(path), 1):
        try:
            jobs.append(_job(number, row, path.parent, folder, weights, digests))
        except InputError as error:
            wrong.append(f"Row {number} of {path.name}: {error}")
    if not wrong and not jobs:
        raise ManifestError(f"{path.name} has no rows; write one for each clip.")
    seen: dict[Path, int] = {}
    for job in jobs:
        first = seen.setdefault(job.output, job.row)
        if first != job.row:
            wrong.append(f"Rows {first} and {job.row} of {path.name} would both be {job.output.name}; name one output.")
    if wrong:
        others = {1: "", 2: " (one more row is wrong)"}.get(len(wrong), f" ({len(wrong) - 1} more rows are wrong)")
        raise ManifestError(wrong[0].removesuffix(".") + f"{others}.")
    return jobs


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise ManifestError(f"{path.name or path} must end in .csv or .jsonl; those are the manifests that are read.")
    try:
        if path.stat().st_size > _LARGEST:
            raise ManifestError(f"{path.name} is larger than {_LARGEST >> 20} MB; split it.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read; check the path.") from error
    except ValueError as error:
        raise ManifestError(f"{path.name} is not text in UTF-8; save it as such.") from error
    yield from _csv_rows(path, text) if kind == ".csv" else _json_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ManifestError(f"Line {reader.line_num} of {path.name} has not as many fields as its head line.")
            if any(row.values()):
                yield {name: value.strip() for name, value in row.items() if value.strip()}
    except csv.Error as error:
        raise ManifestError(
            f"Line {reader.line_num} of {path.name} is not CSV; check its quotes and commas."
        ) from error


def _json_rows(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"Line {number} of {path.name} is not JSON; write one object a line.") from error
        if not isinstance(row, dict):
            raise ManifestError(f"Line {number} of {path.name} is not an object; write one object a line.")
        yield {name: value for name, value in row.items() if value is not None}


def _job(
    number: int, row: Mapping[str, Any], base: Path, folder: Path, weights: str | None, digests: dict[str, str]
) -> Job:
    mode = row.get("mode")
    if not isinstance(mode, str) or mode not in FIELDS:
        raise InputError(f"There is no mode {_shown(mode)}; choose one of: {', '.join(FIELDS)}.")
    fields = FIELDS[mode]
    for name in row:
        if name not in fields and name not in ("mode", "output"):
            raise InputError(f"{mode} takes no {_shown(name)}; it takes {', '.join(sorted(fields))}.")
    for name, field in fields.items():
        if field.required and name not in row:
            raise InputError(f"The {name} is missing; {mode} needs one.")
    if mode == "listen" and not {"audio", "speaker_video"} & set(row):
        raise InputError("There is neither audio nor speaker_video; listen needs one of them.")
    options = {name: _value(name, fields[name], value, base) for name, value in row.items() if name in fields}
    content = {name: _digest(value, digests) for name, value in options.items() if fields[name].kind == "file"}
    told = json.dumps([mode, weights, {**options, **content}], sort_keys=True, ensure_ascii=False)
    fingerprint = hashlib.sha256(told.encode()).hexdigest()[:16]
    return Job(number, mode, options, _output(row.get("output"), mode, options, fingerprint, folder), fingerprint)


def _value(name: str, field: Field, value: Any, base: Path) -> Any:
    """A field's value in its type."""
    if field.kind in ("file", "text"):
        if not isinstance(value, str) or "\0" in value:
            raise InputError(f"{name} must be text, not {_shown(value)}.")
        if field.choices:
            check_choice(name, value, field.choices)
        return _existing(name, value, base) if field.kind == "file" else value
    if field.kind == "yes or no":
        word = str(value).lower()
        if not isinstance(value, (bool, str)) or word not in _TRUE | _FALSE:
            raise InputError(f"{name} must be true or false, not {_shown(value)}.")
        return word in _TRUE
    what = "a whole number" if field.kind == "whole" else "a number"
    try:
        number = int(value) if field.kind == "whole" else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} must be {what}, not {_shown(value)}.") from error
    if isinstance(value, bool) or not math.isfinite(number) or (isinstance(value, float) and number != value):
        raise InputError(f"{name} must be {what}, not {_shown(value)}.")
    check_range(name, number, field.low, field.high)
    return number


def _existing(name: str, value: str, base: Path) -> str:
    path = base / value
    try:
        found = path.is_file()
    except (OSError, ValueError):  # a name that is too long
        found = False
    if not found:
        raise InputError(f"There is no file {_shown(value)} for {name}; paths start at the manifest.")
    return str(path.resolve())


def _digest(path: str, known: dict[str, str]) -> str:
    """SHA-256 of a file, computed once."""
    if path not in known:
        try:
            known[path] = file_digest(path)
        except OSError as error:
            raise InputError(f"{path} may not be read; check its permissions.") from error
    return known[path]


def _output(named: Any, mode: str, options: Mapping[str, Any], fingerprint: str, folder: Path) -> Path:
    if named is None:
        files = [options[name] for name in ("portrait", "audio", "video", "speaker_video") if name in options]
        stems = [re.sub(r"[^\w-]+", "-", Path(file).stem)[:40] for file in files[:2]]
        return folder / f"{'-'.join([mode, *stems, fingerprint[:8]])}.mp4"
    if not isinstance(named, str) or not named.lower().endswith(".mp4") or "\0" in named:
        raise InputError(f"The output {_shown(named)} must be a name that ends in .mp4.")
    pure = PurePosixPath(named.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in named or any(part.startswith(".") for part in pure.parts):
        raise InputError(f"The output {_shown(named)} must lie in the batch's folder; give a plain name.")
    if len(named.encode()) > 200:
        raise InputError(f"The output {_shown(named)} is too long; give a shorter name.")
    return folder / pure


def _shown(value: Any) -> str:
    """A value in a sentence, on one line and of bearable length."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-19:]}"
