"""One network of the talking driver in training: examples, the loss, the loop, and how well it then does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.coefficients import CROP_DIM, EXPRESSION_DIM, POSE_DIM
from pipeline.drivers.mouth import LEAST_GAP, MOUTH, SOFTNESS, Mouth, above
from pipeline.drivers.networks import GEOMETRY_DIM, Member
from pipeline.training.lessons import Lesson

CLIP_FRAMES = 90
_WARM_STEPS = 40
_REFERENCE_NOISE = np.repeat((0.3, 0.05, 0.05, 0.003), (EXPRESSION_DIM, POSE_DIM, CROP_DIM, GEOMETRY_DIM))


@dataclass(frozen=True)
class Recipe:
    """How one network of the ensemble is trained; core, batch, rates and decay are Huang 2022's."""

    core: str = "lstm"
    width: int = 128
    ears: Literal["taught", "phones"] = "taught"  # what it begins to hear with
    batch: int = 32
    learning_rate: float = 5e-3
    last_rate: float = 1e-4
    weight_decay: float = 0.05
    steps: int = 700
    clean: float = 0.25  # share of examples whose sound is left as it is
    silence: float = 0.15  # share of examples in which a pause is spliced
    strangers: float = 0.6  # share of examples that know no more of the portrait than its mouth's measures
    masking: float = 0.3  # chance of each gap in an example's sound
    ears_rate: float = 5e-4  # the ears' own learning rate, at first
    correlation: float = 3.0  # weight of the loss that asks for the lips' rhythm
    lips: float = 1.0  # weight of the lip vertices' loss


