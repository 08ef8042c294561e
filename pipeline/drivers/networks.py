"""The talking driver's network: Huang 2022 §4.1, with more to hear.

Sound and the portrait's own coefficients go in; what comes out is added to the portrait's own (residual
learning). The core is a four-layer LSTM, here in both directions, since the sound is known ahead; batch
normalisation and dropout keep it from learning the few speakers by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.coefficients import CROP_DIM, EXPRESSION_DIM, POSE_DIM
from pipeline.drivers.ears import Ears
from pipeline.drivers.hearing import HALVES_DIM, halves, spectra
from pipeline.drivers.phonetics import STEPS_PER_FRAME, PhoneNet
from pipeline.network_files import load_network, save_network

OUTPUT_DIM = EXPRESSION_DIM + POSE_DIM + CROP_DIM
GEOMETRY_DIM = 4  # of the portrait's mouth, see `pipeline.drivers.mouth`
REFERENCE_DIM = OUTPUT_DIM + GEOMETRY_DIM


_CONVOLUTIONS = {  # taps and dilation
    "lstm": (),
    "gru": ((5, 1), (5, 1)),
    "tcn": ((3, 1), (3, 2), (3, 4), (3, 8), (3, 1), (3, 2), (3, 4)),
}


@dataclass(frozen=True)
class DriverConfig:
    """Sizes of the network, which hears rows of `sound_dim`.

    `core` is "lstm" (Huang 2022), "gru" (two convolutions and two GRU layers) or "tcn" (dilated convolutions).
    """

    sound_dim: int
    reference_dim: int = REFERENCE_DIM
    width: int = 128
    hidden: int = 96
    layers: int = 4
    dropout: float = 0.15
    core: str = "lstm"


class DriverNet(nn.Module):
    """Sound rows (B, T, sound_dim) and reference (B, reference_dim) to residuals (B, T, 73): β, p, c."""

    def __init__(self, config: DriverConfig) -> None:
        super().__init__()
        self.config = config
        self.sound_norm = nn.BatchNorm1d(config.sound_dim)
        self.reference_norm = nn.BatchNorm1d(config.reference_dim)
        self.sound_in = nn.Linear(config.sound_dim, config.width)
        self.reference_in = nn.Linear(config.reference_dim, config.width // 4)
        width = config.width + config.width // 4
        self.inner_norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(config.dropout)
        self.input_dropout = nn.Dropout(config.dropout / 3)
        self.convolutions = nn.ModuleList(
            _convolution(config.core, width, *size) for size in _CONVOLUTIONS[config.core]
        )
        self.core: nn.Module | None = None
        if config.core == "tcn":
            inner = width
        else:
            kind, layers = (nn.GRU, 2) if config.core == "gru" else (nn.LSTM, config.layers)
            between = config.dropout if layers > 1 else 0.0
            self.core = kind(width, config.hidden, layers, batch_first=True, bidirectional=True, dropout=between)
            inner = 2 * config.hidden
        self.outer_norm = nn.BatchNorm1d(inner)
        self.head = nn.Linear(inner, OUTPUT_DIM)

    def forward(self, sound: Tensor, reference: Tensor) -> Tensor:
        sound = self.sound_in(self.input_dropout(_over_time(self.sound_norm, sound)))
        own = self.reference_in(self.dropout(self.reference_norm(reference)))
        x = torch.cat([sound, own[:, None].expand(-1, sound.shape[1], -1)], -1)
        x = self.dropout(torch.relu(_over_time(self.inner_norm, x)))
        if len(self.convolutions):
            x = x.transpose(1, 2)
            for convolution in self.convolutions:
                x = x + convolution(x)
            x = x.transpose(1, 2)
        if self.core is not None:
            x, _ = self.core(x.contiguous())
        return self.head(self.dropout(_over_time(self.outer_norm, x)))


class Member(nn.Module):
    """One of the ensemble: ears of its own, taught further by lips, and the network that listens to them.

    Args:
        config: of the network; its `sound_dim` is `sound_dim(ears)`.
        ears: taught by `pipeline.training.ears` what a large recogniser hears, or a recogniser of phones: who hears
            differently errs differently, and the mean of both kinds knows lips better than either.
    """

    def __init__(self, config: DriverConfig, ears: Ears | PhoneNet) -> None:
        super().__init__()
        self.ears = ears
        self.net = DriverNet(config)

    def forward(self, raw: Tensor, reference: Tensor) -> Tensor:
        """Residuals (B, T, 73) for rows (B, T, RAW_DIM) of `hearing.sense` and reference (B, reference_dim)."""
        return self.net(self.heard(raw), reference)

    def heard(self, raw: Tensor) -> Tensor:
        """What the network is given (B, T, sound_dim) of rows (B, T, RAW_DIM) of `hearing.sense`."""
        heard = self.ears.heard(spectra(raw)).float()
        return torch.cat([halves(raw), heard.reshape(*raw.shape[:2], -1)], -1)

    def save(self, folder: str | Path) -> None:
        """Write the two files of `pipeline.network_files` into `folder`."""
        kind, sizes = type(self.ears).__name__, self.ears.sizes
        save_network(self, folder, {"network": vars(self.net.config), "hears": kind, "ears": sizes})

    @classmethod
    def load(cls, folder: str | Path) -> Member:
        """Read what `save` wrote.

        Raises:
            WeightsError: if files are missing, damaged or of another network.
        """

        def build(network: dict[str, Any], hears: str, ears: dict[str, Any]) -> Member:
            return cls(DriverConfig(**network), _EARS[hears](**ears))

        return load_network(folder, build, "The talking driver", kind="Member")


_EARS: dict[str, Callable[..., Ears | PhoneNet]] = {"Ears": Ears, "PhoneNet": PhoneNet}


def sound_dim(ears: Ears | PhoneNet) -> int:
    """Columns of what a network hears a frame: mel spectra of its halves, and what the ears make of them."""
    return HALVES_DIM + STEPS_PER_FRAME * ears.heard_dim


def _convolution(core: str, width: int, taps: int, dilation: int) -> nn.Sequential:
    convolution = nn.Conv1d(width, width, taps, padding=taps // 2 * dilation, dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm1d(width), nn.GELU() if core == "gru" else nn.ReLU())


def _over_time(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    return norm(x.transpose(1, 2)).transpose(1, 2)
