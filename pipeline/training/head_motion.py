"""Train the mixture density network of `pipeline.drivers.head_motion` on real poses and the sound to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.drivers.head_motion import (
    AXES,
    INPUTS,
    KNOT,
    MOVES,
    SOUND_AFTER,
    SOUND_BEFORE,
    SOUND_STEP,
    HeadMotion,
    network_inputs,
)

HIDDEN, MIXTURE = 64, 6
SIZE_QUANTILE = 0.45  # whose liveliness is taken: a little calmer than the usual speaker
_MIRROR = np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
_TREMBLE = 1.0  # frames over which tracked poses are smoothed: what is quicker is mostly the tracker's
_LEAST_LOG = -3.0  # no component narrower than this: the network must not learn clips by heart


@dataclass(frozen=True)
class PosedVoice:
    """A clip of pose (T, 6) and prosody (T, 4) of one person."""

    speaker: str
    pose: np.ndarray
    voice: np.ndarray


def neck_coupling(clips: list[PosedVoice]) -> np.ndarray:
    """(3, 3) shift right, down and log size a radian; only what a neck can do, so that noise isn't learned."""
    centred = np.concatenate([clip.pose - clip.pose.mean(0) for clip in clips])
    rotation, shift = centred[:, :3], centred[:, 3:]
    coupling = np.zeros((3, 3))
    coupling[1:, 0] = np.linalg.lstsq(rotation[:, 1:], shift[:, 0], rcond=None)[0]
    coupling[0, 1:] = rotation[:, 0] @ shift[:, 1:] / (rotation[:, 0] @ rotation[:, 0])
    return coupling


def train_head_motion(clips: list[PosedVoice], epochs: int = 30, seed: int = 0) -> HeadMotion:
    """Fit by maximum likelihood; a tenth of the people are held out, and the epoch that suits them best is kept.

    Each clip is brought to unit speed, so that lively and calm people teach the same network; the scale is then that
    of the `SIZE_QUANTILE` of them. Mirror images and all phases of the knots are used.
    """
    import torch

    torch.manual_seed(seed)
    coupling = neck_coupling(clips)
    series, sizes = [], []
    for clip in clips:
        rotation = clip.pose[:, :3]
        y = np.concatenate([rotation, clip.pose[:, 3:] - rotation @ coupling], -1)
        y = _smooth(y, _TREMBLE)
        y = y - y.mean(0)
        sizes.append(np.sqrt((np.diff(y[:, :3], axis=0) ** 2).mean()))
        series.append(y / sizes[-1])
    weights = [1 / np.sqrt(len(y)) for y in series]
    spread = np.sqrt(
        np.stack(
            [
                sum(w * (y**2).sum(0) for w, y in zip(weights, series, strict=True)),
                sum(w * ((y[KNOT:] - y[:-KNOT]) ** 2).sum(0) for w, y in zip(weights, series, strict=True)),
            ]
        )
        / sum(w * len(y) for w, y in zip(weights, series, strict=True))
    )
    people = sorted({clip.speaker for clip in clips})
    apart = set(people[5::10])
    sets: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for clip, y in zip(clips, series, strict=True):
        for sign in (1.0, _MIRROR):
            sets[clip.speaker in apart].append(_examples(y * sign, clip.voice, spread))
    train, held = (
        [torch.tensor(np.concatenate(part), dtype=torch.float32) for part in zip(*sets[out], strict=True)]
        for out in (False, True)
    )
    net = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, MIXTURE * (2 * AXES + 1)),
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    batch = 512
    steps = epochs * (len(train[0]) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 1e-5)
    best, kept = np.inf, None
    for _ in range(epochs):
        net.train()
        order = torch.randperm(len(train[0]))
        for start in range(0, len(order) - batch + 1, batch):
            x, move, weight = (part[order[start : start + batch]] for part in train)
            # A trembling past, so that the network's own small errors don't add up when it feeds itself.
            x = x + 0.05 * torch.randn_like(x)
            loss = (_surprise(net(x), move) * weight).sum() / weight.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            loss = float((_surprise(net(held[0]), held[1]) * held[2]).sum() / held[2].sum())
        if loss < best:
            best, kept = loss, [parameter.detach().numpy().copy() for parameter in net.parameters()]
    print(f"head motion: {len(train[0])} moves, held-out people's negative log-likelihood {best:.3f} a move")
    matrices, biases = kept[0::2], kept[1::2]
    return HeadMotion(
        tuple(matrices), tuple(biases), spread, np.full(AXES, np.quantile(sizes, SIZE_QUANTILE)), coupling
    )


def _examples(y: np.ndarray, voice: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (N, INPUTS), next moves (N, 6) in units of their spread and weights (N,) of one clip, all phases."""
    at = np.arange(MOVES * KNOT, len(y) - KNOT)
    past = y[at[:, None] + KNOT * np.arange(-MOVES, 1)]
    sound = np.pad(voice, ((SOUND_BEFORE, SOUND_AFTER), (0, 0)))
    around = sound[at[:, None] + np.arange(0, SOUND_BEFORE + SOUND_AFTER + 1, SOUND_STEP)]
    inputs = network_inputs(y[at], np.diff(past, axis=1), around, spread)
    move = (y[at + KNOT] - y[at]) / spread[1]
    return inputs, move, np.full(len(at), 1 / np.sqrt(len(y)))


def _surprise(outputs, move):
    """Negative log-likelihood (N,) of moves (N, 6) under the mixtures that the outputs (N, M * 13) stand for."""
    import torch

    parts = outputs.reshape(len(outputs), MIXTURE, 2 * AXES + 1)
    logits, means, logs = parts[..., 0], parts[..., 1 : 1 + AXES], parts[..., 1 + AXES :].clamp(min=_LEAST_LOG)
    error = (move[:, None] - means) * torch.exp(-logs)
    density = -0.5 * (error**2).sum(-1) - logs.sum(-1) - 0.5 * AXES * np.log(2 * np.pi)
    return -torch.logsumexp(torch.log_softmax(logits, -1) + density, -1)


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    half = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T], -1)
