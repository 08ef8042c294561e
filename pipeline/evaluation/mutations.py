"""Damaged and hostile files by the thousand, read by everything that reads files: what does not end in a result or in
one clear sentence is a fault, and must not happen.

    python -m pipeline.evaluation.mutations --cases 10000
    python -m pipeline.evaluation.mutations --only picture --seed 3 --case 17 --keep out   # one case again

A case is known by seed, reader and number alone. Reading happens in a child process with bounded memory; one that
crashes, hangs or grows is told from one that refuses.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.evaluation.damage import mutate, sources

_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT = 60.0  # seconds that a case may compute; waiting for a busy machine does not count
_PATIENCE = 600.0  # seconds that it may take in all
_MEMORY = 6 << 30  # address space of the child in bytes; libraries reserve much more than they use
_GROWTH = 300 << 20  # bytes that a child may hold more after its cases than after the first ones
_SETTLE = 50  # cases after which a child's memory and open files are first looked at


# --- the child ------------------------------------------------------------------------------------------------------


def _read_picture(path: Path) -> None:
    from pipeline.face.portrait import Portrait

    Portrait.read(path, *_face(), 128)


@lru_cache(maxsize=1)
def _face() -> tuple[Any, Any]:
    from pipeline.face.morphable import MorphableModel
    from pipeline.face.tracker import FaceTracker
    from pipeline.hub import EMBEDDED

    return FaceTracker(), MorphableModel.load(EMBEDDED / "face")


def _read_sound(path: Path) -> None:
    from pipeline.audio.reading import probe_audio, stream_audio

    probe_audio(path)
    for number, _ in enumerate(stream_audio(path)):
        if number > 20:  # minutes that a header has invented
            break


def _read_video(path: Path) -> None:
    from pipeline.video import VideoReader

    for number, _ in enumerate(VideoReader(path)):
        if number > 60:
            break


def _read_mark(path: Path) -> None:
    from pipeline.provenance import verify

    verify(path)


def _read_manifest(path: Path) -> None:
    from pipeline.batch_manifest import read_manifest

    read_manifest(path, path.parent / "out")


def _read_coefficients(path: Path) -> None:
    from pipeline.coefficients import Coefficients

    Coefficients.load(path)


_READERS = {
    "picture": _read_picture,
    "sound": _read_sound,
    "video": _read_video,
    "mark": _read_mark,
    "manifest": _read_manifest,
    "coefficients": _read_coefficients,
}


def _serve() -> None:
    """Read the files that are named on standard input, and answer a line for each."""
    import resource

    from pipeline.errors import InputError
    from pipeline.threads import settle_process

    settle_process()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        reader, path = json.loads(line)
        try:
            _READERS[reader](Path(path))
            told = "result", ""
        except InputError as error:
            text = str(error)
            clear = text.endswith(".") and "\n" not in text and 20 < len(text) < 1000
            told = ("refused", text) if clear else ("unclear", text)
        except BaseException as error:
            told = "other", f"{type(error).__name__}: {error}"
        held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print(json.dumps([*told, held, len(os.listdir("/proc/self/fd"))]), file=answers, flush=True)


def _computed(process: int) -> float:
    """Seconds of processor time that a process has had; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Child:
    """A process that reads files; it is started anew when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._done = 0
        self._first = (0, 0)

    def ask(self, reader: str, path: Path) -> tuple[str, str]:
        """Outcome ("result", "refused", "unclear", "other", "crash", "hang" or "leak") and what was said."""
        if self._process is None:
            command = [sys.executable, "-m", "pipeline.evaluation.mutations", "--serve"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
            self._done = 0
        process = self._process
        process.stdin.write(json.dumps([reader, str(path)]).encode() + b"\n")
        process.stdin.flush()
        begun, computed = time.monotonic(), _computed(process.pid)
        while not select.select([process.stdout], [], [], 1.0)[0]:
            spent = _computed(process.pid) - computed
            if spent > _TIMEOUT or time.monotonic() - begun > _PATIENCE:
                self.close(kill=True)
                return "hang", f"no answer after computing for {spent:.0f} s"
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.close()
            return "crash", f"ended with {code}"
        outcome, text, held, files = json.loads(line)
        self._done += 1
        if self._done == _SETTLE:
            self._first = held, files
        if self._done > _SETTLE and (held > self._first[0] + _GROWTH or files > self._first[1] + 5):
            self.close()
            return "leak", f"{(held - self._first[0]) >> 20} MB and {files - self._first[1]} files more than at first"
        return outcome, text

    def close(self, kill: bool = False) -> None:
        """End the process."""
        if self._process is not None:
            if kill:
                self._process.kill()
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


# --- the count ------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What became of a reader's cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str, str]] = field(default_factory=list)
    """Number, file and damage, outcome, and what was said."""
    slowest: float = 0.0


def run(
    cases: int, seed: int, only: list[str], case: int | None = None, keep: Path | None = None, minutes: float = 1e9
) -> dict[str, Count]:
    """Damage and read `cases` files, the readers in turn; `keep` is a folder for those that showed a fault."""
    counts = {reader: Count() for reader in only}
    child, until = _Child(), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="tete-mutations-") as name:
        good = sources(Path(name))
        try:
            for reader, number in _numbers(cases, only, case):
                if time.monotonic() > until:
                    break
                rng = random.Random(f"{seed} {reader} {number}")
                source = rng.choice(good[reader])
                data, damage = mutate(source.read_bytes(), rng)
                path = Path(name) / f"case{source.suffix}"
                path.write_bytes(data)
                begun = time.monotonic()
                outcome, said = child.ask(reader, path)
                count = counts[reader]
                count.outcomes[outcome] += 1
                count.slowest = max(count.slowest, time.monotonic() - begun)
                if outcome not in ("result", "refused"):
                    count.faults.append((number, f"{source.name} {damage}", outcome, said))
                if keep is not None and (case is not None or outcome not in ("result", "refused")):
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{reader}-{seed}-{number}{source.suffix}").write_bytes(data)
        finally:
            child.close()
    return counts


def _numbers(cases: int, only: list[str], case: int | None) -> Iterator[tuple[str, int]]:
    for index in range(cases if case is None else len(only)):
        yield only[index % len(only)], index // len(only) if case is None else case


def main(arguments: list[str] | None = None) -> int:
    """Print the counts; 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(_READERS), choices=list(_READERS))
    parser.add_argument("--case", type=int, help="this one alone, of each reader named")
    parser.add_argument("--keep", type=Path, help="a folder for the files that showed a fault")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        _serve()
        return 0
    counts = run(options.cases, options.seed, options.only, options.case, options.keep, options.minutes)
    total: Counter[str] = Counter()
    for reader, count in counts.items():
        total += count.outcomes
        told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(count.outcomes.items()))
        print(f"{reader}: {told}; slowest {count.slowest:.1f} s")
        for number, what, outcome, said in count.faults[:20]:
            print(f"  case {number} ({what}): {outcome}: {said[:200]}")
    faults = sum(n for outcome, n in total.items() if outcome not in ("result", "refused"))
    print(f"{total.total()} cases: {total['refused']} refused, {total['result']} with a result, {faults} anything else")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
