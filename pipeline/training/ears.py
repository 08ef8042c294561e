"""Teach the talking driver's ears to hear what a large recogniser of speech hears, on speech without pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.drivers.ears import Ears
from pipeline.training.pieces import Piece, batch

_BATCH, _FRAMES = 32, 150
_RATE, _WARM_STEPS, _LAST_SHARE = 2e-3, 100, 0.005
_DECAY = 0.998  # of the running mean of weights, which is what is kept
_HELD = 40  # every so-manieth piece is held out, to measure by
_OUTLIER = 1.5  # spreads from which an error counts by its size, not its square


def teach(
    pieces: list[Piece],
    weights: np.ndarray,
    ears: Ears,
    steps: int = 3000,
    minutes: float = np.inf,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> Ears:
    """Train ears, in place, on pieces for `steps`, or fewer if `minutes` are over; their running mean is returned.

    Args:
        pieces: what is learned from.
        weights: (K,) how much each thing that the teacher tells counts.
        ears: new ones.
        steps: of 32 cuts of 6 s.
        minutes: at most.
        seed: of all chance.
        log: told the share of the teacher's answers that is found, on pieces held out.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held = [piece for piece in pieces[::_HELD] if len(piece) >= 4 * 25]
    taught = [piece for index, piece in enumerate(pieces) if index % _HELD]
    lengths = np.array([len(piece) for piece in taught], float)
    head = nn.Linear(ears.heard_dim, len(weights))
    learner = nn.ModuleList([ears, head])
    kept = deepcopy(learner)
    optimiser = torch.optim.AdamW(learner.parameters(), _RATE, weight_decay=0.02)
    scale = torch.from_numpy(weights)
    started = time.monotonic()
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - started) / (60 * minutes))
        if done >= 1:
            break
        for group in optimiser.param_groups:
            cosine = 0.5 * (1 + np.cos(np.pi * done)) + _LAST_SHARE
            group["lr"] = _RATE * min(1.0, (step + 1) / _WARM_STEPS) * cosine
        chosen = [taught[index] for index in rng.choice(len(taught), _BATCH, p=lengths / lengths.sum())]
        mel, wanted, there = (torch.from_numpy(part) for part in batch(chosen, _FRAMES, rng))
        learner.train()
        with torch.autocast("cpu", torch.bfloat16):
            answer = head(ears(mel)).float()
        error = F.huber_loss(answer, wanted, reduction="none", delta=_OUTLIER) * scale
        loss = (error.mean(-1) * there).sum() / there.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        _follow(kept, learner, min(_DECAY, step / (step + 20)))
        if (step + 1) % 300 == 0:
            found = understood(kept.eval(), held)
            log(f"ears step {step + 1}/{steps}: loss {loss.item():.3f}, found {found:.3f} of what the teacher hears")
    return kept[0].eval()  # type: ignore[return-value]


@torch.no_grad()
def _follow(kept: nn.Module, learner: nn.Module, decay: float) -> None:
    for mean, value in zip(kept.state_dict().values(), learner.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.mul_(decay).add_(value, alpha=1 - decay)
        else:
            mean.copy_(value)


@torch.no_grad()
def understood(learner: nn.Module, pieces: list[Piece]) -> float:
    """The share (R²) of the variance of a teacher's answers that ears and head find, mean over its directions."""
    rng = np.random.default_rng(1)
    left: Tensor = torch.zeros(())
    whole: Tensor = torch.zeros(())
    for start in range(0, len(pieces), 16):
        mel, wanted, there = (torch.from_numpy(part) for part in batch(pieces[start : start + 16], _FRAMES, rng))
        answer = learner[1](learner[0](mel))  # type: ignore[index]
        left = left + ((answer - wanted).square() * there[..., None]).sum((0, 1))
        whole = whole + (wanted.square() * there[..., None]).sum((0, 1))
    return float((1 - left / whole).mean())
