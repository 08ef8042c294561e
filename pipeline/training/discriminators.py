"""Discriminators of pictures and their losses (Park 2019; hinge losses of Doukas 2021, eqs. 3 to 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

Judged = list[list[Tensor]]  # for each scale the features of each layer, the verdict last


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches at one scale: convolutions with spectral and instance normalisation.

    Args:
        inputs: channels of the picture and what it is conditioned on.
        width: channels of the first layer, doubled by each later one up to eight times; 64 in Park 2019.
        layers: convolutions but the last, which gives the verdict.
    """

    def __init__(self, inputs: int, width: int = 64, layers: int = 4) -> None:
        super().__init__()
        stages = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2))]
        channels = width
        for layer in range(1, layers):
            wider = min(2 * channels, 8 * width)
            stride = 1 if layer == layers - 1 else 2
            convolution = spectral_norm(nn.Conv2d(channels, wider, 4, stride, 2, bias=False))
            stages.append(nn.Sequential(convolution, nn.InstanceNorm2d(wider), nn.LeakyReLU(0.2)))
            channels = wider
        stages.append(nn.Sequential(nn.Conv2d(channels, 1, 4, 1, 2)))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of each layer, the verdict (B, 1, h, w) last; above 0 it is taken for real."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Discriminator(nn.Module):
    """The same at several scales."""

    def __init__(self, inputs: int, width: int = 64, layers: int = 4, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(inputs, width, layers) for _ in range(scales))

    def forward(self, picture: Tensor, condition: Tensor) -> Judged:
        """Features at each scale of pictures (B, 3, h, w) and a condition (B, C, h, w) or (B, C)."""
        if condition.ndim == 2:
            condition = condition[..., None, None].expand(-1, -1, *picture.shape[-2:])
        x = torch.cat([condition, picture], 1)
        judged = []
        for scale in self.scales:
            judged.append(scale(x))
            x = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return judged


def discriminator_loss(real: Judged, made: Judged) -> Tensor:
    """Hinge loss: real above 1, made below -1 (Doukas 2021, eqs. 4 and 5)."""
    losses = [
        functional.relu(1 - good[-1]).mean() + functional.relu(1 + bad[-1]).mean()
        for good, bad in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_loss(made: Judged) -> Tensor:
    """What a generator wants of a discriminator (Doukas 2021, eq. 3)."""
    return -torch.stack([features[-1].mean() for features in made]).mean()


def feature_matching(real: Judged, made: Judged) -> Tensor:
    """Mean distance of the features of real and made pictures, verdicts left out."""
    distances = [
        (a.detach() - b).abs().mean()
        for good, bad in zip(real, made, strict=True)
        for a, b in zip(good[:-1], bad[:-1], strict=True)
    ]
    return torch.stack(distances).mean()
