"""The training loop that all neural renderers share: `accelerate` for devices, precision and processes.

A renderer brings a `Course`: what one lesson is, and which losses its networks descend. The loop brings the rest: data
from shards, several processes, mixed precision, a moving average of the weights (which is what is kept), a state to go
on from, losses as JSON lines and grids of pictures. Run it on one device with `python -m pipeline.training.headgan …`,
on several GPUs with `accelerate launch --num_processes 2 -m pipeline.training.headgan …`.

Which lessons a step has and what chance does in it follow from the seed and the step alone, whatever the number of
processes and of workers that read: a training that goes on from its state gives the same weights as one that was never
broken off.
"""

from __future__ import annotations

import copy
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.training_state import has_state, load_state, save_state

if TYPE_CHECKING:
    from accelerate import Accelerator

Sample = dict[str, np.ndarray]
Draw = Callable[[RendererLesson, np.random.Generator], Sample]
PRECISIONS = ("no", "fp16", "bf16")
_MISSING = (
    "Training needs accelerate, which using the pipeline does not: install it with pip install -r "
    "requirements-train.txt -c constraints.txt."
)
_NOT_FINITE = 50  # steps in a row; half precision skips a few while it finds its scale


@dataclass(frozen=True)
class Turn:
    """Something to descend.

    Attributes:
        who: "network" or "judges": whose optimiser goes down.
        total: the loss.
        losses: its parts, to be logged.
    """

    who: str
    total: Tensor
    losses: dict[str, Tensor]


class Course(ABC):
    """What a renderer is taught, and how.

    Attributes:
        network: the renderer's, with a method `save(folder)`.
        judges: discriminators that learn against it; None if there are none.
        perceptual: a distance that the losses need and nothing trains; None if there is none.
        draw: makes one lesson of a clip, as arrays by name, in the processes that read: it must not hold a network.
        learning_rate: Adam's.
        betas: Adam's.
        decay: of the moving average of the weights.
        told: settings that a training which goes on must share with its beginning.
    """

    network: nn.Module
    judges: nn.Module | None = None
    perceptual: nn.Module | None = None
    draw: Draw
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 0.999
    told: dict[str, Any]

    @abstractmethod
    def turns(self, batch: dict[str, Tensor], done: float) -> Iterator[Turn]:
        """What is descended in one step, one after the other; weights have changed when the next is asked for.

        Args:
            batch: lessons as `draw` made them, stacked, on the device.
            done: how much of the training is over, 0 to 1.
        """

    @abstractmethod
    def sheet(self, network: nn.Module, clip: RendererLesson) -> np.ndarray:
        """(H, W, 3) uint8: what a network makes of a clip, beside the truth."""


@dataclass(frozen=True)
class Options:
    """Of a training.

    Attributes:
        run: a folder for its state, losses and grids.
        steps: how long; None if `minutes` says it.
        minutes: when to stop, at the latest; what is there then can go on.
        batch: lessons a step, of all processes together.
        seed: chooses lessons and first weights.
        precision: "no", "fp16" or "bf16".
        workers: processes that read, for each that trains.
        clip_gradients: their greatest norm; None leaves them, as the papers do, which name none.
        every: steps between states and grids.
        log_every: steps between lines of losses.
        device: "cpu" keeps a training off the GPU; None takes what there is.
        resume: go on from the run's state.
    """

    run: Path
    steps: int | None = None
    minutes: float | None = None
    batch: int = 6
    seed: int = 0
    precision: str = "no"
    workers: int = 0
    clip_gradients: float | None = None
    every: int = 1000
    log_every: int = 50
    device: str | None = None
    resume: bool = False


class Lessons(torch.utils.data.Dataset):
    """Lesson number n, for each n from 0 on: made by chance of one clip, long clips not oftener than short ones."""

    def __init__(self, clips: Sequence[RendererLesson], draw: Draw, seed: int) -> None:
        self._clips, self._draw, self._seed = clips, draw, seed

    def __getitem__(self, number: int) -> Sample:
        random = np.random.default_rng([self._seed, number])
        return self._draw(self._clips[int(random.integers(len(self._clips)))], random)


def lesson_numbers(batch: int, first: int, rank: int = 0, processes: int = 1) -> Iterator[list[int]]:
    """Numbers of one process's lessons, step for step from step `first` on; together the processes see each once."""
    share, step = batch // processes, first
    while True:
        begin = step * batch + rank * share
        yield list(range(begin, begin + share))
        step += 1


