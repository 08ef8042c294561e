"""Train the refiner: mouths as the mesh draws them, corrected towards the real ones, on their grids.

The pictures' components come first, then a guess of what shows between the lips for when nobody saw it, then the best
linear answer in closed form, then what small networks add to it, each taught on other speakers and none for long: there
are few people to learn from, and what holds of them need not hold of others. What is asked of it at the end is asked
here: the error in dB, and change from frame to frame only where the real frames change. Speakers held out judge; the
corpus's own `val` is left alone.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM
from pipeline.face.morphable import MorphableModel
from pipeline.face.mouth_inside import INSIDE_DIM
from pipeline.face.topology import mirror_indices
from pipeline.hub import find_weights
from pipeline.renderers.mouth_grid import COLUMNS, CROP, ROWS, SHAPE_DIM
from pipeline.renderers.refiner import Refiner
from pipeline.renderers.refiner_network import RefinerNetwork, coarse, moved, skin_of
from pipeline.training.corpus import read_manifest
from pipeline.training.refiner_lessons import RefinerLesson, prepare

_HELD_OUT = 8  # one speaker in so many judges
_EPOCHS = 20
_BATCH = 128  # pairs of neighbouring frames
_LEARNING_RATE = 1e-3
_DECAY = 0.3
_RIDGE = 0.9  # a frame
_FINEST = 2e-4  # squared error below which little more is to be won
_STEADY, _STEADIEST = 1.0, 2e-5  # how much change from frame to frame counts, and squared change that is none
_STILL, _STILLEST = 0.5, 3e-4  # how much change counts where nothing changes, and change that is none
_MOVES = 0.012  # a point that changes more is not still
_BLUR = 1.2  # columns of the grid, sigma
_SAMPLES = 3000  # pictures that components are found in


@dataclass(frozen=True)
class Pairs:
    """All frames, rows 2i and 2i + 1 neighbours in time, as `RefinerLesson` has them, pictures on 0..1.

    Attributes:
        speaker: (N / 2,) of each pair.
        weight: (N / 2,) how often to take it.
    """

    drawn: Tensor
    truth: Tensor
    portrait: Tensor
    motion: Tensor
    shape: Tensor
    shown: Tensor
    inside: Tensor
    rows: Tensor
    speaker: np.ndarray
    weight: np.ndarray

    def held_out(self) -> np.ndarray:
        """(N / 2,) bool, whose speakers judge."""
        return np.array([zlib.crc32(speaker.encode()) % _HELD_OUT == 0 for speaker in self.speaker])

    def mirrored(self, mirror: np.ndarray) -> Pairs:
        """The same faces seen in a mirror."""
        shape = self.shape.clone()
        for first in (0, SHAPE_DIM):
            shape[:, [first, first + 1]] = CROP.width - 1 - self.shape[:, [first + 1, first]]
        drawn, truth, portrait = (part.flip(2) for part in (self.drawn, self.truth, self.portrait))
        motion = self.motion @ torch.from_numpy(mirror)
        shown, inside = (mirrored_inside(part) for part in (self.shown, self.inside))
        return replace(
            self, drawn=drawn, truth=truth, portrait=portrait, motion=motion, shape=shape, shown=shown, inside=inside
        )

    def seen(self, rows: np.ndarray | slice) -> tuple[Tensor, ...]:
        """What a network is given of some rows, in the order of its `forward`."""
        parts = (self.drawn, self.portrait, self.motion, self.shape, self.shown, self.inside)
        return tuple(part[rows] for part in parts)


def main(corpus: Path, output: Path, cache: Path = Path("cache"), **_: object) -> None:
    """Make the lessons that `cache` lacks, train on `split=train` and write the weights."""
    weights = find_weights()
    paths = prepare(corpus, cache, weights)
    speakers = {file.name: file.speaker for file in read_manifest(corpus)}
    mirror = mirroring(MorphableModel.load(weights.component("face")))
    Refiner(train(read_pairs(paths, speakers), mirror)).save(output)


def read_pairs(paths: list[Path], speakers: dict[str, str]) -> Pairs:
    """The lessons of some files of `prepare`; speakers by the clips' names."""
    clips = Counter(speakers[path.stem] for path in paths)
    lessons = [RefinerLesson.load(path) for path in paths]
    owners = [speakers[path.stem] for path in paths]
    parts = {
        name: torch.from_numpy(np.concatenate([getattr(lesson, name) for lesson in lessons]))
        for name in ("drawn", "truth", "portrait", "motion", "shape", "shown", "inside", "rows")
    }
    pictures = {name: part.float() / 255 for name, part in parts.items() if part.dtype == torch.uint8}
    # Sharp footage teaches more, and a speaker's second clip less than the first.
    weight = [
        np.clip(one.scale[::2] / 200, 0.6, 1.3) / np.sqrt(clips[own]) for one, own in zip(lessons, owners, strict=True)
    ]
    speaker = np.repeat(owners, [len(one.scale) // 2 for one in lessons])
    return Pairs(**(parts | pictures), speaker=speaker, weight=np.concatenate(weight))


def train(
    pairs: Pairs,
    mirror: np.ndarray,
    network: RefinerNetwork | None = None,
    epochs: int = _EPOCHS,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> RefinerNetwork:
    """Train a network; each member leaves out other speakers, and all of them those who judge."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = network or RefinerNetwork()
    chosen = np.flatnonzero(~pairs.held_out())
    views = [pairs, pairs.mirrored(mirror)]
    _find_components(network, views, chosen, random)
    with torch.no_grad():
        raw = [network.components(*view.seen(slice(None))) for view in views]
        network.mean, network.spread = (one(torch.cat(raw)[_rows(chosen)], 0) for one in (torch.mean, torch.std))
        network.spread.clamp_(min=1e-4)
        seen = [network.features(*view.seen(slice(None))) for view in views]
    _teach_guess(network, seen, pairs, chosen, epochs, random)
    log(f"insides guessed: {judge_guess(network, seen[0], pairs):.1%} of their variance")
    log(f"to begin with: {judge(network, pairs)}")
    for index in range(len(network.members)):
        own = [pair for pair in chosen if (zlib.crc32(pairs.speaker[pair].encode()) // _HELD_OUT) % 6 != index]
        _solve_linear(network, index, views, seen, np.array(own))
        _teach(network, index, views, seen, np.array(own), epochs, random)
        log(f"member {index}: {judge(network, pairs, index)}")
    log(f"together: {judge(network, pairs)}")
    log(f"insides not seen: {judge(network, pairs, unseen=True)}")
    return network.eval()


def judge(network: RefinerNetwork, pairs: Pairs, member: int | None = None, unseen: bool = False) -> dict[str, float]:
    """On speakers held out: dB of the mouth as drawn and how many the correction wins, and how much the change from
    frame to frame grows; with the inside of the driving mouth seen or not."""
    rows = _rows(np.flatnonzero(pairs.held_out()))
    network.eval()
    with torch.no_grad():
        drawn, portrait, motion, shape, shown, inside = pairs.seen(rows)
        truth = pairs.truth[rows]
        inside = torch.full_like(inside, torch.nan) if unseen else inside
        features = network.features(drawn, portrait, motion, shape, shown, inside)
        made = (drawn + network.share(portrait, motion) * network.answer(features, member)).clamp(0, 1)
        before, after = (-10 * torch.log10(_squared(one - truth, pairs.rows[rows]) + 1e-5) for one in (drawn, made))
        still = ((truth[1::2] - truth[::2]).abs().amax(-1, keepdim=True) < 0.015).float()
        changes = [((one[1::2] - one[::2]).abs() * still).sum() / still.sum() / 3 * 255 for one in (drawn, made)]
    return {
        "drawn dB": round(float(before.mean()), 3),
        "won dB": round(float((after - before).mean()), 3),
        "won by the worst tenth": round(float(np.quantile((after - before).numpy(), 0.1)), 3),
        "flicker": round(float(changes[0]), 3),
        "flicker then": round(float(changes[1]), 3),
    }


def judge_guess(network: RefinerNetwork, features: Tensor, pairs: Pairs) -> float:
    """On speakers held out: the share of the variance of what shows inside that is guessed."""
    rows = _rows(np.flatnonzero(pairs.held_out()))
    network.eval()
    with torch.no_grad():
        known, wanted = features[rows].split([features.shape[1] - INSIDE_DIM, INSIDE_DIM], 1)
        missed = (network.guess(known) - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    return 1 - float(missed)


def mirrored_inside(inside: Tensor) -> Tensor:
    """(N, 27) what shows inside mouths seen in a mirror."""
    return inside.unflatten(1, (3, 3, 3)).flip(2).flatten(1)


def mirroring(model: MorphableModel) -> np.ndarray:
    """(70, 70) float32 that turns motion, as a row, into that of the mirrored face."""
    basis = model.expression_basis
    flipped = basis[mirror_indices(model.mean)] * np.array([-1, 1, 1])[:, None]
    weights = np.sqrt(np.repeat(model.fit_weights, 3))[:, None]
    sides = (weights * part.reshape(-1, EXPRESSION_DIM) for part in (basis, flipped))
    out = np.zeros((EXPRESSION_DIM + POSE_DIM,) * 2, np.float32)
    out[:EXPRESSION_DIM, :EXPRESSION_DIM] = np.linalg.lstsq(*sides, rcond=None)[0].T
    out[EXPRESSION_DIM:, EXPRESSION_DIM:] = np.diag([1, -1, -1, -1, 1, 1])
    return out


def _rows(pairs: np.ndarray) -> np.ndarray:
    return np.stack([2 * pairs, 2 * pairs + 1], 1).reshape(-1)


def _wanted(view: Pairs, rows: np.ndarray) -> Tensor:
    """(B, 34, 40, 3) what should be added, as shares of the skin's colour."""
    return (view.truth[rows] - view.drawn[rows]) / skin_of(view.portrait[rows])


def _restless(made: Tensor, real: Tensor, rows: Tensor) -> Tensor:
    """(B / 2,) how much made grids change from frame to frame where the real ones stand still."""
    change = (real[1::2] - real[::2]).abs().mean(-1)
    still = torch.exp(-((functional.avg_pool2d(change[:, None], 3, 1, 1)[:, 0] / _MOVES) ** 2))
    unrest = (made[1::2] - made[::2]).abs().mean(-1)
    return ((still * unrest).mean(2) * rows[::2]).sum(1)


def _squared(error: Tensor, rows: Tensor) -> Tensor:
    """(B,) squared error of grids, each row by its share of the area."""
    return (error.square().mean((2, 3)) * rows).sum(1)


def _find_components(
    network: RefinerNetwork, views: list[Pairs], chosen: np.ndarray, random: np.random.Generator
) -> None:
    """The main components of the portraits' pictures, of what the mesh changed of them, and of what is wanted."""
    rows = _rows(random.choice(chosen, min(_SAMPLES // 4, len(chosen)), replace=False))
    skins = [skin_of(view.portrait[rows]) for view in views]
    portrait = torch.cat([coarse(view.portrait[rows] / skin) for view, skin in zip(views, skins, strict=True)])
    drawn = torch.cat([coarse(view.drawn[rows] / skin) for view, skin in zip(views, skins, strict=True)])
    wanted = torch.cat([_wanted(view, rows).flatten(1) for view in views])
    seen, made = network.config["seen"], network.config["made"]
    network.change_mean, basis = _components(drawn - portrait, seen)
    network.change_basis = basis.T.contiguous()
    network.portrait_mean, basis = _components(portrait, seen)
    network.portrait_basis = basis.T.contiguous()
    network.answer_mean, basis = _components(wanted, made)
    network.answer_basis = _without_stripes(basis)


def _without_stripes(basis: Tensor) -> Tensor:
    """(K, P) components without what changes from one column to the next.

    Gaps between teeth are in them, at no place that anybody could know, and mouths that open wider than those learned
    from show them as stripes. They win nothing: 1.834 dB without them and 1.837 with, on speakers held out.
    """
    reach = int(3 * _BLUR)
    kernel = torch.exp(-((torch.arange(-reach, reach + 1) / _BLUR) ** 2) / 2)
    rows = basis.view(-1, ROWS, COLUMNS, 3).permute(0, 1, 3, 2).reshape(-1, 1, COLUMNS)
    smooth = functional.conv1d(functional.pad(rows, (reach, reach), "replicate"), (kernel / kernel.sum())[None, None])
    return smooth.view(-1, ROWS, 3, COLUMNS).permute(0, 1, 3, 2).reshape(len(basis), -1).contiguous()


def _components(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (P,) and the first components (count, P) of samples (N, P)."""
    mean = samples.mean(0)
    return mean, torch.linalg.svd(samples - mean, full_matrices=False)[2][:count].contiguous()


def _solve_linear(
    network: RefinerNetwork, index: int, views: list[Pairs], seen: list[Tensor], chosen: np.ndarray
) -> None:
    rows = _rows(chosen)
    features = torch.cat([part[rows] for part in seen])
    answers = []
    for view in views:
        for part in np.array_split(rows, max(1, len(rows) // 2000)):
            answers.append((_wanted(view, part).flatten(1) - network.answer_mean) @ network.answer_basis.T)
    wanted = torch.cat(answers)
    features = torch.cat([features, torch.ones(len(features), 1)], 1)
    solved = torch.linalg.solve(
        features.T @ features + _RIDGE * len(features) * torch.eye(features.shape[1]), features.T @ wanted
    )
    with torch.no_grad():
        network.members[index].linear.weight.copy_(solved[:-1].T)
        network.members[index].linear.bias.copy_(solved[-1])


def _teach_guess(
    network: RefinerNetwork,
    seen: list[Tensor],
    pairs: Pairs,
    chosen: np.ndarray,
    epochs: int,
    random: np.random.Generator,
) -> None:
    odds = pairs.weight[chosen] / pairs.weight[chosen].sum()
    known = seen[0].shape[1] - INSIDE_DIM

    def loss() -> Tensor:
        rows = _rows(random.choice(chosen, _BATCH, p=odds))
        given, wanted = seen[int(random.integers(2))][rows].split([known, INSIDE_DIM], 1)
        return (network.guess(given) - wanted).square().mean()

    _descend(network.guess, epochs * len(chosen) // _BATCH, loss)


def _teach(
    network: RefinerNetwork,
    index: int,
    views: list[Pairs],
    seen: list[Tensor],
    chosen: np.ndarray,
    epochs: int,
    random: np.random.Generator,
) -> None:
    odds = views[0].weight[chosen] / views[0].weight[chosen].sum()

    def loss() -> Tensor:
        side = int(random.integers(2))
        view, rows = views[side], _rows(random.choice(chosen, _BATCH, p=odds))
        share = moved(view.motion[rows])[:, None, None, None]
        error = share * network.answer(seen[side][rows], index) - _wanted(view, rows)
        error = error * skin_of(view.portrait[rows])
        squared = _squared(error, view.rows[rows])
        step_error = _squared(error[1::2] - error[::2], view.rows[rows][::2])
        loss = torch.log(squared + _FINEST).mean() + _STEADY * torch.log(step_error + _STEADIEST).mean()
        real = view.truth[rows]
        return loss + _STILL * torch.log(_restless(real + error, real, view.rows[rows]) + _STILLEST).mean()

    _descend(network.members[index], epochs * len(chosen) // _BATCH, loss)


def _descend(module: nn.Module, steps: int, loss: Callable[[], Tensor]) -> None:
    """Teach a module, with a rate that rises for a moment and then falls to nothing."""
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), _LEARNING_RATE, weight_decay=_DECAY)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    module.eval()
