"""GFPGAN, the network that restores a face (Wang 2021, which Lv 2022 §3.4.2 uses), in its "clean" form.

A U-Net reads the degraded face; what it finds bends the features of a StyleGAN2 generator, whose knowledge of faces
supplies the detail. Written here in plain torch, since `gfpgan` and `basicsr` import with no torchvision of today;
parameters bear the published checkpoint's names and shapes, so that version 1.4 (and 1.3, 1.2) loads strictly after
`python -m pipeline convert gfpgan`. No weights are shipped.

Source: Wang 2021, "Towards Real-World Blind Face Restoration with Generative Facial Prior", §3 and its figure 2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.hub_share import HubComponent
from pipeline.network_files import load_network, save_network
from pipeline.postprocess.gfpgan_decoder import StyleDecoder

_SLOPE = 0.2


@dataclass(frozen=True)
class GfpganConfig:
    """Sizes of the network; the defaults are those of the published versions 1.2 to 1.4.

    Attributes:
        side: of the square pictures, a power of two from 8 to 1024.
        style_dim: length of a style vector.
        mapping_layers: of the generator's style mapping.
        width: channels of the generator at 4 × 4 to 32 × 32 pixels.
        multiplier: of the channels above 32 × 32, where each level has half of those below.
    """

    side: int = 512
    style_dim: int = 512
    mapping_layers: int = 8
    width: int = 512
    multiplier: int = 2

    def __post_init__(self) -> None:
        if self.side not in (8 << n for n in range(8)):
            raise ValueError(f"side must be a power of two from 8 to 1024, not {self.side}.")

    @property
    def levels(self) -> int:
        """Resolutions from 4 × 4 to `side` × `side`."""
        return self.side.bit_length() - 2

    @property
    def channels(self) -> list[int]:
        """Of the generator, from 4 × 4 pixels on; the U-Net has half of them."""
        return [
            self.width if (4 << level) <= 32 else self.width * self.multiplier * 32 // (4 << level)
            for level in range(self.levels)
        ]


class ResBlock(nn.Module):
    """Two 3 × 3 convolutions with a change of resolution between them, beside a 1 × 1 convolution."""

    def __init__(self, inputs: int, outputs: int, factor: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, h * factor, w * factor) of (B, inputs, h, w)."""
        out = _leaky(self.conv2(self._resize(_leaky(self.conv1(x)))))
        return out + self.skip(self._resize(x))

    def _resize(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=self._factor, mode="bilinear", align_corners=False)


class Gfpgan(nn.Module, HubComponent):
    """Restores aligned faces.

    Args:
        config: sizes of the network.
    """

    component = "gfpgan"

    def __init__(self, config: GfpganConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GfpganConfig()
        decoder = config.channels
        unet = [channels // 2 for channels in decoder]
        self.conv_body_first = nn.Conv2d(3, unet[-1], 1)
        down = [(unet[level], unet[level - 1]) for level in range(config.levels - 1, 0, -1)]
        self.conv_body_down = nn.ModuleList(ResBlock(*ends, factor=0.5) for ends in down)
        self.final_conv = nn.Conv2d(unet[0], unet[0], 3, padding=1)
        up = [(unet[level - 1], unet[level]) for level in range(1, config.levels)]
        self.conv_body_up = nn.ModuleList(ResBlock(*ends, factor=2) for ends in up)
        # Pictures of the U-Net's levels: for the losses of training only, kept because the checkpoint has them.
        self.toRGB = nn.ModuleList(nn.Conv2d(channels, 3, 1) for channels in unet[1:])
        self.final_linear = nn.Linear(unet[0] * 16, 2 * config.levels * config.style_dim)
        self.stylegan_decoder = StyleDecoder(decoder, config.style_dim, config.mapping_layers)
        self.condition_scale = nn.ModuleList(_condition(channels) for channels in unet[1:])
        self.condition_shift = nn.ModuleList(_condition(channels) for channels in unet[1:])

    def forward(self, faces: Tensor) -> Tensor:
        """Restored faces (B, 3, side, side), about -1 to 1, of faces (B, 3, side, side) in -1 to 1."""
        x = _leaky(self.conv_body_first(faces))
        seen = []
        for block in self.conv_body_down:
            x = block(x)
            seen.append(x)
        x = _leaky(self.final_conv(x))
        styles = self.final_linear(x.flatten(1)).unflatten(1, (-1, self.config.style_dim))
        scales, shifts = [], []
        for block, skip, scale, shift in zip(
            self.conv_body_up, reversed(seen), self.condition_scale, self.condition_shift, strict=True
        ):
            x = block(x + skip)
            scales.append(scale(x))
            shifts.append(shift(x))
        return self.stylegan_decoder(styles, scales, shifts)

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json`."""
        save_network(self, folder, asdict(self.config))

    @staticmethod
    def load(folder: str | Path) -> Gfpgan:
        """Read what `save` wrote, ready to use, in single precision on the processor.

        Raises:
            WeightsError: if files are missing or damaged.
        """

        def build(**config: int) -> Gfpgan:
            with torch.device("meta"):  # 86 million numbers that are about to be read need not be drawn first
                return Gfpgan(GfpganConfig(**config))

        return load_network(
            folder, build, "GFPGAN's weights", "convert them again with `python -m pipeline convert gfpgan`", "Gfpgan"
        )


def _condition(channels: int) -> nn.Sequential:
    """What one level of the U-Net says to half of the generator's channels at that level."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(_SLOPE), nn.Conv2d(channels, channels, 3, padding=1)
    )


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE)
