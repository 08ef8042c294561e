"""How hair, ears, neck and shoulders follow the head: rings of points around the face that fade to rest.

How far a ring follows was measured on the corpus by optical flow (`python -m pipeline train surroundings`): for each
ring and each of the 36 directions around the face, how much it takes of the head's shift, of its turn in the picture
plane, of its turn in depth, and of the outline's own motion (the chin's, when the jaw drops).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.errors import WeightsError
from pipeline.face import topology
from pipeline.hub_share import HubComponent

RAYS = len(topology.OUTLINE)


@dataclass(frozen=True)
class Surroundings(HubComponent):
    """Distances of the rings from the outline, in face heights, (R,); and how they follow, (R, 36, 4): shares of
    shift, of turn in the plane and of the outline's expression, and the depth in face heights they turn with,
    in the order shift, turn, depth, expression."""

    component = "mesh"

    radii: np.ndarray
    follow: np.ndarray

    def points(self, outline: np.ndarray, scale: float) -> np.ndarray:
        """(R, 36, 2) ring points around the (36, 2) outline of a face that is `scale` pixels high."""
        away = outline - outline.mean(0)
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        return outline + away * (self.radii[:, None, None] * scale)

    @staticmethod
    def triangles(first: int, rings: int) -> np.ndarray:
        """Triangles between the face's outline and the rings, whose points are numbered from `first` on."""
        inner = [topology.OUTLINE, *(first + RAYS * r + np.arange(RAYS) for r in range(rings))]
        faces = []
        for a, b in pairwise(inner):
            a2, b2 = np.roll(a, -1), np.roll(b, -1)
            faces += [np.stack([a, b, a2], 1), np.stack([a2, b, b2], 1)]
        return np.concatenate(faces).astype(np.int32)

    def save(self, folder: str | Path) -> None:
        """Write `surroundings.json`: small, and readable by eye."""
        rows = {"radii": np.round(self.radii, 4).tolist(), "follow": np.round(self.follow, 3).tolist()}
        (Path(folder) / "surroundings.json").write_text(json.dumps(rows) + "\n")

    @staticmethod
    def load(folder: str | Path) -> Surroundings:
        """Read what `save` wrote.

        Raises:
            WeightsError: if the file is missing or damaged.
        """
        try:
            rows = json.loads((Path(folder) / "surroundings.json").read_text())
            radii, follow = np.array(rows["radii"], np.float64), np.array(rows["follow"], np.float64)
            if follow.shape != (len(radii), RAYS, 4):
                raise ValueError("The rings' sizes do not fit one another.")
            return Surroundings(radii, follow)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{folder}/surroundings.json cannot be read; install the weights again.") from error
