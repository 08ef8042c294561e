"""Train the listening driver: Chang 2023 §4.4 eq. 6 for its regression, flow matching for its generative head.

Lessons (`listening_lessons`) are a few real listeners and many composed of real motion by known rules. Trunk and both
heads are trained together. The speaker's face is masked in half of the examples that have one, so that the driver
does with and without; the network told little of whose face it is cannot learn the few listeners by heart.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS
from pipeline.coefficients import POSE_DIM
from pipeline.drivers.audio_encoder import AudioEncoder, encode
from pipeline.drivers.knots import to_knots
from pipeline.drivers.listener import Finish
from pipeline.drivers.listener_motion import ListenerMotion
from pipeline.drivers.listening import CAUSAL, MOTION, ListeningDriver
from pipeline.drivers.listening_flow import coloured_noise
from pipeline.drivers.listening_networks import OWN_DIM, SPEAKER_DIM, Conditions, ListenerConfig, ListenerNet
from pipeline.drivers.motion_space import MotionSpace
from pipeline.drivers.turns import KINDS
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.training.listening_lessons import ListeningLesson, make_lessons

CLIP_KNOTS = 64  # 5 s
_WARM_STEPS = 30
_LEAST_FINISH = 10 * FPS
_GAINS = (1.0, 2.2)
_HEADS = 1.1  # lessons' heads have 0.86 of the spread of real listeners' (`evaluation.listener_metrics`)
_MOTION_LIMIT = 5.0  # units beyond which a lesson's motion is a tracker's slip
_OWN_NOISE = np.repeat((0.3, 0.05), (OWN_DIM - POSE_DIM, POSE_DIM)).astype(np.float32)


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes:
        draws: of noise for each example: the trunk takes most of the time.
        real: share of examples that are of real listeners, as far as there are any.
        masking: share of examples with a speaker's face whose face is taken away.
        strangers: share of examples that are told nothing of the portrait.
        continuity: w1 and w2 of eq. 6.
        regression: weight of eq. 6 against the flow's loss.
        pitch: weight of the head's pitch in the flow's loss: nods are what is looked for. Components of expression
            weigh as much as they move.
        average: share of the averaged weights that a step keeps.
    """

    config: ListenerConfig = field(default_factory=ListenerConfig)
    batch: int = 32
    draws: int = 2
    learning_rate: float = 3e-3
    last_rate: float = 5e-5
    weight_decay: float = 0.02
    steps: int = 1200
    real: float = 0.12
    masking: float = 0.5
    strangers: float = 0.3
    continuity: float = 2.0
    regression: float = 0.15
    pitch: float = 2.5
    average: float = 0.99


@dataclass(frozen=True)
class Example:
    """A lesson as the network takes it; arrays of T knots, float32.

    Attributes:
        sound: (T, 128); turns: (T, TURN_DIM); motion: (T, M).
        speaker: (T, SPEAKER_DIM + 1) the face, and whether it is seen.
        own: (OWN_DIM,) of the portrait.
        attitude: index.
        real: whether a real listener.
    """

    sound: np.ndarray
    turns: np.ndarray
    motion: np.ndarray
    speaker: np.ndarray
    own: np.ndarray
    attitude: int
    real: bool


def prepare(lesson: ListeningLesson, encoder: AudioEncoder, space: MotionSpace) -> Example:
    """Encode one lesson's sound and motion."""
    pose = lesson.pose - lesson.reference.pose
    motion = space.encode(pose, lesson.expression - lesson.reference.expression)
    rows = encode(lesson.sound, encoder)
    turns = lesson.plan.conditions()
    count = min(len(motion), len(rows), len(turns))
    speaker = np.zeros((count, SPEAKER_DIM + 1), np.float32)
    if lesson.speaker is not None:
        face = lesson.speaker[:count]
        speaker[: len(face)] = np.concatenate([face.expression, face.pose, np.ones((len(face), 1))], -1)
    own = np.concatenate([lesson.reference.expression[0], lesson.reference.pose[0]])
    return Example(
        sound=to_knots(rows[:count]),
        turns=to_knots(turns[:count].astype(np.float32)),
        motion=to_knots(motion[:count].clip(-_MOTION_LIMIT, _MOTION_LIMIT)),
        speaker=to_knots(speaker),
        own=own.astype(np.float32),
        attitude=lesson.attitude,
        real=lesson.source == "real",
    )


