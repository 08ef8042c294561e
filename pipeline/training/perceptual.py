"""Perceptual distance of pictures for training: VGG-19's features where its weights are at hand, else a pyramid.

VGG-19's weights are not ours to ship and are not needed to use anything; who has them (torchvision's, as safetensors:
`timm/vgg19.tv_in1k` on the Hub has such a file) names the file. Without it the distance is taken between the bands of a
Laplacian pyramid, which weighs edges of all sizes alike but knows nothing of what they mean.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import WeightsError

_BLOCKS = (2, 2, 4, 4, 4)  # convolutions of VGG-19 between its poolings
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEVELS = 4


class VGG19(nn.Module):
    """VGG-19 up to relu5_1, with torchvision's parameter names (Simonyan & Zisserman 2015)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps = []
        inputs = 3
        for block, count in enumerate(_BLOCKS):
            channels = min(64 << block, 512)
            for index in range(count if block < 4 else 1):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
                if index == 0:
                    self.taps.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(_SPREAD).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """relu1_1, 2_1, 3_1, 4_1 and 5_1 of pictures (B, 3, h, w) in -1..1."""
        x = (pictures / 2 + 0.5 - self.mean) / self.spread
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found


class Perceptual(nn.Module):
    """Sum over layers of the mean distance of features (Doukas 2021, eq. 7).

    Args:
        weights: VGG-19's as a safetensors file; None takes the pyramid.

    Raises:
        WeightsError: if the file holds no such weights.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.network = None if weights is None else _read(Path(weights))

    def forward(self, made: Tensor, truth: Tensor) -> Tensor:
        """Distance of pictures (B, 3, h, w) in -1..1, a single number."""
        take = _bands if self.network is None else self.network
        pairs = zip(take(made), take(truth), strict=True)
        return torch.stack([(a - b.detach()).abs().mean() for a, b in pairs]).sum()


def _bands(pictures: Tensor) -> list[Tensor]:
    """Bands of a Laplacian pyramid, fine to coarse, and what is left."""
    bands = []
    for _ in range(_LEVELS):
        if min(pictures.shape[-2:]) < 4:
            break
        small = functional.avg_pool2d(pictures, 2)
        large = functional.interpolate(small, pictures.shape[-2:], mode="bilinear", align_corners=False)
        bands.append(pictures - large)
        pictures = small
    return [*bands, pictures]


def _read(path: Path) -> VGG19:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = VGG19()
    try:
        tensors = load_file(str(path))
        network.load_state_dict({name: tensors[name].float() for name in network.state_dict()})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{path} holds no VGG-19 of torchvision's as safetensors; give that file or none."
        ) from error
    return network.eval().requires_grad_(False)
