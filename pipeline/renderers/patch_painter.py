"""Runs the patch networks on frames that the mesh has drawn, several frames at a time.

What a network changes is added to the frame as a difference, enlarged to the frame's own pixels: skin that the network
leaves alone keeps the portrait's full detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.face.portrait import Portrait
from pipeline.hub_share import HubComponent
from pipeline.renderers.patch_network import PatchNetwork
from pipeline.renderers.patches import (
    MOUTH,
    PATCHES,
    PatchFrame,
    allowed,
    blur_streaks,
    fill_mouth,
    shade_slit,
    shut_share,
    wider_share,
)
from pipeline.threads import one_thread

Placement = tuple[np.ndarray, float, np.ndarray]
_KEPT = (0.5, 3.0)  # patch pixels by which a rim has moved where the portrait's own look starts to go and is gone


@dataclass(frozen=True)
class PatchNetworks(HubComponent):
    """The networks by kind of patch."""

    component = "patches"

    mouth: PatchNetwork
    eye: PatchNetwork

    @staticmethod
    def load(folder: str | Path) -> PatchNetworks:
        """Read the folders `mouth` and `eye` in `folder`.

        Raises:
            WeightsError: if they cannot be read.
        """
        networks = (PatchNetwork.load(Path(folder) / kind) for kind in ("mouth", "eye"))
        # Pictures come with their channels last: a fifth faster than turning them.
        return PatchNetworks(*(network.to(memory_format=torch.channels_last) for network in networks))

    def save(self, folder: str | Path) -> None:
        """Write the folders `mouth` and `eye` into `folder`."""
        for kind in ("mouth", "eye"):
            getattr(self, kind).save(Path(folder) / kind)


@dataclass(frozen=True)
class Drawn:
    """A frame as the mesh drew it, with where its vertices are, how the head is placed, its β and p (70,), and what the
    mouth's inside shows (27,) where that was seen."""

    frame: np.ndarray
    points: np.ndarray
    placement: Placement
    motion: np.ndarray
    inside: np.ndarray | None = None


class PatchPainter:
    """Corrects mouth and eyes of one portrait's frames, in place.

    Lips or lids that are as in the portrait are left as the portrait shows them: what a network would change on the
    portrait itself is taken off again, the less the further they have moved.
    """

    def __init__(self, portrait: Portrait, unposed: np.ndarray, own: Placement, networks: PatchNetworks) -> None:
        self._patches = [_Patch(PatchFrame(kind, unposed), portrait, own, networks) for kind in PATCHES]

    def keep(self, own: Drawn) -> None:
        """Learn what not to change, from the portrait drawn with its own coefficients."""
        for patch in self._patches:
            patch.unwanted = patch.changes([own])[0]

    def paint(self, batch: list[Drawn]) -> None:
        """Correct the frames of `batch`."""
        for patch in self._patches:
            for drawn, change in zip(batch, patch.changes(batch), strict=True):
                add_change(drawn.frame, change, patch.place.to_picture(*drawn.placement))


class _Patch:
    """One patch of one portrait and the network that corrects it."""

    def __init__(self, place: PatchFrame, portrait: Portrait, own: Placement, networks: PatchNetworks) -> None:
        self.place = place
        self.unwanted = np.zeros((place.kind.height, place.kind.width, 3), np.int16)
        self._network = getattr(networks, place.kind.name)
        to_picture = place.to_picture(*own)
        points = portrait.landmarks[:, :2].astype(np.float64)
        self._reference = place.cut(portrait.image, to_picture)
        self._openings = place.openings(points, to_picture)
        self._rest = self._rim(points, to_picture)
        self._colour = colour_share(self._reference)
        self._streaks = shut_share(self._openings) if place.kind is MOUTH else 0.0

    def changes(self, batch: list[Drawn]) -> np.ndarray:
        """(B, h, w, 3) int16: what to add to the patch in each frame, from which streaks have been blurred first."""
        kind = self.place.kind
        rows, masks, plain, kept = [], [], [], []
        for drawn in batch:
            to_picture = self.place.to_picture(*drawn.placement)
            points = drawn.points.astype(np.float64)
            openings = self.place.openings(points, to_picture)
            if self._streaks:
                wider = self._streaks * wider_share(openings, self._openings)
                blur_streaks(drawn.frame, points[kind.inner], wider, drawn.placement[1])
            patch = self.place.cut(drawn.frame, to_picture)
            plain.append(patch)
            if kind is MOUTH:
                patch = fill_mouth(patch, self._reference, openings, self._openings)
            rows.append(np.concatenate([patch, self._reference, openings, self._openings], -1))
            masks.append(allowed(openings, self._openings, kind))
            moved = np.linalg.norm(self._rim(points, to_picture) - self._rest, axis=1).mean()
            kept.append(np.interp(moved, _KEPT, (1.0, 0.0)))
        with torch.inference_mode(), one_thread():
            inputs = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255
            corrected = self._network(inputs, torch.from_numpy(np.stack(masks))[:, None])
            pixels = (corrected * 255).round().to(torch.int16).permute(0, 2, 3, 1).contiguous().numpy()
        if kind is MOUTH:
            shaded = zip(pixels, rows, strict=True)
            pixels = np.stack([shade_slit(patch, row[..., 6:8], self._openings) for patch, row in shaded])
        unwanted = np.array(kept, np.float32)[:, None, None, None] * self.unwanted
        changes = pixels - np.stack(plain) - unwanted
        return np.rint(with_colour(changes, self._colour)).astype(np.int16)

    def _rim(self, points: np.ndarray, to_picture: np.ndarray) -> np.ndarray:
        """The opening's rim in the patch's pixels."""
        inverse = cv2.invertAffineTransform(to_picture)
        return points[self.place.kind.inner] @ inverse[:, :2].T + inverse[:, 2]


def colour_share(reference: np.ndarray) -> float:
    """0 to 1, how much of a network's colour suits a portrait's patch (h, w, 3) uint8.

    Networks know skin; on stone, ink and black-and-white film only as much colour is added as there is.
    """
    spread = reference.max(-1).astype(np.float32) - reference.min(-1)
    return float(np.clip((spread.mean() - 4) / 20, 0, 1))


def with_colour(changes: np.ndarray, share: float) -> np.ndarray:
    """Changes (..., 3) with so much of their colour: those of a `share` of 1 as they are, of 0 grey."""
    if share >= 1:
        return changes
    grey = changes.mean(-1, keepdims=True)
    return grey + share * (changes - grey)


def add_change(frame: np.ndarray, change: np.ndarray, to_picture: np.ndarray) -> None:
    """Add a patch's change (h, w, 3) int16 to the frame, where the patch lies in it."""
    height, width = change.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ to_picture[:, :2].T + to_picture[:, 2]
    x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, frame.shape[1::-1])
    if x0 >= x1 or y0 >= y1:
        return
    matrix = to_picture.copy()
    matrix[:, 2] -= (x0, y0)
    moved = cv2.warpAffine(change, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    part = frame[y0:y1, x0:x1]
    cv2.add(part, moved, dst=part, dtype=cv2.CV_8U)
