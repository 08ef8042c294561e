"""Train the patch networks: mouths and eyes as the mesh draws them, corrected towards the real frames.

Self-reenactment: one frame of a clip is the portrait, others are the truth. Half of the portraits have closed mouths,
and frames with open mouths or closing lids are drawn more often, since they are what a portrait does not show. A small
discriminator on patches of the mouth keeps teeth from averaging to grey; its share of the loss is low, for it must not
invent motion.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from pipeline.face import measures
from pipeline.face.morphable import MorphableModel, placement
from pipeline.hub import EMBEDDED
from pipeline.renderers.mesh import MeshRenderer
from pipeline.renderers.patch_network import PatchNetwork
from pipeline.renderers.patches import MOUTH, PATCHES, PatchFrame, PatchKind, allowed, fill_mouth
from pipeline.renderers.surroundings import Surroundings
from pipeline.training.corpus import read_manifest
from pipeline.training.footage import KINDS, Footage, read_footage

# Channels of a stored pair: drawn 0-2, portrait's 3-5, truth 6-8, openings 9-10, portrait's openings 11-12, allowed 13.
_DRAWN, _TRUTH, _ALLOWED = slice(0, 3), slice(6, 9), slice(13, 14)
_TARGETS = 12
_BATCH = 16
_LEARNING_RATE = 2e-3
_HELD_OUT = 11  # every eleventh clip judges the training; the corpus's own `val` is left alone


@dataclass(frozen=True)
class Pairs:
    """Stored pairs (N, h, w, 14) uint8 of one kind of patch, the clip of each, and how often to draw it."""

    pixels: np.ndarray
    clip: np.ndarray
    weight: np.ndarray


def main(corpus: Path, output: Path, minutes: float = 40, **_: object) -> None:
    """Train on `split=train` and write the folders `mouth` and `eye`; the mouth takes two thirds of the time."""
    pairs = make_pairs(corpus)
    for name, share in (("mouth", 0.67), ("eye", 0.33)):
        adversarial = 0.02 if name == "mouth" else 0.0
        train(pairs[name], 24, 60 * minutes * share, adversarial).save(output / name)


def make_pairs(corpus: Path, seed: int = 0) -> dict[str, Pairs]:
    """Draw every training clip's frames from one to three of its own frames, and cut the patches."""
    model = MorphableModel.load(EMBEDDED / "face")
    surroundings = Surroundings.load(EMBEDDED / "mesh")
    files = [file for file in read_manifest(corpus) if file.split == "train" and file.kind in KINDS]
    clips_of = Counter(file.speaker for file in files)
    random = np.random.default_rng(seed)
    rows: dict[str, list[tuple[np.ndarray, int, float]]] = {"mouth": [], "eye": []}
    for clip, (file, footage) in enumerate(read_footage(files)):
        for reference, targets in _plan(footage, max(1, min(3, 5 - clips_of[file.speaker] // 2)), random):
            for name, pixels, weight in _cut_pairs(footage, reference, targets, model, surroundings):
                rows[name].append((pixels, clip, weight))
    return {
        name: Pairs(np.stack([r[0] for r in part]), np.array([r[1] for r in part]), np.array([r[2] for r in part]))
        for name, part in rows.items()
    }


def train(pairs: Pairs, width: int, seconds: float, adversarial: float, seed: int = 0) -> PatchNetwork:
    """Train one network for so long and return the average of its recent weights."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    chosen = np.flatnonzero(pairs.clip % _HELD_OUT != 0)
    odds = pairs.weight[chosen] / pairs.weight[chosen].sum()
    network = PatchNetwork(width)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    judge = _discriminator()
    optimiser = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=0.01)
    judging = torch.optim.Adam(judge.parameters(), 4e-4, betas=(0.5, 0.99))
    begun = time.monotonic()
    while (done := (time.monotonic() - begun) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * (0.5 + 0.5 * np.cos(np.pi * done)) + 2e-5
        batch = _augment(_tensor(pairs.pixels[random.choice(chosen, _BATCH, p=odds)]))
        corrected = _run(network, batch)
        loss = _reconstruction(corrected, batch)
        if adversarial and done > 0.4:
            loss = loss + adversarial * _adversarial(judge, judging, corrected, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update_parameters(network)
    return average.module


def held_out_error(network: PatchNetwork, pairs: Pairs) -> dict[str, float]:
    """PSNR in dB where a patch may change, of the mesh's drawing and of the network's, on clips not trained on."""
    with torch.no_grad():
        batch = _tensor(pairs.pixels[np.flatnonzero(pairs.clip % _HELD_OUT == 0)[::2]])
        area = (batch[:, _ALLOWED] > 0.3).float()

        def psnr(pictures: Tensor) -> float:
            error = ((pictures - batch[:, _TRUTH]) ** 2 * area).sum((1, 2, 3)) / (3 * area.sum((1, 2, 3)) + 1)
            return float((-10 * torch.log10(error + 1e-5)).mean())

        return {"drawn": psnr(batch[:, _DRAWN]), "corrected": psnr(_run(network.eval(), batch))}


def _plan(footage: Footage, references: int, random: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """References and their targets: frames with open mouths or closing lids are likelier targets."""
    count = len(footage.landmarks)
    opening = measures.lip_opening(footage.landmarks)
    lids = measures.lid_opening(footage.landmarks).mean(-1)
    odds = 0.3 + opening / max(opening.max(), 1e-6) + 1.5 * (lids < np.quantile(lids, 0.06))
    closed = np.flatnonzero(opening <= np.quantile(opening, 0.25))
    for _ in range(references):
        reference = int(random.choice(closed if random.random() < 0.5 else count))
        targets = random.choice(count, min(_TARGETS, count), replace=False, p=odds / odds.sum())
        yield reference, targets[targets != reference]


def _cut_pairs(
    footage: Footage, reference: int, targets: np.ndarray, model: MorphableModel, surroundings: Surroundings
) -> Iterator[tuple[str, np.ndarray, float]]:
    portrait = footage.portrait(reference, model)
    fitted = footage.fit(portrait, targets)
    renderer = MeshRenderer(portrait, surroundings)
    own = placement(portrait.coefficients.pose[0], portrait.coefficients.crop[0], portrait.size)
    frames = list(renderer.render(fitted))
    for i, target in enumerate(targets):
        points, _, placed = renderer.scene.place(fitted.expression[i], fitted.pose[i], fitted.crop[i])
        opening = float(measures.lip_opening(footage.landmarks[target]))
        for kind in PATCHES:
            place = PatchFrame(kind, renderer.scene.unposed)
            views = (place.to_picture(*own), place.to_picture(*placed))
            pixels = _pair(place, views, portrait.image, portrait.landmarks, frames[i], points, footage.frames[target])
            weight = float(np.clip(placed[1] / 200, 0.5, 1.5))  # sharp footage teaches more
            yield kind.name, pixels, weight * (1 + 3 * min(1.0, opening / 0.08) if kind is MOUTH else 1.0)


def _pair(place: PatchFrame, views, image, landmarks, drawn, points, truth) -> np.ndarray:
    kind: PatchKind = place.kind
    reference = place.cut(image, views[0])
    own = place.openings(landmarks[:, :2].astype(np.float64), views[0])
    openings = place.openings(points.astype(np.float64), views[1])
    patch = place.cut(drawn, views[1])
    if kind is MOUTH:
        patch = fill_mouth(patch, reference, openings, own)
    area = np.rint(255 * allowed(openings, own, kind)).astype(np.uint8)
    return np.concatenate([patch, reference, place.cut(truth, views[1]), openings, own, area[..., None]], -1)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _augment(batch: Tensor) -> Tensor:
    """Mirror halves of the batch, and change exposure and tint of all three pictures alike."""
    count = len(batch)
    turned = torch.rand(count) < 0.5
    batch[turned] = batch[turned].flip(-1)
    gain = (1 + 0.25 * torch.randn(count, 1, 1, 1)).clamp(0.4, 1.7) * (1 + 0.08 * torch.randn(count, 3, 1, 1))
    lift = 0.08 * torch.randn(count, 1, 1, 1)
    for first in (0, 3, 6):
        batch[:, first : first + 3] = (batch[:, first : first + 3] * gain + lift).clamp(0, 1)
    return batch


def _run(network: nn.Module, batch: Tensor) -> Tensor:
    return network(torch.cat([batch[:, :6], batch[:, 9:13]], 1), batch[:, _ALLOWED])


def _reconstruction(corrected: Tensor, batch: Tensor) -> Tensor:
    """Charbonnier distance, and that of the gradients; the inside of the opening counts three times."""
    truth = batch[:, _TRUTH]
    weight = batch[:, _ALLOWED] * (1 + 2 * batch[:, 9:10])
    pixels = torch.sqrt((corrected - truth) ** 2 + 1e-5)
    across = (corrected - truth).diff(dim=-1).abs() * weight[..., 1:]
    down = (corrected - truth).diff(dim=-2).abs() * weight[..., 1:, :]
    return (pixels * weight).mean() + 0.5 * across.mean() + 0.5 * down.mean()


def _adversarial(judge: nn.Module, judging: torch.optim.Optimizer, corrected: Tensor, batch: Tensor) -> Tensor:
    """Hinge loss of a patch discriminator that sees the openings too; it learns one step on the way."""
    area, openings, truth = batch[:, _ALLOWED], batch[:, 9:11], batch[:, _TRUTH]
    weight = functional.avg_pool2d(torch.maximum(openings[:, :1], 0.15 * area), 4)
    mixed = truth * (1 - area) + corrected * area
    real = judge(torch.cat([truth * 2 - 1, openings], 1))
    made = judge(torch.cat([mixed.detach() * 2 - 1, openings], 1))
    loss = ((functional.relu(1 - real) + functional.relu(1 + made)) * weight).mean()
    judging.zero_grad()
    loss.backward()
    judging.step()
    return -(judge(torch.cat([mixed * 2 - 1, openings], 1)) * weight).mean()


def _discriminator() -> nn.Module:
    layers: list[nn.Module] = []
    for inside, outside, kernel, stride in ((5, 24, 4, 2), (24, 48, 4, 2), (48, 64, 3, 1), (64, 1, 3, 1)):
        layers += [spectral_norm(nn.Conv2d(inside, outside, kernel, stride, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])
