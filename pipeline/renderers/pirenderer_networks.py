"""PIRenderer's networks: mapping, warping and editing (Ren 2021, "Controllable Portrait Image Generation via Semantic
Neural Rendering", §3).

A window of 27 frames' coefficients becomes a descriptor; told by it, one network finds a flow that lays the portrait
where it should be, another paints the frame from the portrait and the portrait so moved. Attributes are named so that
the parameters have the names of the published checkpoint, spelling included, and load strictly. Beyond the picture's
rim the rim goes on (Huang 2022 §4.3), where the published code has black.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

COEFFICIENTS = 73  # expression 64, pose 6, crop 3
RADIUS = 13
FRAMES = 2 * RADIUS + 1
_SLOPE = 0.1
_ADAIN_HIDDEN = 128


@dataclass(frozen=True)
class PIRendererConfig:
    """Sizes, the published ones by default.

    Attributes:
        size: pixels of the pictures' sides, a multiple of 64.
        descriptor: length of the descriptor.
        mapping_layers: dilated convolutions of the mapping network, at most 3 for 27 frames.
        warping_width, editing_width: channels at full size.
        most: channels at most.
        basis: whose coefficients drive it: "ours", or "basel" for the published checkpoint.
        plain_blocks: whether both convolutions of the editing network's residual blocks are in use; the published
            code computes the first and then forgets it, so the published checkpoint needs False.
    """

    size: int = 256
    descriptor: int = 256
    mapping_layers: int = 3
    warping_width: int = 32
    editing_width: int = 64
    most: int = 256
    basis: str = "ours"
    plain_blocks: bool = True

    def warping_channels(self, level: int) -> int:
        """Channels of the warping network after so many halvings."""
        return min(self.warping_width << level, self.most)

    def editing_channels(self, level: int) -> int:
        """Channels of the editing network after so many halvings."""
        return min(self.editing_width << level, self.most)


@dataclass(frozen=True)
class Painted:
    """What the networks make of B frames.

    Attributes:
        image: (B, 3, S, S) in -1..1; None if only the warping was asked for.
        warped: (B, 3, S, S) the portrait moved by the flow.
        flow: (B, 2, S / 4, S / 4) in pixels of that size.
    """

    image: Tensor | None
    warped: Tensor
    flow: Tensor


class LayerNorm2d(nn.Module):
    """Normalises over channels and places together, with a scale and shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return functional.group_norm(x, 1) * self.weight + self.bias


class ADAIN(nn.Module):
    """Instance normalisation with scale and shift from a descriptor, by way of a hidden layer."""

    def __init__(self, channels: int, descriptor: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(descriptor, _ADAIN_HIDDEN), nn.ReLU())
        self.mlp_gamma = nn.Linear(_ADAIN_HIDDEN, channels)
        self.mlp_beta = nn.Linear(_ADAIN_HIDDEN, channels)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        """(B, C, h, w) from x of that shape and a descriptor (B, D)."""
        hidden = self.mlp_shared(descriptor)
        gamma, beta = (part(hidden)[..., None, None] for part in (self.mlp_gamma, self.mlp_beta))
        return functional.instance_norm(x) * (1 + gamma) + beta


