"""Several references for HeadGAN: which frame is nearest, what each place takes from which, and how it is composed.

After Chen 2020 ("Talking-head Generation with Rhythmic Head Motion") §4: the motion matcher (eq. 2), the hybrid
embedding that attends to K references (eqs. 3 to 7) and the non-linear composition, which adds up normalisations told
by several pictures where others lay warped pictures over one another with a matte. It shares HeadGAN's networks: the
reference encoder stands for the paper's image encoder, HeadGAN's drawn faces for its landmark pictures, the features
that HeadGAN's flow has moved for its unprojected and projected picture. Departures: features are moved into place
before they are gathered (the paper leaves that to the decoder), and of eq. 7's kernels a gain for each channel is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.coefficients import Coefficients
from pipeline.face.morphable import placement
from pipeline.renderers.neural import HeadWindow

MOTION_DIM = 6


def head_motion(coefficients: Coefficients, window: HeadWindow, size: tuple[float, float]) -> np.ndarray:
    """h (T, 6) float32 of T frames: three angles in radians, and where in its window the head is.

    Places are in sides of the window and the size is the logarithm of a face height's share of it, so that frames of
    different pictures compare.

    Args:
        coefficients: of T frames of a picture.
        window: what is seen of it.
        size: the picture's width and height.
    """
    pose, crop = coefficients.pose.astype(np.float64), coefficients.crop.astype(np.float64)
    _, scale, shift = placement(pose, crop, size)
    places = (shift[:, :2] - (window.left, window.top)) / window.side
    return np.concatenate([pose[:, :3], places, np.log(scale / window.side)[:, None]], 1).astype(np.float32)


def match(
    motion: np.ndarray, references: np.ndarray, random: np.random.Generator | None = None, spread: float = 0.1
) -> np.ndarray:
    """Which reference's head stands most as the frame's does: indices (T,).

    Args:
        motion: h (T, 6) of frames.
        references: h (K, 6) of references.
        random: in training, costs are raised by chance, so that the composition learns to do without the best.
        spread: mean of what is added to a cost then; 0.1 is a turn of 18 degrees.

    Source: Chen 2020, eq. 2.
    """
    costs = np.square(motion[:, None] - references[None]).sum(-1)
    if random is not None:
        costs = costs + random.exponential(spread, costs.shape)
    return costs.argmin(1)


def spread_out(motion: np.ndarray, count: int, first: int | None = None) -> np.ndarray:
    """Indices (count,) of frames whose heads stand as differently as can be, `first` or the most frontal among them.

    Each next frame is the one whose nearest chosen frame is furthest by the cost of eq. 2. Chen 2020 §4.1 draws them by
    chance, and takes the frame with the least rotation where only one counts.
    """
    chosen = [int(np.square(motion[:, :3]).sum(1).argmin()) if first is None else first]
    while len(chosen) < min(count, len(motion)):
        costs = np.square(motion[:, None] - motion[None, chosen]).sum(-1).min(1)
        chosen.append(int(costs.argmax()))
    return np.array(chosen)


@dataclass(frozen=True)
class Gathered:
    """What K references have to say of B frames.

    Attributes:
        features: coarse to fine (B, C, h, w), of all references, e_y and q_y of eqs. 4 and 6.
        matched: the same of the matched reference alone, y_ts of eq. 2.
        picture: (B, 3, S, S) the references' pictures, moved, and weighed by the attention.
        nearest: (B, 3, S, S) the matched reference's picture, moved.
        attention: (B, K, C, S / 4, S / 4), sums to 1 over K.
        gains: for each scale (hidden, scale, shift), each (B, channels), θ of eq. 7.
    """

    features: tuple[Tensor, ...]
    matched: tuple[Tensor, ...]
    picture: Tensor
    nearest: Tensor
    attention: Tensor
    gains: tuple[tuple[Tensor, Tensor, Tensor], ...]


class Exchange(nn.Module):
    """Refines image features by landmark features (Chen 2020 §4.2): exchanged, set beside the former, narrowed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.exchange = nn.Conv2d(2 * channels, channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """q' (N, C, h, w) from both of that shape."""
        hybrid = functional.relu(self.exchange(torch.cat([image, landmarks], 1)))
        return image + self.narrow(torch.cat([image, hybrid], 1))


class ConvGate(nn.Module):
    """Adds up K references as a gate says that sees nothing but them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) from (B, K, C, h, w)."""
        gate = self.gate(features.flatten(0, 1)).unflatten(0, features.shape[:2]).softmax(1)
        return (gate * features).sum(1)


class Embedding(nn.Module):
    """The hybrid embedding of K references (Chen 2020 §4.2, eqs. 3 to 7).

    Args:
        width: channels at full size.
        hidden: channels inside SPADE's own layers.
        activation: E_A, of drawn faces (N, 3, S, S), to 16 `width` channels at a quarter of the size.
        landmarks: E_L, of drawn faces, to features at a quarter, half and full size.
    """

    def __init__(self, width: int, hidden: int, activation: nn.Module, landmarks: nn.Module) -> None:
        super().__init__()
        self.activation, self.landmarks = activation, landmarks
        self.scales = (16 * width, 4 * width, width)
        self.exchanges = nn.ModuleList(Exchange(channels) for channels in self.scales)
        self.gates = nn.ModuleList(ConvGate(channels) for channels in self.scales)
        self.hidden = hidden
        size = 16 * width
        self.fuse_landmarks, self.fuse_image = nn.Linear(size, size), nn.Linear(size, size)
        self.fuse = nn.Linear(size, sum(hidden + 2 * channels for channels in self.scales))
        nn.init.zeros_(self.fuse.weight)  # training starts from gains of 1
        nn.init.zeros_(self.fuse.bias)

    def embed(self, features: tuple[Tensor, ...], faces: Tensor) -> tuple[Tensor, ...]:
        """What does not depend on the frame: q' at three scales, q_l, and E_A(l_k).

        Args:
            features: of N references, coarse to fine.
            faces: (N, 3, S, S) as they are drawn.
        """
        marks = self.landmarks(faces)
        refined = (one(*pair) for one, *pair in zip(self.exchanges, features, marks, strict=True))
        return (*refined, marks[0], self.energy(faces))

    def energy(self, faces: Tensor) -> Tensor:
        """E_A of drawn faces (N, 3, S, S): the same scale for each channel, so that none outshouts the others."""
        return functional.instance_norm(self.activation(faces))

    def attention(self, references: Tensor, face: Tensor) -> Tensor:
        """α (B, K, C, h, w), which sums to 1 over K (eq. 3).

        Args:
            references: E_A(l_k), (B, K, C, h, w).
            face: the driving face (B, 3, S, S), l_t.
        """
        return (references * self.energy(face)[:, None]).softmax(1)

    def forward(
        self,
        moved: tuple[Tensor, ...],
        pictures: Tensor,
        marks: Tensor,
        energy: Tensor,
        face: Tensor,
        matched: Tensor,
    ) -> Gathered:
        """Gather K references for each of B frames.

        Args:
            moved: q' (B, K, C, h, w), coarse to fine, moved to where the frame wants them.
            pictures: (B, K, 3, S, S), moved likewise.
            marks, energy: q_l and E_A(l_k), (B, K, 16 width, S / 4, S / 4).
            face: (B, 3, S, S) the driving face.
            matched: (B,) the matched reference's index.
        """
        attention = self.attention(energy, face)
        weights = [attention]
        for _ in range(2):  # finer scales have a quarter of the channels, as everywhere in HeadGAN
            weights.append(functional.pixel_shuffle(weights[-1], 2))
        gathered = tuple(
            (weight * one).sum(1) + gate(one)  # eq. 6
            for weight, one, gate in zip(weights, moved, self.gates, strict=True)
        )
        told = (attention * marks).sum(1).mean((2, 3))  # e_l of eq. 4
        theta = self.fuse_landmarks(told).softmax(-1) * self.fuse_image(gathered[0].mean((2, 3)))  # eqs. 5 and 7
        parts = self.fuse(theta * theta.shape[-1]).split([n for c in self.scales for n in (self.hidden, c, c)], -1)
        gains = tuple((1 + parts[i], 1 + parts[i + 1], 1 + parts[i + 2]) for i in range(0, len(parts), 3))
        rows = torch.arange(len(matched), device=matched.device)
        picture = (weights[2].mean(2, keepdim=True) * pictures).sum(1)
        alone = tuple(one[rows, matched] for one in moved)
        return Gathered(gathered, alone, picture, pictures[rows, matched], attention, gains)
