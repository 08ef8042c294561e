"""Many clips from one manifest: checked before the first is made, resumed where it stopped, each failure told.

    python -m pipeline batch examples/batch.csv -o out/batch --jobs 2

The folder's `results.jsonl` has a line for each row that was tried. A row whose clip is there and whose line says so is
not made again, unless the row, one of its files or the weights have changed; rows that failed are tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pipeline.batch_makers import Makers, Processes, write_whole
from pipeline.batch_manifest import Job, read_manifest
from pipeline.errors import InputError, OutputError

RESULTS = "results.jsonl"
_LOCK = ".batch.lock"


@dataclass
class BatchReport:
    """What became of a batch.

    Attributes:
        rows: in the manifest.
        skipped: rows that an earlier run had finished.
        made: rows that were made now.
        failed: row and sentence of those that could not be made.
        results: the file that tells all of it.
        seconds: of this run.
    """

    rows: int
    results: Path
    skipped: int = 0
    made: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For `json.dumps`."""
        failed = [{"row": row, "error": error} for row, error in self.failed]
        return {**vars(self), "results": str(self.results), "failed": failed, "seconds": round(self.seconds, 3)}


def run_batch(
    manifest: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    weights: str | None = None,
    makers: Makers | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> BatchReport:
    """Make the clips of a manifest. By using it you state that you may use the faces and voices that it names.

    Args:
        manifest: a CSV or JSON Lines file, see `pipeline.batch_manifest`.
        folder: where clips and results go; made if it is not there.
        weights: folder or Hub repository; None for the embedded ones.
        makers: who makes the clips; None for one process.
        progress: called with "clips", rows done and rows in all.

    Raises:
        ManifestError: if the manifest cannot be read or any of its rows is wrong; no clip is begun then.
        OutputError: if the folder cannot be written, or another batch is writing to it.
    """
    begun = time.perf_counter()
    folder = Path(folder).resolve()
    jobs = read_manifest(manifest, folder, weights)
    with _locked(folder):
        path = folder / RESULTS
        known = {job.output: job for job in jobs}
        told = {entry["output"]: entry for entry in _entries(path)}
        kept = [entry for name, entry in told.items() if _finished(known.get(folder / name), entry)]
        finished = {folder / entry["output"] for entry in kept}
        todo = [job for job in jobs if job.output not in finished]
        report = BatchReport(len(jobs), path, skipped=len(jobs) - len(todo))
        write_whole(path, "".join(_line(entry) for entry in kept).encode())
        try:
            for job in todo:
                _clear(job.output)
            with open(path, "a", encoding="utf-8") as file:
                _make(todo, weights, makers or Processes(1), report, file, progress)
        finally:
            for job in todo:
                _clear(job.output)  # of a process that had to be killed
    report.failed.sort()
    report.seconds = time.perf_counter() - begun
    return report


def _make(
    todo: list[Job],
    weights: str | None,
    makers: Makers,
    report: BatchReport,
    file: IO[str],
    progress: Callable[[str, int, int], None] | None,
) -> None:
    folder = report.results.parent
    if progress is not None:
        progress("clips", report.skipped, report.rows)
    with contextlib.closing(makers.make(todo, weights)) as outcomes:
        for job, outcome in outcomes:
            error = outcome.get("error")
            if error is None:
                report.made += 1
            else:
                report.failed.append((job.row, error))
            entry = {
                "row": job.row,
                "state": "done" if error is None else "failed",
                **outcome,
                "output": job.output.relative_to(folder).as_posix(),
                "fingerprint": job.fingerprint,
            }
            file.write(_line(entry))
            file.flush()
            if progress is not None:
                progress("clips", report.skipped + report.made + len(report.failed), report.rows)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a results file; what a crash cut short, or someone else wrote, is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("output"), str):
                yield entry


def _finished(job: Job | None, entry: dict[str, Any]) -> bool:
    return (
        job is not None
        and entry.get("state") == "done"
        and entry.get("fingerprint") == job.fingerprint
        and job.output.is_file()
    )


def _clear(output: Path) -> None:
    """Remove what a run that was killed left of a clip: hidden files beside it."""
    left = re.compile(re.escape(f".{output.stem[:80]}.") + r"[0-9a-f]+\.part(\.signed)?")
    with contextlib.suppress(OSError):
        for path in output.parent.iterdir():
            if left.fullmatch(path.name):
                path.unlink()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this run; the system lets go of it however the run ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be written; choose another.") from error
    with open(descriptor, "wb") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # Windows
        except OSError as error:
            raise OutputError(f"Another batch is writing to {folder}; wait for it, or choose another.") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / _LOCK).unlink()


# --- the command ----------------------------------------------------------------------------------------------------


def run_command(
    manifest: str,
    folder: str,
    weights: str | None,
    jobs: int,
    ray: str | None,
    progress: Callable[[str, int, int], None],
) -> BatchReport:
    """What `python -m pipeline batch` does; `InputError` for what is wrong with its options."""
    if not 1 <= jobs <= 1024:
        raise InputError(f"The number of jobs must lie between 1 and 1024, not {jobs}.")
    makers: Makers
    if ray is None:
        makers = Processes(jobs)
    else:
        from pipeline.batch_makers import RayActors

        read_manifest(manifest, folder, weights)  # a mistake in it is told before a cluster is asked
        makers = RayActors(ray, jobs)
    return run_batch(manifest, folder, weights, makers, progress)