class MappingNet(nn.Module):
    """Coefficients of 27 frames to a descriptor."""

    def __init__(self, config: PIRendererConfig) -> None:
        super().__init__()
        size = config.descriptor
        self.first = nn.Sequential(nn.Conv1d(COEFFICIENTS, size, 7))
        self.count = config.mapping_layers
        for index in range(self.count):
            layer = nn.Sequential(nn.LeakyReLU(_SLOPE), nn.Conv1d(size, size, 3, dilation=3))
            self.add_module(f"encoder{index}", layer)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, D) from (B, 73, 27)."""
        x = self.first(windows)
        for index in range(self.count):
            x = self.get_submodule(f"encoder{index}")(x) + x[..., 3:-3]
        return x.mean(-1)


class _DownAdain(nn.Module):
    def __init__(self, inputs: int, outputs: int, descriptor: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(inputs, outputs, 4, 2, 1)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm_0 = ADAIN(inputs, descriptor)
        self.norm_1 = ADAIN(outputs, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        x = self.conv_0(functional.leaky_relu(self.norm_0(x, descriptor), _SLOPE))
        return self.conv_1(functional.leaky_relu(self.norm_1(x, descriptor), _SLOPE))


class _UpAdain(nn.Module):
    def __init__(self, inputs: int, outputs: int, descriptor: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.conv_1 = nn.ConvTranspose2d(outputs, outputs, 3, 2, 1, output_padding=1)
        self.conv_s = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)
        self.norm_0 = ADAIN(inputs, descriptor)
        self.norm_1 = ADAIN(outputs, descriptor)
        self.norm_s = ADAIN(inputs, descriptor)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        inner = self.conv_0(functional.leaky_relu(self.norm_0(x, descriptor), _SLOPE))
        inner = self.conv_1(functional.leaky_relu(self.norm_1(inner, descriptor), _SLOPE))
        return inner + self.conv_s(functional.leaky_relu(self.norm_s(x, descriptor), _SLOPE))


class _Descent(nn.Module):
    """The warping network's way down: features at full size and after each of five halvings."""

    def __init__(self, config: PIRendererConfig, layers: int) -> None:
        super().__init__()
        self.input_layer = nn.Conv2d(3, config.warping_width, 7, 1, 3)
        self.count = layers
        for level in range(layers):
            channels = config.warping_channels(level), config.warping_channels(level + 1)
            self.add_module(f"encoder{level}", _DownAdain(*channels, config.descriptor))

    def forward(self, x: Tensor, descriptor: Tensor) -> list[Tensor]:
        features = [self.input_layer(x)]
        for level in range(self.count):
            features.append(self.get_submodule(f"encoder{level}")(features[-1], descriptor))
        return features


class _Ascent(nn.Module):
    """Its way up, three doublings, each joined by the features of the way down."""

    def __init__(self, config: PIRendererConfig, layers: int, doublings: int) -> None:
        super().__init__()
        self.levels = range(layers - 1, layers - 1 - doublings, -1)
        for level in self.levels:
            inputs = config.warping_channels(level + 1) * (1 if level == layers - 1 else 2)
            self.add_module(f"decoder{level}", _UpAdain(inputs, config.warping_channels(level), config.descriptor))
        self.outputs = 2 * config.warping_channels(self.levels[-1])

    def forward(self, features: list[Tensor], descriptor: Tensor) -> Tensor:
        x = features[-1]
        for level in self.levels:
            x = torch.cat([self.get_submodule(f"decoder{level}")(x, descriptor), features[level]], 1)
        return x


class _Hourglass(nn.Module):
    def __init__(self, config: PIRendererConfig) -> None:
        super().__init__()
        self.encoder = _Descent(config, 5)
        self.decoder = _Ascent(config, 5, 3)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        return self.decoder(self.encoder(x, descriptor), descriptor)


