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
from pipeline.renderers.patch_network import PatchNetwork
from pipeline.renderers.patches import MOUTH, PATCHES, PatchFrame, allowed, fill_mouth
from pipeline.threads import one_thread

Placement = tuple[np.ndarray, float, np.ndarray]


@dataclass(frozen=True)
class PatchNetworks:
    """The networks by kind of patch."""

    mouth: PatchNetwork
    eye: PatchNetwork

    @staticmethod
    def load(folder: str | Path) -> PatchNetworks:
        """Read the folders `mouth` and `eye` in `folder`.

        Raises:
            WeightsError: if they cannot be read.
        """
        return PatchNetworks(*(PatchNetwork.load(Path(folder) / kind) for kind in ("mouth", "eye")))


@dataclass(frozen=True)
class Drawn:
    """A frame as the mesh drew it, with where its vertices are and how the head is placed."""

    frame: np.ndarray
    points: np.ndarray
    placement: Placement


class PatchPainter:
    """Corrects mouth and eyes of one portrait's frames, in place."""

    def __init__(self, portrait: Portrait, unposed: np.ndarray, own: Placement, networks: PatchNetworks) -> None:
        self._patches = []
        for kind in PATCHES:
            place = PatchFrame(kind, unposed)
            to_picture = place.to_picture(*own)
            reference = place.cut(portrait.image, to_picture)
            openings = place.openings(portrait.landmarks[:, :2].astype(np.float64), to_picture)
            self._patches.append((place, reference, openings, getattr(networks, kind.name)))

    def paint(self, batch: list[Drawn]) -> None:
        """Correct the frames of `batch`."""
        for place, reference, reference_openings, network in self._patches:
            maps = [place.to_picture(*drawn.placement) for drawn in batch]
            rows, masks, plain = [], [], []
            for drawn, to_picture in zip(batch, maps, strict=True):
                openings = place.openings(drawn.points.astype(np.float64), to_picture)
                patch = place.cut(drawn.frame, to_picture)
                plain.append(patch)
                if place.kind is MOUTH:
                    patch = fill_mouth(patch, reference, openings, reference_openings)
                rows.append(np.concatenate([patch, reference, openings, reference_openings], -1))
                masks.append(allowed(openings, reference_openings, place.kind))
            with torch.inference_mode(), one_thread():
                inputs = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255
                corrected = network(inputs, torch.from_numpy(np.stack(masks))[:, None])
                pixels = (corrected * 255).round().to(torch.int16).permute(0, 2, 3, 1).contiguous().numpy()
            changes = pixels - np.stack(plain)
            for drawn, to_picture, change in zip(batch, maps, changes, strict=True):
                _add(drawn.frame, change, to_picture)


def _add(frame: np.ndarray, change: np.ndarray, to_picture: np.ndarray) -> None:
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
