"""The network that corrects a mouth on its grid: what to add to each of its points.

It sees the mouth as the mesh drew it and as the portrait shows it, both on their grids and as shares of the portrait's
skin colour, so that light and complexion matter little; how far β and p have gone from the portrait's; the mouth's
shape; and what shows between the lips, where the driving face was seen. Where it was only heard, another small network
guesses that from all the rest. Pictures go in and come out as a few components each. Where nothing has moved nothing is
added: the portrait's own coefficients give back the portrait.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM
from pipeline.face.mouth_inside import INSIDE_DIM
from pipeline.renderers.mouth_grid import COLUMNS, PARTS, ROWS, SHAPE_DIM

MOTION_DIM = EXPRESSION_DIM + POSE_DIM
_PIXELS = ROWS * COLUMNS * 3
_COARSE = _PIXELS // 4
_STILL = (0.35, 0.02)  # changes of β and of p (root mean square) within which the correction fades to nothing
_DARKEST = 0.08  # skin counts as at least so bright
_GUESSED = 0.6  # share of an answer that is added where the inside was only guessed: the worst tenth then loses nothing
_FARTHEST = 3.0  # standard deviations: faces and pictures of other kinds than those learned from count as these


class RefinerNetwork(nn.Module):
    """Several small networks whose answers are averaged.

    Args:
        seen: components of each of the two pictures.
        made: components of the answer.
        hidden: units of each of two hidden layers.
        members: networks.
        strength: how much of their answer is added. Of people who were not learned from nine tenths win nearly as many
            dB as all of it, with less change from frame to frame.
    """

    def __init__(
        self, seen: int = 72, made: int = 144, hidden: int = 512, members: int = 2, strength: float = 0.9
    ) -> None:
        super().__init__()
        self.config = {"seen": seen, "made": made, "hidden": hidden, "members": members, "strength": strength}
        self._strength = strength
        self.register_buffer("change_mean", torch.zeros(_COARSE))
        self.register_buffer("change_basis", torch.zeros(_COARSE, seen))
        self.register_buffer("portrait_mean", torch.zeros(_COARSE))
        self.register_buffer("portrait_basis", torch.zeros(_COARSE, seen))
        known = 2 * seen + MOTION_DIM + 2 * SHAPE_DIM + INSIDE_DIM
        features = known + INSIDE_DIM
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.register_buffer("answer_mean", torch.zeros(_PIXELS))
        self.register_buffer("answer_basis", torch.zeros(made, _PIXELS))
        self.guess = _Member(known, hidden, INSIDE_DIM)
        self.members = nn.ModuleList(_Member(features, hidden, made) for _ in range(members))

    def features(
        self, drawn: Tensor, portrait: Tensor, motion: Tensor, shape: Tensor, shown: Tensor, inside: Tensor
    ) -> Tensor:
        """(B, F) what the members see, in standard deviations; arguments as for `forward`."""
        found = self.components(drawn, portrait, motion, shape, shown, inside)
        found = ((found - self.mean) / self.spread).clamp(-_FARTHEST, _FARTHEST)
        known, seen = found[:, :-INSIDE_DIM], found[:, -INSIDE_DIM:]
        unseen = seen.isnan()
        return torch.cat([known, torch.where(unseen, self.guess(known), seen) if unseen.any() else seen], 1)

    def components(
        self, drawn: Tensor, portrait: Tensor, motion: Tensor, shape: Tensor, shown: Tensor, inside: Tensor
    ) -> Tensor:
        """(B, F) components of both pictures, motion, shape and insides; arguments as for `forward`."""
        skin = skin_of(portrait)
        drawn, portrait = coarse(drawn / skin), coarse(portrait / skin)
        change = (drawn - portrait - self.change_mean) @ self.change_basis
        own = (portrait - self.portrait_mean) @ self.portrait_basis
        return torch.cat([change, own, motion, shape / 20, shown, inside - shown], 1)

    def answer(self, features: Tensor, member: int | None = None) -> Tensor:
        """(B, 34, 40, 3) what to add, as shares of the skin's colour, by all members or one."""
        members = self.members if member is None else [self.members[member]]
        made = torch.stack([one(features) for one in members]).mean(0)
        return (made @ self.answer_basis + self.answer_mean).view(-1, ROWS, COLUMNS, 3)

    def forward(
        self, drawn: Tensor, portrait: Tensor, motion: Tensor, shape: Tensor, shown: Tensor, inside: Tensor
    ) -> Tensor:
        """What to add to the drawn mouths, (B, 34, 40, 3) on 0..1.

        Args:
            drawn: (B, 34, 40, 3) in 0..1, the mouth as drawn, on its grid.
            portrait: (B, 34, 40, 3) in 0..1, the portrait's.
            motion: (B, 70) β and p less the portrait's.
            shape: (B, 20) the shapes of both, see `MouthGrid`.
            shown: (B, 27) what shows inside the portrait's mouth, see `mouth_inside`.
            inside: (B, 27) and inside the driving one; rows of NaN where that was not seen.
        """
        made = self.answer(self.features(drawn, portrait, motion, shape, shown, inside))
        trust = torch.where(inside.isnan().any(1), _GUESSED, 1.0)[:, None, None, None]
        return trust * self.share(portrait, motion) * made

    def share(self, portrait: Tensor, motion: Tensor) -> Tensor:
        """(B, 1, 1, 3) by which an answer is multiplied before it is added."""
        return self._strength * skin_of(portrait) * moved(motion)[:, None, None, None]


class _Member(nn.Module):
    """A linear map and what two hidden layers add to it."""

    def __init__(self, features: int, hidden: int, made: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, made)
        self.bent = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(features, hidden), nn.GELU(),
            nn.Dropout(0.3), nn.Linear(hidden, hidden), nn.GELU(),
            nn.Dropout(0.3), nn.Linear(hidden, made),
        )  # fmt: skip
        nn.init.zeros_(self.bent[-1].weight)
        nn.init.zeros_(self.bent[-1].bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features) + self.bent(features)


def skin_of(portrait: Tensor) -> Tensor:
    """(B, 1, 1, 3) the colour of the skin above and below the lips in grids (B, 34, 40, 3)."""
    inner = portrait[:, :, COLUMNS // 5 : -COLUMNS // 5]
    skin = torch.cat([inner[:, : PARTS[0] - 1], inner[:, 1 - PARTS[-1] :]], 1)
    return skin.mean((1, 2), keepdim=True).clamp(min=_DARKEST)


def moved(motion: Tensor) -> Tensor:
    """(B,) 0 for the portrait's own coefficients, 1 for any that differ plainly, of motion (B, 70)."""
    expression, pose = motion[:, :EXPRESSION_DIM], motion[:, EXPRESSION_DIM:]
    far = expression.square().mean(1) / _STILL[0] ** 2 + pose.square().mean(1) / _STILL[1] ** 2
    return 1 - torch.exp(-far)


def coarse(grids: Tensor) -> Tensor:
    """(B, P) grids (B, 34, 40, 3) at half their resolution, flattened."""
    return functional.avg_pool2d(grids.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).reshape(len(grids), -1)