def accelerator(options: Options) -> Accelerator:
    """What runs the training.

    Raises:
        InputError: if accelerate is not installed, or this machine cannot do what the options ask.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise InputError(_MISSING) from error
    if options.precision not in PRECISIONS:
        raise InputError(f"There is no precision {options.precision!r}; choose one of: {', '.join(PRECISIONS)}.")
    if options.precision == "fp16" and (options.device == "cpu" or not torch.cuda.is_available()):
        raise InputError("Only a GPU can train with fp16; choose another --mixed-precision.")
    try:
        made = Accelerator(mixed_precision=options.precision, cpu=options.device == "cpu")
    except ValueError as error:
        raise InputError(f"accelerate cannot do what is asked: {str(error).rstrip('.')}.") from error
    if options.batch < 1 or options.batch % made.num_processes:
        raise InputError(f"{options.batch} lessons a step cannot be shared by {made.num_processes} processes.")
    return made


def train(
    course: Course,
    clips: Sequence[RendererLesson],
    options: Options,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    runner: Accelerator | None = None,
) -> nn.Module:
    """Train and return the moving average of the weights, ready to use.

    Args:
        course: whose networks are trained.
        clips: at least one.
        options: see there.
        report: told of the losses that are logged, in the main process.
        runner: `accelerator(options)`, if it was made already.

    Raises:
        InputError: if there is no clip, the run cannot go on as asked, or losses stop being finite.
    """
    if not len(clips):
        raise InputError("There is no clip with a face to train on; check the corpus and the shards.")
    if options.steps is None and options.minutes is None:
        raise InputError("A training needs an end: give steps or minutes.")
    return _Training(course, clips, options, runner or accelerator(options)).go(report)


class _Training:
    def __init__(self, course: Course, clips: Sequence[RendererLesson], options: Options, runner: Accelerator) -> None:
        self.course, self.clips, self.options, self.runner = course, clips, options, runner
        course.network.to(runner.device).train()
        if course.perceptual is not None:
            course.perceptual.to(runner.device)
        self.average = copy.deepcopy(course.network).eval().requires_grad_(False)
        self.modules = {"network": course.network}
        if course.judges is not None:
            self.modules["judges"] = course.judges.to(runner.device).train()
        self.optimisers = {
            name: torch.optim.Adam(module.parameters(), course.learning_rate, betas=course.betas)
            for name, module in self.modules.items()
        }
        self.kept = {**self.modules, "average": self.average}
        self.step, self.seconds, self.unusable = 0, 0.0, 0
        self.told = {"batch": options.batch, "seed": options.seed, "precision": options.precision, **course.told}
        self._begin()

    def _begin(self) -> None:
        """Go on from the run's state, or take the folder for a new one."""
        run, log = self.options.run, self.options.run / "losses.jsonl"
        if not self.options.resume:
            if has_state(run):
                raise InputError(f"{run} holds a training that can go on: add --resume, or give another folder.")
            if self.runner.is_main_process:
                run.mkdir(parents=True, exist_ok=True)
                (run / "settings.json").write_text(json.dumps(self.told, indent=2) + "\n", encoding="utf-8")
                log.write_text("", encoding="utf-8")
            self.runner.wait_for_everyone()
            return
        facts = load_state(run, self.kept, self.optimisers)
        other = [name for name, value in _plain(self.told).items() if facts["told"].get(name) != value]
        if other:
            raise InputError(
                f"The training in {run} was begun with other settings ({', '.join(other)}); give the same."
            )
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        if self.runner.scaler is not None and facts["scaler"]:
            self.runner.scaler.load_state_dict(facts["scaler"])
        if self.runner.is_main_process:  # what came after the state is done again
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line]
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            log.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self.runner.wait_for_everyone()

    def go(self, report: Callable[[int, dict[str, float]], None]) -> nn.Module:
        options, runner = self.options, self.runner
        begun = time.monotonic() - self.seconds
        since: list[dict[str, Tensor]] = []
        saved = self.step
        batches = self._batches()
        while (done := self._done(begun)) < 1:
            since.append(self._step(next(batches), done))
            self.step += 1
            if self.step % options.log_every == 0:
                self._log(since, report)
                since = []
            if self.step % options.every == 0:
                self._keep(time.monotonic() - begun)
                saved = self.step
        if saved != self.step or not has_state(options.run):
            self._keep(time.monotonic() - begun)
        runner.wait_for_everyone()
        return self.average

    def _done(self, begun: float) -> float:
        """How much is over, the same in all processes; by steps if they are given, else by the clock."""
        steps, minutes = self.options.steps, self.options.minutes
        clock = 0.0 if minutes is None else (time.monotonic() - begun) / max(60 * minutes, 1e-9)
        if minutes is not None and self.runner.num_processes > 1:
            from accelerate.utils import broadcast

            clock = float(broadcast(torch.tensor([clock], device=self.runner.device))[0])
        if steps is None:
            return clock
        return 1.0 if clock >= 1 else self.step / max(steps, 1)

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        runner, options = self.runner, self.options
        loader = torch.utils.data.DataLoader(
            Lessons(self.clips, self.course.draw, options.seed),
            batch_sampler=lesson_numbers(options.batch, self.step, runner.process_index, runner.num_processes),
            num_workers=options.workers,
            worker_init_fn=_one_thread,
            pin_memory=runner.device.type == "cuda",
        )
        for batch in loader:
            yield {name: value.to(runner.device, non_blocking=True) for name, value in batch.items()}

    def _step(self, batch: dict[str, Tensor], done: float) -> dict[str, Tensor]:
        """One step of all that learn; each loss, of this process."""
        runner, rank = self.runner, self.runner.process_index
        torch.manual_seed(int(np.random.SeedSequence([self.options.seed, self.step, rank]).generate_state(1)[0]))
        turns, losses, finite = self.course.turns(batch, done), {}, True
        while True:
            with runner.autocast():
                turn = next(turns, None)
            if turn is None:
                break
            finite &= self._descend(turn)
            losses |= {name: value.detach() for name, value in turn.losses.items()}
        if runner.scaler is not None:
            runner.scaler.update()
        self._follow()
        self.unusable = 0 if finite else self.unusable + 1
        if self.unusable >= _NOT_FINITE:
            raise InputError(
                f"The losses have not been finite for {_NOT_FINITE} steps; go on from the state with a full "
                "--mixed-precision no, or start again with --clip-gradients."
            )
        return losses

    def _descend(self, turn: Turn) -> bool:
        """Whether the gradients were finite; those that are not change nothing."""
        runner, optimiser = self.runner, self.optimisers[turn.who]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.zero_grad(set_to_none=True)
        scaler = runner.scaler
        (turn.total if scaler is None else scaler.scale(turn.total)).backward()
        known = [p for p in parameters if p.grad is not None]
        self._share([p.grad for p in known])
        if scaler is not None:
            scaler.unscale_(optimiser)
        norm = torch.nn.utils.clip_grad_norm_(known, self.options.clip_gradients or float("inf"))
        finite = bool(torch.isfinite(norm))
        if scaler is not None:
            scaler.step(optimiser)  # skips by itself what is not finite, and lowers its scale
        elif finite:
            optimiser.step()
        return finite

    def _share(self, gradients: list[Tensor]) -> None:
        """Gradients become their mean over all processes, sent as one.

        Networks are not wrapped in DistributedDataParallel: lessons call parts of them, which it does not see.
        """
        if self.runner.num_processes == 1 or not gradients:
            return
        flat = self.runner.reduce(torch.cat([one.reshape(-1) for one in gradients]), "mean")
        for one, mean in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
            one.copy_(mean.view_as(one))

    @torch.no_grad()
    def _follow(self) -> None:
        """The average follows the weights, closely at first: it forgets how it began within a tenth of the steps."""
        decay = min(self.course.decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.state_dict().values(), self.course.network.state_dict().values(), strict=True)
        for average, now in pairs:
            if average.is_floating_point():
                average.lerp_(now, 1 - decay)
            else:
                average.copy_(now)

    def _log(self, since: list[dict[str, Tensor]], report: Callable[[int, dict[str, float]], None]) -> None:
        """One line: means over the steps since the last and over all processes."""
        names = sorted({name for losses in since for name in losses})
        means = [torch.stack([losses[name].float() for losses in since if name in losses]).mean() for name in names]
        values = self.runner.reduce(torch.stack(means), "mean").tolist()
        losses = dict(zip(names, values, strict=True))
        if self.runner.is_main_process:
            with (self.options.run / "losses.jsonl").open("a", encoding="utf-8") as file:
                print(json.dumps({"step": self.step, **losses}), file=file)
            report(self.step, losses)

    def _keep(self, seconds: float) -> None:
        if self.runner.is_main_process:
            scaler = self.runner.scaler
            facts = {
                "step": self.step,
                "seconds": seconds,
                "told": self.told,
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            save_state(self.options.run, facts, self.kept, self.optimisers)
            grids = self.options.run / "grids"
            grids.mkdir(exist_ok=True)
            grid = self.course.sheet(self.average, self.clips[0])
            cv2.imwrite(str(grids / f"{self.step:07d}.png"), grid[..., ::-1])
        self.runner.wait_for_everyone()


def settings_of(*parts: object) -> dict[str, Any]:
    """What `Course.told` holds, of dataclasses."""
    return {name: value for part in parts for name, value in asdict(part).items()}


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    """As they come back from JSON."""
    return json.loads(json.dumps(told))


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
