"""GFPGAN v1 clean as published: names and shapes of its parameters, and what it computes, written from the papers.

Independent of `pipeline.postprocess.gfpgan`: it reads a state dictionary by the published names, and scales kernels
where that scales features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Shapes = dict[str, tuple[int, ...]]


def shapes(side: int = 512, style: int = 512, mapping: int = 8, width: int = 512, multiplier: int = 2) -> Shapes:
    """All names of the checkpoint with their shapes."""
    sides = [2**n for n in range(2, side.bit_length())]
    full = {s: width if s <= 32 else width // 2 * multiplier * 64 // s for s in sides}
    half = {s: full[s] // 2 for s in sides}
    found: Shapes = {}

    def layer(name: str, *weight: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = weight
        if bias:
            found[f"{name}.bias"] = weight[:1]

    def block(name: str, a: int, b: int) -> None:
        layer(f"{name}.conv1", a, a, 3, 3)
        layer(f"{name}.conv2", b, a, 3, 3)
        layer(f"{name}.skip", b, a, 1, 1, bias=False)

    def modulated(name: str, a: int, b: int, kernel: int) -> None:
        found[f"{name}.modulated_conv.weight"] = (1, b, a, kernel, kernel)
        layer(f"{name}.modulated_conv.modulation", a, style)
        found[f"{name}.bias"] = (1, b, 1, 1)
        if kernel == 3:
            found[f"{name}.weight"] = (1,)

    layer("conv_body_first", half[side], 3, 1, 1)
    for i, s in enumerate(reversed(sides[1:])):
        block(f"conv_body_down.{i}", half[s], half[s // 2])
    layer("final_conv", half[4], half[4], 3, 3)
    layer("final_linear", (2 * len(sides)) * style, half[4] * 16)
    for i, s in enumerate(sides[1:]):
        block(f"conv_body_up.{i}", half[s // 2], half[s])
        layer(f"toRGB.{i}", 3, half[s], 1, 1)
        for kind in ("scale", "shift"):
            layer(f"condition_{kind}.{i}.0", half[s], half[s], 3, 3)
            layer(f"condition_{kind}.{i}.2", half[s], half[s], 3, 3)
    for i in range(mapping):
        layer(f"stylegan_decoder.style_mlp.{2 * i + 1}", style, style)
    found["stylegan_decoder.constant_input.weight"] = (1, full[4], 4, 4)
    modulated("stylegan_decoder.style_conv1", full[4], full[4], 3)
    modulated("stylegan_decoder.to_rgb1", full[4], 3, 1)
    found["stylegan_decoder.noises.noise0"] = (1, 1, 4, 4)
    for i, s in enumerate(sides[1:]):
        modulated(f"stylegan_decoder.style_convs.{2 * i}", full[s // 2], full[s], 3)
        modulated(f"stylegan_decoder.style_convs.{2 * i + 1}", full[s], full[s], 3)
        modulated(f"stylegan_decoder.to_rgbs.{i}", full[s], 3, 1)
        for number in (2 * i + 1, 2 * i + 2):
            found[f"stylegan_decoder.noises.noise{number}"] = (1, 1, s, s)
    return found


SMALL = {"side": 32, "style": 12, "mapping": 2, "width": 16, "multiplier": 2}


def random_state(seed: int = 0, **sizes: int) -> dict[str, Tensor]:
    """Random values under the published names, small enough that features neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(**(sizes or SMALL)).items():
        fan_in = max(1, torch.Size(shape[-3:] if len(shape) > 2 else shape[1:]).numel())
        state[name] = torch.randn(shape, generator=generator) / (fan_in**0.5 if len(shape) > 1 else 10)
        if "modulation.bias" in name:
            state[name] += 1
        if "noises" in name:
            state[name] = torch.randn(shape, generator=generator)
    return state


def restore(state: dict[str, Tensor], faces: Tensor) -> Tensor:
    """What the published network computes from a state dictionary, with the stored noise."""

    def leaky(x: Tensor) -> Tensor:
        return functional.leaky_relu(x, 0.2)

    def resized(x: Tensor, factor: float) -> Tensor:
        return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def block(name: str, x: Tensor, factor: float) -> Tensor:
        inner = leaky(conv(f"{name}.conv2", resized(leaky(conv(f"{name}.conv1", x)), factor)))
        return inner + conv(f"{name}.skip", resized(x, factor))

    def modulated(name: str, x: Tensor, style: Tensor, demodulate: bool) -> Tensor:
        rows = []
        for one, s in zip(x, linear(f"{name}.modulation", style), strict=True):  # Karras 2020, eqs. 1 and 3
            kernel = state[f"{name}.weight"][0] * s[None, :, None, None]
            if demodulate:
                kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            rows.append(functional.conv2d(one[None], kernel, padding=kernel.shape[-1] // 2))
        return torch.cat(rows)

    def style_conv(name: str, x: Tensor, style: Tensor, noise: int) -> Tensor:
        x = modulated(f"{name}.modulated_conv", x, style, True) * 2**0.5
        x = x + state[f"{name}.weight"] * state[f"stylegan_decoder.noises.noise{noise}"]
        return leaky(x + state[f"{name}.bias"])

    def rgb(name: str, x: Tensor, style: Tensor) -> Tensor:
        return modulated(f"{name}.modulated_conv", x, style, False) + state[f"{name}.bias"]

    levels = sum(name.startswith("toRGB") and name.endswith("weight") for name in state)
    x = leaky(conv("conv_body_first", faces))
    skips = []
    for i in range(levels):
        x = block(f"conv_body_down.{i}", x, 0.5)
        skips.append(x)
    x = leaky(conv("final_conv", x))
    latent = linear("final_linear", x.reshape(len(x), -1)).reshape(len(x), 2 * levels + 2, -1)
    conditions = []
    for i in range(levels):
        x = block(f"conv_body_up.{i}", x + skips[levels - 1 - i], 2)
        kinds = ("condition_scale", "condition_shift")
        conditions.append([conv(f"{kind}.{i}.2", leaky(conv(f"{kind}.{i}.0", x))) for kind in kinds])
    root = "stylegan_decoder"
    x = state[f"{root}.constant_input.weight"].repeat(len(faces), 1, 1, 1)
    x = style_conv(f"{root}.style_conv1", x, latent[:, 0], 0)
    picture = rgb(f"{root}.to_rgb1", x, latent[:, 1])
    for i, (scale, shift) in enumerate(conditions):
        x = style_conv(f"{root}.style_convs.{2 * i}", resized(x, 2), latent[:, 2 * i + 1], 2 * i + 1)
        middle = x.shape[1] // 2
        x = torch.cat([x[:, :middle], x[:, middle:] * scale + shift], 1)
        x = style_conv(f"{root}.style_convs.{2 * i + 1}", x, latent[:, 2 * i + 2], 2 * i + 2)
        picture = resized(picture, 2) + rgb(f"{root}.to_rgbs.{i}", x, latent[:, 2 * i + 3])
    return picture