def train_network(
    net: nn.Module,
    lessons: list[Lesson],
    mouth: Mouth,
    silence: np.ndarray,
    recipe: Recipe,
    seed: int = 0,
    held: list[Lesson] | None = None,
    log: Callable[[str], None] = print,
    minutes: float = np.inf,
) -> nn.Module:
    """Train a network, in place, for the recipe's steps, or fewer if `minutes` are over.

    Args:
        net: a `Member`, whose ears learn at a rate of their own, or a `DriverNet` that hears rows as they are.
        lessons: what it learns from, each drawn as often as its weight says.
        mouth: tells what of the coefficients is lips.
        silence: rows in which nobody speaks.
        recipe: how it is trained. The learning rate falls with what has gone of steps or time, whichever is further.
        seed: of all chance but the network's first weights.
        held: lessons of other people, which measure it now and then.
        log: told how it goes.
        minutes: at most.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    ears = list(net.ears.parameters()) if isinstance(net, Member) else []
    own = {id(parameter) for parameter in ears}
    groups = [{"params": [p for p in net.parameters() if id(p) not in own], "share": 1.0}]
    if ears:
        groups.append({"params": ears, "share": recipe.ears_rate / recipe.learning_rate})
    optimiser = torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay)
    draw = np.array([lesson.weight for lesson in lessons])
    draw /= draw.sum()
    terms = Terms(mouth, recipe)
    started, losses = time.monotonic(), []
    for step in range(recipe.steps):
        done = max(step / recipe.steps, (time.monotonic() - started) / (60 * minutes))
        if done >= 1:
            break
        cosine = recipe.last_rate + (recipe.learning_rate - recipe.last_rate) * 0.5 * (1 + np.cos(np.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * cosine * min(1.0, (step + 1) / _WARM_STEPS)
        net.train()
        batch = _draw_batch(lessons, draw, silence, recipe, rng)
        loss = terms(net(batch["sound"], batch["reference"]), batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            said = f"seed {seed} step {step + 1}/{recipe.steps}: loss {np.mean(losses[-100:]):.3f}"
            if held:
                score = measure([net], held, mouth)
                said += f", held-out lips r {score['r']:.3f}, spread {score['spread']:.2f}"
            log(f"{said}, {time.monotonic() - started:.0f} s")
    return net.eval()


def _draw_batch(
    lessons: list[Lesson], draw: np.ndarray, silence: np.ndarray, recipe: Recipe, rng: np.random.Generator
) -> dict[str, Tensor]:
    sounds = np.zeros((recipe.batch, CLIP_FRAMES, silence.shape[1]), np.float32)
    targets = np.zeros((recipe.batch, CLIP_FRAMES, EXPRESSION_DIM), np.float32)
    poses = np.zeros((recipe.batch, CLIP_FRAMES, POSE_DIM), np.float32)
    masks = np.zeros((recipe.batch, CLIP_FRAMES), np.float32)
    references = []
    for row, index in enumerate(rng.choice(len(lessons), recipe.batch, p=draw)):
        lesson = lessons[index]
        reading = 0 if rng.random() < recipe.clean else int(rng.integers(len(lesson.sound)))
        length = len(lesson.sound[reading])
        start = int(rng.integers(0, max(1, length - CLIP_FRAMES + 1)))
        part = slice(start, min(start + CLIP_FRAMES, length))
        count = part.stop - part.start
        portrait = int(rng.integers(len(lesson.references)))
        sounds[row, :count] = lesson.sound[reading][part]
        targets[row, :count] = lesson.expression[reading][part]
        poses[row, :count] = lesson.pose[reading][part] - lesson.poses[portrait]
        masks[row, :count] = 1
        if count < CLIP_FRAMES:
            sounds[row, count:] = silence[rng.integers(len(silence))]
            targets[row, count:] = lesson.rest
        if rng.random() < recipe.silence:
            _splice_pause(sounds[row], targets[row], masks[row], lesson.rest, silence, rng)
        targets[row] -= lesson.bases[portrait]
        references.append(lesson.references[portrait])
    if recipe.masking:
        _mask(sounds, recipe.masking, rng)
    reference = np.stack(references)
    # The reference must not tell which clip this is, or the network learns clips by heart.
    reference = reference + rng.normal(size=reference.shape) * _REFERENCE_NOISE
    strangers = rng.random(recipe.batch) < recipe.strangers
    reference[strangers, : EXPRESSION_DIM + POSE_DIM + CROP_DIM] = 0
    arrays = {"sound": sounds, "target": targets, "pose": poses, "mask": masks, "reference": reference}
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def _mask(sounds: np.ndarray, chance: float, rng: np.random.Generator) -> None:
    """Put the batch's mean in place of stretches of up to half a second."""
    mean = sounds.mean((0, 1))
    for sound in sounds:
        for _ in range(2):
            if rng.random() < chance:
                start, length = int(rng.integers(len(sound))), int(rng.integers(3, 13))
                sound[start : start + length] = mean