def train_network(
    examples: list[Example],
    space: MotionSpace,
    recipe: Recipe,
    seed: int = 0,
    held: list[Example] | None = None,
    log: Callable[[str], None] = print,
    minutes: float = np.inf,
    start: ListenerNet | None = None,
) -> ListenerNet:
    """Train one network for the recipe's steps, or fewer if `minutes` are over; its averaged weights are returned.

    It goes on from `start`, if that is given; `held` examples tell how well it does.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = ListenerNet(recipe.config) if start is None else copy.deepcopy(start)
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    weights = flow_weights(space, recipe)
    started, losses = time.monotonic(), []
    for step in range(recipe.steps):
        done = max(step / recipe.steps, (time.monotonic() - started) / (60 * minutes))
        if done >= 1:
            break
        cosine = recipe.last_rate + (recipe.learning_rate - recipe.last_rate) * 0.5 * (1 + np.cos(np.pi * done))
        optimiser.param_groups[0]["lr"] = cosine * min(1.0, (step + 1) / _WARM_STEPS)
        net.train()
        terms = losses_of(net, draw_batch(examples, recipe, rng), weights, recipe, rng)
        loss = recipe.regression * terms[0] + terms[1]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        kept = min(recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, 1 - kept)
        losses.append([term.item() for term in terms])
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            said = "regression {:.3f}, flow {:.3f}".format(*np.mean(losses[-100:], 0))
            if held:
                said += ", held out {:.3f}, {:.3f}".format(*measure(average, held, weights, recipe))
            log(f"seed {seed} step {step + 1}/{recipe.steps}: {said}, {time.monotonic() - started:.0f} s")
    return average.eval()


@dataclass
class Batch:
    """B examples of `CLIP_KNOTS`; `mask` (B, T) is 1 where there is a lesson."""

    conditions: Conditions
    motion: Tensor
    mask: Tensor


def draw_batch(examples: list[Example], recipe: Recipe, rng: np.random.Generator) -> Batch:
    """Stretches of lessons, each lesson by its length, real listeners as often as the recipe says."""
    share = np.array([float(len(one.motion)) for one in examples])
    real = np.array([one.real for one in examples])
    if 0 < real.sum() < len(real):
        share[real] *= recipe.real / share[real].sum()
        share[~real] *= (1 - recipe.real) / share[~real].sum()
    chosen = [examples[index] for index in rng.choice(len(examples), recipe.batch, p=share / share.sum())]
    starts = [int(rng.integers(0, max(1, len(one.motion) - CLIP_KNOTS + 1))) for one in chosen]
    batch = _stack(chosen, starts)
    told = batch.conditions
    told.seen[torch.from_numpy(rng.random(recipe.batch) < recipe.masking)] = 0
    # The portrait must not tell which lesson this is, or the network learns lessons by heart.
    told.own += torch.from_numpy(rng.normal(size=told.own.shape).astype(np.float32) * _OWN_NOISE)
    told.own[torch.from_numpy(rng.random(recipe.batch) < recipe.strangers)] = 0
    return batch


def _stack(chosen: list[Example], starts: list[int]) -> Batch:
    def rows(name: str) -> Tensor:
        first = getattr(chosen[0], name)
        table = np.zeros((len(chosen), CLIP_KNOTS, first.shape[1]), np.float32)
        for row, (one, start) in enumerate(zip(chosen, starts, strict=True)):
            part = getattr(one, name)[start : start + CLIP_KNOTS]
            table[row, : len(part)] = part
        return torch.from_numpy(table)

    lengths = torch.tensor([len(one.motion) - start for one, start in zip(chosen, starts, strict=True)])
    speaker = rows("speaker")
    conditions = Conditions(
        sound=rows("sound"),
        turns=rows("turns"),
        speaker=speaker[..., :-1].clone(),
        seen=speaker[..., -1:].clone(),
        own=torch.from_numpy(np.stack([one.own for one in chosen])),
        attitude=torch.tensor([one.attitude for one in chosen]),
    )
    return Batch(conditions, rows("motion"), (torch.arange(CLIP_KNOTS) < lengths[:, None]).float())


def losses_of(
    net: ListenerNet, batch: Batch, weights: Tensor, recipe: Recipe, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Eq. 6 and the flow's loss, each a mean over knots; `weights` as of `flow_weights`.

    The flow's: the squared error of the velocity at shares of noise drawn from a logit-normal distribution (Esser
    2024, "Scaling Rectified Flow Transformers", §3.1).
    """
    motion, mask = batch.motion, batch.mask
    heard = net.hear(batch.conditions)
    error = net.regression(heard) - motion
    regression = _norms(error, mask) + recipe.continuity * _norms(error[:, 1:] - error[:, :-1], mask[:, 1:])

    motion, mask, heard = (part.repeat(recipe.draws, 1, 1) for part in (motion, mask[..., None], heard))
    sigma = torch.sigmoid(torch.from_numpy(rng.normal(0.2, 1.1, len(motion)).astype(np.float32)))
    noise = torch.from_numpy(coloured_noise(rng, *motion.shape))
    noisy = motion + sigma[:, None, None] * (noise - motion)
    velocity = net.velocity(noisy, sigma, heard, batch.conditions.attitude.repeat(recipe.draws))
    squares = ((velocity - (noise - motion)).square() * weights).mean(-1, keepdim=True)
    return regression, (squares * mask).sum() / mask.sum()