class WarpingNet(nn.Module):
    """Where in the portrait each place of the frame comes from."""

    def __init__(self, config: PIRendererConfig) -> None:
        super().__init__()
        self.hourglass = _Hourglass(config)
        channels = self.hourglass.decoder.outputs
        self.flow_out = nn.Sequential(LayerNorm2d(channels), nn.LeakyReLU(_SLOPE), nn.Conv2d(channels, 2, 7, 1, 3))

    def forward(self, portrait: Tensor, descriptor: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (B, 2, S / 4, S / 4), and the portrait (B, 3, S, S) moved by it."""
        flow = self.flow_out(self.hourglass(portrait, descriptor))
        return flow, moved(portrait, flow.float())


def moved(picture: Tensor, flow: Tensor) -> Tensor:
    """Sample (B, C, H, W) where a flow (B, 2, h, w) says, in pixels of its own size; beyond the rim, the rim.

    The published code lays the flow's grid with its corners on the corners' centres and samples as if they were the
    picture's corners; so does this, since the checkpoint has learned it.
    """
    height, width = flow.shape[-2:]
    x = torch.linspace(-1, 1, width, device=flow.device) + 2 * flow[:, 0] / (width - 1)
    y = torch.linspace(-1, 1, height, device=flow.device)[:, None] + 2 * flow[:, 1] / (height - 1)
    places = torch.stack([x, y], 1)
    if places.shape[-2:] != picture.shape[-2:]:
        places = functional.interpolate(places, picture.shape[-2:], mode="bilinear", align_corners=False)
    # In half precision places would be off by up to half a pixel.
    grid = places.permute(0, 2, 3, 1).float()
    sampled = functional.grid_sample(picture.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.to(picture.dtype)


class _Normed(nn.Module):
    """A convolution, a layer normalisation and a leaky ReLU, then whatever follows."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, after: nn.Module | None = None) -> None:
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2)
        layers = [convolution, LayerNorm2d(outputs), nn.LeakyReLU(_SLOPE)]
        self.model = nn.Sequential(*layers, *([] if after is None else [after]))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _Residual(nn.Module):
    def __init__(self, channels: int, descriptor: int, plain: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.norm1 = ADAIN(channels, descriptor)
        self.norm2 = ADAIN(channels, descriptor)
        self.plain = plain

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        inner = x
        if self.plain:
            inner = functional.leaky_relu(self.norm1(self.conv1(x), descriptor), _SLOPE)
        return x + self.norm2(self.conv2(inner), descriptor)


class _Residuals(nn.Module):
    def __init__(self, channels: int, config: PIRendererConfig) -> None:
        super().__init__()
        self.res0 = _Residual(channels, config.descriptor, config.plain_blocks)
        self.res1 = _Residual(channels, config.descriptor, config.plain_blocks)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        return self.res1(self.res0(x, descriptor), descriptor)


class _EditingEncoder(nn.Module):
    def __init__(self, config: PIRendererConfig) -> None:
        super().__init__()
        self.first = _Normed(6, config.editing_width, 7)
        for level in range(3):
            channels = config.editing_channels(level), config.editing_channels(level + 1)
            self.add_module(f"down{level}", _Normed(*channels, after=nn.AvgPool2d(2)))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.first(x)]
        for level in range(3):
            features.append(self.get_submodule(f"down{level}")(features[-1]))
        return features


class _Final(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(channels, 3, 7, 1, 3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _EditingDecoder(nn.Module):
    def __init__(self, config: PIRendererConfig) -> None:
        super().__init__()
        for level in (2, 1, 0):
            inputs, outputs = config.editing_channels(level + 1), config.editing_channels(level)
            self.add_module(f"up{level}", _Normed(inputs, outputs))
            self.add_module(f"res{level}", _Residuals(inputs, config))
            self.add_module(f"jump{level}", _Normed(outputs, outputs))
        self.final = _Final(config.editing_width)

    def forward(self, features: list[Tensor], descriptor: Tensor) -> Tensor:
        x = features[3]
        for level in (2, 1, 0):
            up, res, jump = (self.get_submodule(f"{name}{level}") for name in ("up", "res", "jump"))
            x = up(functional.interpolate(res(x, descriptor), scale_factor=2)) + jump(features[level])
        return self.final(x)


class EditingNet(nn.Module):
    """The frame from the portrait and the portrait moved."""

    def __init__(self, config: PIRendererConfig) -> None:
        super().__init__()
        self.encoder = _EditingEncoder(config)
        self.decoder = _EditingDecoder(config)

    def forward(self, portrait: Tensor, warped: Tensor, descriptor: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1."""
        return self.decoder(self.encoder(torch.cat([portrait, warped], 1)), descriptor)


class PIRendererNetworks(nn.Module):
    """All three; `warpping_net` is spelled as in the checkpoint."""

    def __init__(self, config: PIRendererConfig | None = None) -> None:
        super().__init__()
        self.config = config or PIRendererConfig()
        self.mapping_net = MappingNet(self.config)
        self.warpping_net = WarpingNet(self.config)
        self.editing_net = EditingNet(self.config)

    def forward(self, portrait: Tensor, windows: Tensor, paint: bool = True) -> Painted:
        """Frames for windows of coefficients.

        Args:
            portrait: (B, 3, S, S) in -1..1.
            windows: (B, 73, 27), each frame in the middle of its window.
            paint: False stops after the warping, as the first part of training does.
        """
        descriptor = self.mapping_net(windows)
        flow, warped = self.warpping_net(portrait, descriptor)
        return Painted(self.editing_net(portrait, warped, descriptor) if paint else None, warped, flow)
