"""From noise to one listener's motion: the noise that a seed gives, and the integration that shapes it.

The noise is coloured: a third of it wanders within a tenth of a second, a third in half a second, a third in two
seconds, as motion does. White noise has no slow part that convolutions could turn into posture (correlated noise helps
video diffusion for the same reason, Ge 2023, "Preserve Your Own Correlation").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pipeline.drivers.knots import KNOT

if TYPE_CHECKING:
    from pipeline.drivers.listening_networks import ListenerNet, Memory

STEPS = 12
"""Steps of Euler's method from noise to motion."""

NEUTRAL = 1
"""Index of the attitude that others are guided away from."""

_KEPT = (0.7, 0.9, 0.98)  # of each third of the noise after a frame
_UNIT = len(_KEPT) ** 0.5


class FrameNoise:
    """Noise of unit variance, frame after frame; how many are taken at once makes no difference, to the bit."""

    def __init__(self, seed: int | list[int], size: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        self._size = size
        # As if the noise had always been there: what is kept of the frame before the first.
        self._kept = np.array(_KEPT)[:, None] * self._generator.standard_normal((len(_KEPT), size)) / _UNIT

    def take(self, count: int) -> np.ndarray:
        """The next (count, size) rows, float32."""
        from scipy.signal import lfilter

        white = self._generator.standard_normal((count, len(_KEPT), self._size))
        total = np.zeros((count, self._size))
        for index, kept in enumerate(_KEPT if count else ()):
            gain = np.sqrt(1 - kept**2) / _UNIT
            part, self._kept[index] = lfilter([gain], [1, -kept], white[:, index], axis=0, zi=self._kept[index][None])
            total += part
        return total.astype(np.float32)


def coloured_noise(rng: np.random.Generator, batch: int, knots: int, size: int) -> np.ndarray:
    """(batch, knots, size) noise as `FrameNoise` gives at every knot, for training."""
    rows = FrameNoise([int(rng.integers(2**31))], batch * size).take(KNOT * knots)[::KNOT]
    return np.ascontiguousarray(rows.reshape(knots, batch, size).transpose(1, 0, 2))


@cache
def scheduler_class() -> type:
    """diffusers' scheduler. Late, and no more of diffusers than that: it takes about two seconds to import."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler


def generate(
    net: ListenerNet,
    heard: Tensor,
    noise: Tensor,
    attitude: Tensor,
    scale: float = 1.0,
    memories: Sequence[Memory | None] = (None,) * STEPS,
) -> Tensor:
    """Motion of T knots, guided by attitude.

    Guidance (Ho and Salimans 2022) here goes from the neutral listener, not from none: a scale of 0 is the
    neutral one, 1 the attitude as it was taught, 2 twice as far from neutral.

    Args:
        heard: (1, T, H), or (2, T, H) of the neutral and the chosen attitude; as `guides` asks.
        noise: (1, T, M).
        attitude: (1,) or (2,) indices that belong to `heard`.
        scale: of the guidance, 0 or more.
        memories: one for each step of Euler's method: of the layers, where knots come one by one.

    Returns:
        (T, M).
    """
    scheduler = scheduler_class()(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / len(memories), len(memories)).tolist())
    x = noise
    for sigma, time, memory in zip(scheduler.sigmas, scheduler.timesteps, memories, strict=False):
        sigma = sigma.expand(len(heard))
        velocity = net.velocity(x.expand(len(heard), -1, -1), sigma, heard, attitude, memory)
        if len(heard) == 2:
            velocity = velocity[:1] + scale * (velocity[1:] - velocity[:1])
        x = scheduler.step(velocity, time, x, return_dict=False)[0]
    return x[0]


def guidance(attitude_scale: float) -> float:
    """How far from neutral an `attitude_scale` goes, 1 being as far as the lessons do: 0 at 0, 1.25 at 1, 2 at 2.

    Lessons are as plain as people are to each other; on a picture seen once that is little.
    """
    return 1.25 * attitude_scale if attitude_scale <= 1 else 0.5 + 0.75 * attitude_scale


def guides(attitude: int, scale: float) -> list[int]:
    """Which attitudes the network must be asked for: one where guidance changes nothing, else neutral and this one."""
    if attitude == NEUTRAL or scale == 0:
        return [NEUTRAL]
    return [attitude] if scale == 1 else [NEUTRAL, attitude]