def flow_weights(space: MotionSpace, recipe: Recipe) -> Tensor:
    """(M,) of each number of motion in the flow's loss; their mean is 1."""
    weights = torch.ones(space.size)
    weights[0] = recipe.pitch
    weights[POSE_DIM:] = torch.from_numpy(space.scale[POSE_DIM:] / space.scale[POSE_DIM:].mean())
    return weights / weights.mean()


def _norms(error: Tensor, mask: Tensor) -> Tensor:
    """|p| + |β| of eq. 6, where `mask` is 1; divided by the root of their sizes, so that the two count alike."""
    pose, expression = error[..., :POSE_DIM], error[..., POSE_DIM:]
    sizes = (part.square().mean(-1).add(1e-6).sqrt() for part in (pose, expression))
    return (sum(sizes) * mask).sum() / mask.sum()


@torch.no_grad()
def measure(net: ListenerNet, examples: list[Example], weights: Tensor, recipe: Recipe) -> tuple[float, float]:
    """Both losses on examples, always with the same noise."""
    rng = np.random.default_rng(1)
    net.eval()
    found = [[term.item() for term in losses_of(net, batch, weights, recipe, rng)] for batch in _all(examples)]
    regression, flow = np.mean(found, 0)
    return float(regression), float(flow)


def _all(examples: list[Example]) -> Iterator[Batch]:
    for start in range(0, len(examples), 16):
        some = examples[start : start + 16]
        yield _stack(some, [0] * len(some))


def choose_finish(driver: ListeningDriver, lessons: list[ListeningLesson], curves: ListenerMotion) -> Finish:
    """What must be given back to the driver, so that it moves as much as lessons that it has not seen.

    Gains make its slow motion (0.1 to 1 Hz) as large as the lessons'; shares make up for how far gestures fall short
    of their curves. Figures of the network without either are compared, at the lessons' own plans.
    """
    space, network = driver.space, driver.without_finish()
    wanted, made = [], []
    series = []
    for number, lesson in enumerate(lessons):
        motion = network.answer(lesson.sound, lesson.reference, lesson.plan, ATTITUDES[lesson.attitude], number)
        count = min(len(motion), len(lesson.pose))
        if count < _LEAST_FINISH:
            continue
        offsets = lesson.pose - lesson.reference.pose, lesson.expression - lesson.reference.expression
        wanted.append(_slow_power(space.encode(*offsets)[:count]))
        made.append(_slow_power(motion[:count]))
        series.append((lesson, motion[:count]))
    if not series:
        return Finish(np.ones(space.size, np.float32), {})
    gains = np.sqrt(np.mean(wanted, 0) / np.mean(made, 0))
    gains[:POSE_DIM] *= _HEADS
    # The space's few components stand for all that the expression does.
    gains[POSE_DIM:] *= np.sqrt(1 / _share_in(space, [lesson for lesson, _ in series]))
    gains = gains.clip(*_GAINS).astype(np.float32)
    shares = {}
    for kind in KINDS:
        found, full = 0.0, 0.0
        for lesson, motion in series:
            answers = [one for one in lesson.plan.backchannels if one.kind == kind]
            face, head = curves.gestures(answers, ATTITUDES[lesson.attitude], 0, len(motion))
            curve = _quick(space.encode(head, face))
            found += float((curve * _quick(motion * gains)).sum())
            full += float((curve * curve).sum())
        shares[kind] = round(float(np.clip(1 - found / full, 0, 1)), 3) if full else 1.0
    return Finish(gains, shares)


