"""What the commands that train neural renderers share: their options, shards, the run's folder, the weights written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from pipeline.errors import InputError
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.renderer_training import PRECISIONS, Course, Options, accelerator, train
from pipeline.training.shards import INDEX, ShardedLessons, prepare_shards

MakeCourse = Callable[[Sequence[RendererLesson], int, int], Course]
"""A course for clips, their size in pixels and a seed."""


class Arguments(TypedDict, total=False):
    """Options of every training of a neural renderer.

    Attributes:
        cache: a folder outside the repository, for shards and runs that are given no folder of their own.
        run: the training's folder: state, losses, grids; `cache/runs/NAME` unless given.
        shards: what `pipeline.training.shards` wrote; `cache/shards_SIZE`, written if need be, unless given.
        size: pixels of the pictures' sides.
        clips: only the first so many.
        steps, minutes, batch, seed, precision, workers, clip_gradients, every, device, resume: see `Options`.
    """

    cache: Path
    run: Path | None
    shards: Path | None
    size: int
    clips: int | None
    steps: int | None
    minutes: float | None
    batch: int | None
    seed: int
    precision: str
    workers: int
    clip_gradients: float | None
    every: int
    device: str | None
    resume: bool


def teach(
    name: str,
    make_course: MakeCourse,
    corpus: Path,
    output: Path,
    batch: int,
    cache: Path = Path("cache"),
    run: Path | None = None,
    shards: Path | None = None,
    size: int = 256,
    clips: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    precision: str = "no",
    workers: int = 0,
    clip_gradients: float | None = None,
    every: int = 1000,
    device: str | None = None,
    resume: bool = False,
) -> None:
    """Train a renderer on `split=train` and write its averaged weights to `output`.

    Raises:
        InputError: if corpus, shards, run or options cannot be used.
    """
    folder = shards or cache / f"shards_{size}"
    options = Options(
        run=run or cache / "runs" / name,
        steps=steps,
        minutes=minutes,
        batch=batch,
        seed=seed,
        precision=precision,
        workers=workers,
        clip_gradients=clip_gradients,
        every=every,
        device=device,
        resume=resume,
    )
    runner = accelerator(options)
    if not (folder / INDEX).exists():
        if runner.num_processes > 1:  # it takes longer than processes wait for one another
            raise InputError(
                f"{folder} holds no shards; write them with python -m pipeline.training.shards before several train."
            )
        prepare_shards(corpus, folder, size, clips=clips)
    lessons = ShardedLessons(folder, clips)
    if lessons.size != size:
        raise InputError(f"{folder} holds shards of {lessons.size} pixels, not of {size}; give that --size.")
    course = make_course(lessons, size, seed)
    network = train(course, lessons, options, _print if runner.is_main_process else _silent, runner)
    if runner.is_main_process:
        network.cpu().save(output)


def parser(text: str) -> argparse.ArgumentParser:
    """The options of every training; a renderer adds its own.

    Args:
        text: the module's docstring, whose first paragraph says what is trained.
    """
    made = argparse.ArgumentParser(description=text.split("\n\n")[0])
    made.add_argument("corpus", type=Path)
    made.add_argument("output", type=Path, help="folder for the weights")
    made.add_argument("--cache", type=Path, default=Path("cache"), help="outside the repository (default %(default)s)")
    made.add_argument("--run", type=Path, help="folder for state, losses and grids (default: CACHE/runs/NAME)")
    made.add_argument("--shards", type=Path, help="prepared clips (default: CACHE/shards_SIZE, written if need be)")
    made.add_argument("--size", type=int, default=256, help="pixels of the pictures' sides (default %(default)s)")
    made.add_argument("--clips", type=int, help="only the first so many")
    made.add_argument("--steps", type=int, help="how long")
    made.add_argument("--minutes", type=float, help="how long at most; what is there then can go on")
    made.add_argument("--batch", type=int, help="lessons a step, of all processes together (default: the paper's)")
    made.add_argument("--seed", type=int, default=0, help="chooses lessons and first weights (default %(default)s)")
    made.add_argument("--mixed-precision", dest="precision", choices=PRECISIONS, default="no")
    made.add_argument("--workers", type=int, default=2, help="processes that read (default %(default)s)")
    made.add_argument("--clip-gradients", type=float, metavar="NORM", help="their greatest norm (default: none)")
    made.add_argument("--every", type=int, default=1000, help="steps between states and grids (default %(default)s)")
    made.add_argument("--device", choices=("cpu",), help="keep it off the GPU")
    made.add_argument("--resume", action="store_true", help="go on from the run's state")
    return made


def run(main: Callable[..., None], options: argparse.ArgumentParser) -> None:
    """Parse the command line and train; what cannot be used is one sentence, and exit code 2."""
    try:
        main(**vars(options.parse_args()))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last state", file=sys.stderr)
        sys.exit(130)


def _print(step: int, losses: dict[str, float]) -> None:
    print(f"{step}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()), flush=True)


def _silent(step: int, losses: dict[str, float]) -> None:
    pass