def _splice_pause(
    sound: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    rest: np.ndarray,
    silence: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Put a pause of 0.6 to 3 s into the example, in which the mouth goes to its rest and out of it again."""
    length = int(rng.integers(15, 76))
    start = int(rng.integers(-10, CLIP_FRAMES - 10))
    first, last = max(0, start), min(CLIP_FRAMES, start + length)
    offset = int(rng.integers(len(silence) - CLIP_FRAMES))
    sound[first:last] = silence[offset : offset + last - first]
    t = np.arange(CLIP_FRAMES)
    # The mouth is shut from a sixth of a second after the sound ends until just before it comes back.
    into = np.clip((t - start + 1) / 5, 0, 1) if start > 0 else np.ones(CLIP_FRAMES)
    out = np.clip((start + length - t) / 4, 0, 1) if start + length < CLIP_FRAMES else np.ones(CLIP_FRAMES)
    share = 0.5 - 0.5 * np.cos(np.pi * np.minimum(into, out))
    share = np.where((t < start) | (t >= start + length), 0, share)[:, None]
    target[:] = target * (1 - share) + rest * share
    mask[first:last] = 1


class Terms:
    """The loss: Huang 2022 eqs. 1-3 on residuals, and lips as vertices, as opening and as rhythm."""

    def __init__(self, mouth: Mouth, recipe: Recipe) -> None:
        self.recipe = recipe
        self.lips = torch.from_numpy(mouth.lips)
        self.closing = torch.from_numpy(mouth.closing)
        self.opening = torch.from_numpy(mouth.expression[0])
        # Sound hardly tells what eyes and brows do (r < 0.1 on held-out people): they must not drown the mouth.
        self.weights = torch.full((EXPRESSION_DIM,), 0.05)
        self.weights[MOUTH] = 0.5
        self.weights /= EXPRESSION_DIM**0.5

    def __call__(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        mask, target = batch["mask"], batch["target"]
        total = mask.sum()
        beta, pose, crop = output.split([EXPRESSION_DIM, POSE_DIM, CROP_DIM], -1)
        # Lips that meet stay where they meet, as in the driver: residuals start from a closed mouth, so this product
        # is the opening itself.
        opened, true = beta[..., MOUTH] @ self.opening, target[..., MOUTH] @ self.opening
        made = LEAST_GAP + SOFTNESS * F.softplus((opened - LEAST_GAP) / SOFTNESS)
        beta = torch.cat([beta[..., : MOUTH.start], beta[..., MOUTH] + (made - opened)[..., None] * self.closing], -1)
        # Eq. 1. The crop of a corpus clip never changes, so its residual is nought, and so is eq. 2's target.
        generation = ((beta - target) * self.weights).norm(dim=-1) + crop.norm(dim=-1)
        generation = generation + 0.1 * (pose - batch["pose"]).abs().sum(-1)
        motion = (crop[:, 1:] - crop[:, :-1]).norm(dim=-1)  # eq. 2
        loss = (generation * mask).sum() / total + (motion * mask[:, 1:]).sum() / total
        lips = ((beta - target)[..., MOUTH] @ self.lips.T).abs().mean(-1) / 0.01
        opening = (made - true).abs() / 0.02
        loss = loss + self.recipe.lips * ((lips + opening) * mask).sum() / total
        return loss + self.recipe.correlation * (1 - correlation(made, true, mask)).mean()


def correlation(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Pearson's r (B,) of series (B, T) where `mask` is 1."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    a = (a - (a * mask).sum(1, keepdim=True) / count) * mask
    b = (b - (b * mask).sum(1, keepdim=True) / count) * mask
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1) + 1e-10).sqrt()


@torch.inference_mode()
def predict(
    members: Sequence[nn.Module], lesson: Lesson, portrait: int = 0, sound: np.ndarray | None = None
) -> np.ndarray:
    """β (T, 64) of the ensemble's mean for a lesson's own sound (or other rows), from one of its references."""
    raw = torch.from_numpy((lesson.sound[0] if sound is None else sound).astype(np.float32))[None]
    reference = torch.from_numpy(lesson.references[portrait])[None]
    answers = [member.eval()(raw, reference)[0] for member in members]
    return lesson.bases[portrait] + torch.stack(answers).mean(0).numpy()[:, :EXPRESSION_DIM]


def measure(members: Sequence[nn.Module], lessons: list[Lesson], mouth: Mouth) -> dict[str, float]:
    """Mean over clips: lips' correlation (best of ±1 frame), at lag 0, spread of opening, error, width's r."""
    rows = []
    for lesson in lessons:
        made = mouth.geometry(lesson.identity, predict(members, lesson))
        true = mouth.geometry(lesson.identity, lesson.expression[0])
        a, b = above(made[:, 0]), true[:, 0]
        near = [np.corrcoef(a[1:-1], b[1 + k : len(b) - 1 + k])[0, 1] for k in (-1, 0, 1)]
        wide = np.corrcoef(made[:, 1], true[:, 1])[0, 1]
        rows.append((max(near), near[1], a.std() / b.std(), np.abs(a - b).mean(), wide))
    return dict(zip(("r", "r0", "spread", "error", "r_width"), np.mean(rows, 0).tolist(), strict=True))