def _share_in(space: MotionSpace, lessons: list[ListeningLesson]) -> float:
    """Share of the expression's spread over time that the space holds."""
    parts = [lesson.expression - lesson.expression.mean(0) for lesson in lessons]
    within = sum(float(np.square(part @ space.basis.T).sum()) for part in parts)
    return within / sum(float(np.square(part).sum()) for part in parts)


def _slow_power(motion: np.ndarray) -> np.ndarray:
    """(M,) mean square of motion (T, M) between 0.1 and 1 Hz."""
    window = np.hanning(len(motion))[:, None]
    power = np.abs(np.fft.rfft((motion - motion.mean(0)) * window, axis=0)) ** 2
    rate = np.fft.rfftfreq(len(motion), 1 / FPS)
    return power[(rate > 0.1) & (rate < 1.0)].sum(0) / (window**2).sum()


def _quick(motion: np.ndarray) -> np.ndarray:
    """Motion (T, M) without what lasts longer than gestures do."""
    kernel = np.hanning(2 * FPS + 1)
    kernel /= kernel.sum()
    padded = np.pad(motion, ((FPS, FPS), (0, 0)), mode="edge")
    slow = np.stack([np.convolve(column, kernel, "valid") for column in padded.T], -1)
    return motion - slow[: len(motion)]


def split_lessons(lessons: list[ListeningLesson]) -> tuple[list[ListeningLesson], list[ListeningLesson]]:
    """Every twelfth sound is held out with all who listen to it, to watch by, or the last of a few.

    The corpus's real listeners are too few for that: where there are composed lessons, these are taken alone. Data in
    ViCo's layout is all real.
    """
    composed = [lesson for lesson in lessons if lesson.source != "real"]
    sounds = list(dict.fromkeys(id(lesson.sound) for lesson in composed or lessons))
    held = set(sounds[5::12] or sounds[1:][-1:])
    return [one for one in lessons if id(one.sound) not in held], [one for one in lessons if id(one.sound) in held]


def measure_space(lessons: list[ListeningLesson], model: MorphableModel) -> MotionSpace:
    """The space of motion of all lessons."""
    pose = np.concatenate([lesson.pose - lesson.reference.pose for lesson in lessons])
    expression = np.concatenate([lesson.expression - lesson.reference.expression for lesson in lessons])
    return MotionSpace.of(pose, expression, model)


def main(
    corpus: str | Path,
    output: str | Path,
    cache: str | Path,
    minutes: float = 40,
    encoders: str | Path = EMBEDDED / "audio_encoder",
    log: Callable[[str], None] = print,
    **_: object,
) -> None:
    """Train the driver and its causal variant and write them to `output` and `output/causal`.

    Args:
        corpus: the corpus's folder.
        output: where the weights go.
        cache: keeps tracked clips, see `tracked_clips`.
        minutes: how long both networks may take in all, beside what prepares them.
        encoders: the audio encoder's weights.
        log: told how it goes.
    """
    torch.set_num_threads(1)
    model = MorphableModel.load(EMBEDDED / "face")
    taught, held = split_lessons(make_lessons(corpus, cache, seed=0, log=log))
    space = measure_space(taught, model)
    curves = ListenerMotion.load(EMBEDDED / "listening" / MOTION)
    drivers: list[ListeningDriver] = []
    for causal in (True, False):
        encoder = AudioEncoder.load(Path(encoders) / (CAUSAL if causal else ""))
        config = ListenerConfig(causal=causal, motion_dim=space.size, sound_dim=encoder.config.output_dim)
        examples, watched = ([prepare(one, encoder, space) for one in some] for some in (taught, held))
        log(f"{'causal' if causal else 'full'}: {sum(len(one.motion) for one in examples)} knots to learn from")
        net = train_network(examples, space, Recipe(config), int(causal), watched, log, minutes / 2)
        driver = ListeningDriver(net, encoder, space, None, model)
        finish = choose_finish(driver, held, curves)
        log(f"gains {finish.gains.round(2).tolist()}, shares of gestures {finish.shares}")
        drivers.append(ListeningDriver(net, encoder, space, None, model, *drivers, finish=finish, gestures=curves))
    drivers[-1].save(output)
