"""The half of GFPGAN that paints: a StyleGAN2 generator whose features the degraded picture bends (Wang 2021, §3.3).

Each layer is a convolution whose input channels a style vector scales (Karras 2020, §2.2). Scaling the features
before and the sums after a shared convolution gives what scaling the kernels would, for a whole batch in one call and
without a copy of the kernels for each picture. Names and shapes of parameters are those of the published checkpoint.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2
_EPSILON = 1e-8
_GAIN = 2**0.5  # the variance that a leaky ReLU takes; in the published weights it is left to the layer


class ModulatedConv2d(nn.Module):
    """A convolution without bias whose input channels are scaled by a style.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the kernel, odd.
        style_dim: length of the style vector.
        demodulate: bring the result back to unit variance, so that styles change character but not strength.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, style_dim: int, demodulate: bool) -> None:
        super().__init__()
        self.modulation = nn.Linear(style_dim, inputs)
        self.weight = _random(1, outputs, inputs, kernel, kernel, variance=1 / (inputs * kernel**2))
        self._demodulate = demodulate
        nn.init.ones_(self.modulation.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, outputs, h, w) of features (B, inputs, h, w) and styles (B, style_dim)."""
        scales = self.modulation(style)
        # Styles may be large: at unit size half precision does not overflow, and demodulation cancels the size anyway.
        size = scales.abs().amax(1, keepdim=True).clamp_min(_EPSILON)
        scales = scales / size
        kernels = self.weight[0]
        out = functional.conv2d(x * scales[:, :, None, None], kernels, padding=kernels.shape[-1] // 2)
        if not self._demodulate:
            return out * size[:, :, None, None]
        power = (scales.float() ** 2) @ kernels.float().square().sum((2, 3)).T
        return out * torch.rsqrt(power + _EPSILON / size.float() ** 2).to(out.dtype)[:, :, None, None]


class StyleConv(nn.Module):
    """A modulated 3 × 3 convolution, then noise, bias and a leaky ReLU; at twice the resolution if `upsample`."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, upsample: bool) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(inputs, outputs, 3, style_dim, demodulate=True)
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self._upsample = upsample

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Features (B, outputs, h, w) of features, styles (B, style_dim) and noise (1, 1, h, w)."""
        if self._upsample:
            x = _twice(x)
        out = self.modulated_conv(x, style) * _GAIN + self.weight * noise + self.bias
        return functional.leaky_relu(out, _SLOPE)


class ToRgb(nn.Module):
    """Features as a picture, added to the enlarged picture of the level below."""

    def __init__(self, inputs: int, style_dim: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(inputs, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None = None) -> Tensor:
        """(B, 3, h, w) of features, styles and the picture (B, 3, h / 2, w / 2) so far."""
        out = self.modulated_conv(x, style) + self.bias
        return out if below is None else out + _twice(below)


class ConstantInput(nn.Module):
    """The learned features that every face starts from."""

    def __init__(self, channels: int, side: int = 4) -> None:
        super().__init__()
        self.weight = _random(1, channels, side, side, variance=1.0)

    def forward(self, batch: int) -> Tensor:
        """(batch, channels, side, side)."""
        return self.weight.expand(batch, -1, -1, -1)


class StyleDecoder(nn.Module):
    """StyleGAN2's generator with spatial feature transforms on half of the channels ("CSFT", "SFT half").

    Noise is the checkpoint's own, not drawn anew for each picture: drawn noise is a cause of flicker between frames.

    Args:
        channels: of the levels from 4 × 4 pixels on, each twice as large as the one before.
        style_dim: length of a style vector.
        mapping_layers: of the style mapping; it is part of the checkpoint but unused, as styles come from the picture.
    """

    def __init__(self, channels: list[int], style_dim: int, mapping_layers: int) -> None:
        super().__init__()
        mapping = (layer for _ in range(mapping_layers) for layer in (nn.Linear(style_dim, style_dim), nn.LeakyReLU()))
        self.style_mlp = nn.Sequential(nn.Identity(), *mapping)  # the first place was its normalisation's
        self.constant_input = ConstantInput(channels[0])
        self.style_conv1 = StyleConv(channels[0], channels[0], style_dim, upsample=False)
        self.to_rgb1 = ToRgb(channels[0], style_dim)
        self.style_convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise0", torch.zeros(1, 1, 4, 4))
        for level, (inputs, outputs) in enumerate(pairwise(channels), 1):
            self.style_convs.append(StyleConv(inputs, outputs, style_dim, upsample=True))
            self.style_convs.append(StyleConv(outputs, outputs, style_dim, upsample=False))
            self.to_rgbs.append(ToRgb(outputs, style_dim))
            for number in (2 * level - 1, 2 * level):
                self.noises.register_buffer(f"noise{number}", torch.zeros(1, 1, 4 << level, 4 << level))

    def forward(self, styles: Tensor, scales: list[Tensor], shifts: list[Tensor]) -> Tensor:
        """Pictures (B, 3, side, side), about -1 to 1.

        Args:
            styles: (B, 2 * levels, style_dim), one for each layer.
            scales: for each level but the first (B, channels / 2, h, w), what the features are multiplied by.
            shifts: the same shapes, what is added to them.
        """
        noise = dict(self.noises.named_buffers())
        x = self.style_conv1(self.constant_input(len(styles)), styles[:, 0], noise["noise0"])
        picture = self.to_rgb1(x, styles[:, 1])
        for level, to_rgb in enumerate(self.to_rgbs):
            # A level's picture shares its style with the next level's first layer (Karras 2020, figure 7).
            first, second, last = (styles[:, 2 * level + step] for step in (1, 2, 3))
            x = self.style_convs[2 * level](x, first, noise[f"noise{2 * level + 1}"])
            kept, bent = x.chunk(2, 1)
            x = torch.cat([kept, bent * scales[level] + shifts[level]], 1)
            x = self.style_convs[2 * level + 1](x, second, noise[f"noise{2 * level + 2}"])
            picture = to_rgb(x, last, picture)
        return picture


def _random(*shape: int, variance: float) -> nn.Parameter:
    # Even, not normal: on the meta device, where weights are loaded, normal numbers import 800 modules.
    reach = (3 * variance) ** 0.5
    return nn.Parameter(torch.empty(shape).uniform_(-reach, reach))


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
