"""The promises of the product, measured on the corpus: `python -m pipeline evaluate --suite NAME`.

A suite is a list of tasks (one a clip or portrait), a function that measures one task with a pipeline, and one
that makes the table; tasks run in one process or several, each with a pipeline of its own. A clip that
fails is named in the table, never dropped without a word, and the others go on.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import Cancelled, InputError
from pipeline.evaluation.corpus import Clip, read_manifest
from pipeline.evaluation.tables import Row, Table

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

Progress = Callable[[str, int, int], None]
PipelineFactory = Callable[[str | None], "ConversationalHeadPipeline"]

SUITES = {
    "reenact": "pipeline.evaluation.reenactment",
    "talk": "pipeline.evaluation.talking",
    "silence": "pipeline.evaluation.silence",
    "background": "pipeline.evaluation.backgrounds",
    "model": "pipeline.evaluation.reconstruction",
    "restoration": "pipeline.evaluation.restoration",
    "listen": "pipeline.evaluation.listening",
    "renderers": "pipeline.evaluation.renderers",
}


@dataclass(frozen=True)
class SuiteOptions:
    """How a suite runs.

    Attributes:
        split: of the corpus; "val" is for measuring, the others for looking into one's own training.
        only: measures the tasks whose name holds this text; "" for all.
        limit: measures at most so many tasks; None for all.
        cache: a folder that keeps the tracks of real clips; None tracks them each time.
        encode: render to MP4 and measure that, instead of the frames before they are encoded.
        warp: reenact also against a piecewise-affine warp with the true landmarks.
        seed: of the talking driver.
        renderers: which the suite of that name compares; none for all that have weights.
        size: pixels of the pictures' longer side, in the suite `renderers`; None keeps each clip's own.
        heard: in the suite `renderers`, keep what shows inside driving mouths from the renderers, as if the driving
            person had been heard and not seen.
        pipeline: further arguments of `talk` and `reenact`, such as renderer and restore.
    """

    split: str = "val"
    only: str = ""
    limit: int | None = None
    cache: str | None = None
    encode: bool = True
    warp: bool = False
    seed: int = 0
    renderers: tuple[str, ...] = ()
    size: int | None = None
    heard: bool = False
    pipeline: dict[str, Any] = field(default_factory=dict)


class Suite(Protocol):
    """What a suite's module offers."""

    def tasks(self, clips: list[Clip], options: SuiteOptions) -> list[Any]:
        """Small objects with a `name`, one a row."""

    def measure(self, pipeline: ConversationalHeadPipeline, task: Any, options: SuiteOptions) -> Row:
        """The figures of one task."""

    def table(self, rows: list[Row], options: SuiteOptions) -> Table:
        """The rows, in the tasks' order, with the promises."""


def run_suite(
    name: str,
    corpus: str | Path,
    options: SuiteOptions | None = None,
    jobs: int = 1,
    weights: str | None = None,
    progress: Progress | None = None,
    factory: PipelineFactory | None = None,
) -> Table:
    """Run one suite over the corpus.

    Args:
        name: a key of `SUITES`.
        corpus: the corpus's folder.
        options: see `SuiteOptions`.
        jobs: processes; each loads its own pipeline and uses one thread if there are several.
        weights: for `ConversationalHeadPipeline.from_pretrained`; None for the embedded ones.
        progress: called with the suite's name, tasks done and tasks in all; raise Cancelled from it to stop.
        factory: makes the pipeline from `weights` instead; must be importable when `jobs` > 1.

    Raises:
        InputError: if there is no such suite, corpus or clip.
    """
    if name not in SUITES:
        raise InputError(f"There is no suite {name!r}; choose {', '.join(SUITES)}.")
    options = options or SuiteOptions()
    suite = _suite(name)
    tasks = [task for task in suite.tasks(read_manifest(corpus), options) if options.only in task.name]
    tasks = tasks[: options.limit]
    if not tasks:
        raise InputError(f"No clip of the suite {name} has {options.only!r} in its name; give another part of it.")
    factory = factory or load_pipeline
    rows: list[Row | None] = [None] * len(tasks)
    if progress:
        progress(name, 0, len(tasks))
    for done, (index, row) in enumerate(_rows(name, tasks, options, jobs, weights, factory), 1):
        rows[index] = row
        if progress:
            progress(name, done, len(tasks))
    return suite.table([row for row in rows if row is not None], options)


def load_pipeline(weights: str | None) -> ConversationalHeadPipeline:
    """The product's pipeline, from a folder, a Hub repository or (None) the embedded weights."""
    from pipeline.conversation import ConversationalHeadPipeline

    if weights is None:
        return ConversationalHeadPipeline.from_pretrained()
    return ConversationalHeadPipeline.from_pretrained(weights)


def _suite(name: str) -> Suite:
    return importlib.import_module(SUITES[name])  # type: ignore[return-value]


def _rows(
    name: str, tasks: list[Any], options: SuiteOptions, jobs: int, weights: str | None, factory: PipelineFactory
) -> Iterator[tuple[int, Row]]:
    if jobs <= 1 or len(tasks) == 1:
        pipeline = factory(weights)
        for index, task in enumerate(tasks):
            yield index, _measure(name, pipeline, task, options)
        return
    # Spawned, not forked: MediaPipe's and torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (weights, factory)) as pool:
        futures = {pool.submit(_measure_in_worker, name, task, options): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker_pipeline: ConversationalHeadPipeline | None = None


def _start_worker(weights: str | None, factory: PipelineFactory) -> None:
    global _worker_pipeline
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is first imported, which is later
    import cv2

    cv2.setNumThreads(1)
    _worker_pipeline = factory(weights)


def _measure_in_worker(name: str, task: Any, options: SuiteOptions) -> Row:
    assert _worker_pipeline is not None
    return _measure(name, _worker_pipeline, task, options)


def _measure(name: str, pipeline: ConversationalHeadPipeline, task: Any, options: SuiteOptions) -> Row:
    try:
        return {"clip": task.name, **_suite(name).measure(pipeline, task, options)}
    except (Cancelled, MemoryError):
        raise
    except InputError as error:
        return {"clip": task.name, "error": str(error)}
    except Exception as error:  # a run of many minutes keeps what the other clips gave, and names this one
        return {"clip": task.name, "error": f"{type(error).__name__}: {error}"}
