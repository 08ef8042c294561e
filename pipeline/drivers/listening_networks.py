"""The listening driver's network: Chang 2023 §4.4, and a generative head in place of its last layer.

The trunk fuses what is heard with what is seen of the speaker (eq. 4), adds the turn of talk, the listener's own
coefficients and the attitude, and decodes them by six layers of GRU (eq. 5). A linear head on it is Chang's
regression. Regression knows one answer and so gives the mean of all; the second head is a velocity field after flow
matching (Lipman 2023) that turns noise into one of the answers, conditioned on the trunk.

All step through knots, 12.5 a second (`pipeline.drivers.knots`): nobody's head or face moves faster while listening.
In the causal variant the GRU runs forwards only and convolutions look back only; then both can go on from a memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.attitudes import ATTITUDES
from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM
from pipeline.drivers.turns import TURN_DIM

SPEAKER_DIM = EXPRESSION_DIM + POSE_DIM
OWN_DIM = EXPRESSION_DIM + POSE_DIM
_POSE_UNIT = 0.15  # radians and face heights that count as much as one unit of β


@dataclass(frozen=True)
class ListenerConfig:
    """Sizes of the network.

    Attributes:
        causal: whether knot t depends on nothing later than t in its inputs.
        motion_dim: numbers a knot of motion, see `MotionSpace`.
        sound_dim: length of an encoder row.
        turn_dim: length of a row of `TurnPlan.conditions`.
        width: of the fusion; hidden: of each GRU layer and direction.
        head_width: channels of the velocity field; dilations: of its blocks, one each.
    """

    causal: bool = False
    motion_dim: int = POSE_DIM + 14
    sound_dim: int = 128
    turn_dim: int = TURN_DIM
    width: int = 80
    hidden: int = 48
    layers: int = 6
    head_width: int = 80
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4)
    dropout: float = 0.1


@dataclass
class Conditions:
    """What the driver is told of T knots of B clips.

    Attributes:
        sound: (B, T, sound_dim) rows of the audio encoder.
        turns: (B, T, TURN_DIM).
        speaker: (B, T, SPEAKER_DIM) β and p of the speaker's face.
        seen: (B, T, 1), 1 where `speaker` holds, 0 where no face was given.
        own: (B, OWN_DIM) β and p of the listener's portrait.
        attitude: (B,) index into `ATTITUDES`.
    """

    sound: Tensor
    turns: Tensor
    speaker: Tensor
    seen: Tensor
    own: Tensor
    attitude: Tensor


Memory = dict[object, Tensor]
"""What layers keep of the past when knots come one by one."""


class ListenerNet(nn.Module):
    """Trunk, regression head and velocity field."""

    def __init__(self, config: ListenerConfig = ListenerConfig()) -> None:
        super().__init__()
        self.config = config
        self.trunk = _Trunk(config)
        self.regression = nn.Linear(self.trunk.size, config.motion_dim)
        self.flow = _Velocity(config, self.trunk.size)

    def hear(self, conditions: Conditions, memory: Memory | None = None) -> Tensor:
        """(B, T, H) what the heads depend on."""
        return self.trunk(conditions, memory)

    def velocity(
        self, noisy: Tensor, sigma: Tensor, heard: Tensor, attitude: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """From motion towards noise: (B, T, M).

        Args:
            noisy: (B, T, M) motion, of which a share `sigma` (B,) is noise.
            sigma: 0 (motion) to 1 (noise).
            heard: (B, T, H) of `hear`.
            attitude: (B,) index.
            memory: of the layers for this step of the integration, where knots come one by one.
        """
        return self.flow(noisy, sigma, heard, attitude, memory)


class _Trunk(nn.Module):
    def __init__(self, config: ListenerConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.fusion = _CrossModalFusion(config)
        self.turns_in = nn.Linear(config.turn_dim, width)
        self.own_in = nn.Linear(OWN_DIM, width)
        self.attitude_in = nn.Embedding(len(ATTITUDES), width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        between = config.dropout if config.layers > 1 else 0.0
        self.gru = nn.GRU(
            width, hidden, config.layers, batch_first=True, bidirectional=not config.causal, dropout=between
        )
        self.size = hidden if config.causal else 2 * hidden
        # A way around the six layers: what the turn of talk says at once need not be learned through them.
        self.around = nn.Linear(width, self.size)

    def forward(self, conditions: Conditions, memory: Memory | None) -> Tensor:
        x = self.fusion(conditions) + self.turns_in(conditions.turns)
        own = self.own_in(scaled(conditions.own)) + self.attitude_in(conditions.attitude)
        x = self.dropout(F.silu(self.norm(x + own[:, None])))
        if memory is None:
            decoded, _ = self.gru(x)
        else:
            decoded, memory[self] = self.gru(x, memory.get(self))
        return decoded + self.around(x)


class _CrossModalFusion(nn.Module):
    """f_XM of eq. 4: what is seen is let in as far as sound and picture together find it worth it."""

    def __init__(self, config: ListenerConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.sound_in = nn.Linear(config.sound_dim, config.width)
        self.speaker_in = nn.Linear(SPEAKER_DIM, config.width)
        self.absent = nn.Parameter(torch.zeros(config.width))
        self.gate = nn.Linear(2 * config.width, config.width)

    def forward(self, conditions: Conditions) -> Tensor:
        heard = self.sound_in(self.dropout(conditions.sound))
        seen = conditions.seen * self.speaker_in(scaled(conditions.speaker)) + (1 - conditions.seen) * self.absent
        return heard + torch.sigmoid(self.gate(torch.cat([heard, seen], -1))) * seen


class _Velocity(nn.Module):
    """Dilated convolutions over time, each scaled and shifted by the share of noise and the attitude."""

    def __init__(self, config: ListenerConfig, heard: int) -> None:
        super().__init__()
        width = config.head_width
        self.width = width
        self.motion_in = nn.Linear(config.motion_dim, width)
        self.heard_in = nn.Linear(heard, width)
        self.attitude_in = nn.Embedding(len(ATTITUDES), width)
        self.noise_in = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, dilation, config.causal) for dilation in config.dilations)
        self.out_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.motion_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, noisy: Tensor, sigma: Tensor, heard: Tensor, attitude: Tensor, memory: Memory | None) -> Tensor:
        told = self.noise_in(waves(sigma, self.width)) + self.attitude_in(attitude)
        x = self.motion_in(noisy) + self.heard_in(heard)
        for block in self.blocks:
            x = x + block(x, told, memory)
        # What the best linear guess would be if motion were noise of unit variance too: the rest is learned
        # (preconditioning, Karras 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", §5).
        share = sigma[:, None, None]
        guess = (2 * share - 1) / (share.square() + (1 - share).square())
        return guess * noisy + self.out(self.out_norm(x))


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Linear(width, width)
        self.sides = (2 * dilation, 0) if causal else (dilation, dilation)

    def forward(self, x: Tensor, told: Tensor, memory: Memory | None) -> Tensor:
        scale, shift = self.told(F.silu(told))[:, None].chunk(2, -1)
        x = (self.norm(x) * (1 + scale) + shift).transpose(1, 2)
        past = None if memory is None else memory.get(self)
        x = F.pad(x, self.sides) if past is None else torch.cat([past, x], -1)
        if memory is not None:
            memory[self] = x[..., -self.sides[0] :]
        return self.mix(F.silu(self.convolution(x)).transpose(1, 2))


def scaled(face: Tensor) -> Tensor:
    """β and p (..., 70) in units that count alike."""
    return torch.cat([face[..., :EXPRESSION_DIM], face[..., EXPRESSION_DIM:] / _POSE_UNIT], -1)


def waves(sigma: Tensor, width: int) -> Tensor:
    """(B,) → (B, width) sines and cosines of several lengths."""
    rates = torch.exp(torch.linspace(0.0, 5.0, width // 2))
    angles = sigma[:, None] * rates * torch.pi
    return torch.cat([angles.sin(), angles.cos()], -1)
