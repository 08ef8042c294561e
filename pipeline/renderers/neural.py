"""What the neural renderers share: a square window around the head, and faces drawn as colours.

A network of a fixed size sees a window around the head and its answer is laid back into the picture, fading at the
window's rim, so that these renderers too keep the portrait's own size and what lies around.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.coefficients import Coefficients
from pipeline.face import topology
from pipeline.face.morphable import placement
from pipeline.face.portrait import Portrait
from pipeline.face.raster import rasterise

WINDOW_HEIGHTS = 2.1  # the window's side in face heights: hair and shoulders, about as VoxCeleb is cut
_RIM = 0.06  # share of the window's side over which it fades into the picture
_IRIS_DEPTH = 0.05  # how far irises lie behind the lids, in face heights
_FAR = np.float32(1e9)
_IRISES = (topology.RIGHT_IRIS, topology.LEFT_IRIS)


@dataclass(frozen=True)
class HeadWindow:
    """A square of a picture that a network sees at its own size.

    Attributes:
        left, top: its corner in the picture, in pixels; it may lie outside.
        side: of the square in the picture.
        size: of what the network sees.
    """

    left: float
    top: float
    side: float
    size: int

    @staticmethod
    def of(portrait: Portrait, size: int, heights: float = WINDOW_HEIGHTS) -> HeadWindow:
        """The window around a portrait's head, `heights` face heights high, or as large as the picture allows.

        It lies within the picture: what is beyond nobody has seen.
        """
        own = portrait.coefficients
        _, scale, shift = placement(own.pose[0], own.crop[0], portrait.size)
        side = min(heights * float(scale), *portrait.size)
        width, height = portrait.size
        left = float(np.clip(shift[0] - 0.5 * side, 0, width - side))
        top = float(np.clip(shift[1] - 0.52 * side, 0, height - side))
        return HeadWindow(left, top, side, size)

    @property
    def scale(self) -> float:
        """The network's pixels for one of the picture."""
        return self.size / self.side

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the picture in the network's pixels."""
        return (points + 0.5 - (self.left, self.top)) * self.scale - 0.5

    def cut(self, image: np.ndarray) -> np.ndarray:
        """(size, size, 3) uint8 of a picture (H, W, 3); beyond the picture its rim goes on."""
        if self.scale < 1:  # an affine warp alone would skip pixels
            image = cv2.GaussianBlur(image, (0, 0), 0.35 / self.scale)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            image, self._inverse(), (self.size, self.size), flags=how, borderMode=cv2.BORDER_REPLICATE
        )

    def paste(self, patch: np.ndarray, image: np.ndarray) -> None:
        """Lay (size, size, 3) uint8 over a picture (H, W, 3), in place, fading at the rim."""
        x0, y0 = max(0, int(np.floor(self.left))), max(0, int(np.floor(self.top)))
        x1 = min(image.shape[1], int(np.ceil(self.left + self.side)))
        y1 = min(image.shape[0], int(np.ceil(self.top + self.side)))
        if x1 <= x0 or y1 <= y0:
            return
        forward = self._inverse() - np.array([[0, 0, x0], [0, 0, y0]])
        area = (x1 - x0, y1 - y0)
        moved = cv2.warpAffine(patch, forward, area, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        across = self._share(np.arange(x0, x1) + 0.5 - self.left, x0 == 0, x1 == image.shape[1])
        down = self._share(np.arange(y0, y1) + 0.5 - self.top, y0 == 0, y1 == image.shape[0])
        share = down[:, None] * across
        view = image[y0:y1, x0:x1]
        view[:] = np.rint(view + share[..., None] * (moved.astype(np.float32) - view)).astype(np.uint8)

    def _share(self, inside: np.ndarray, first_free: bool, last_free: bool) -> np.ndarray:
        """How much of the patch is seen so far inside the window; where the picture ends too, it need not fade."""
        infinite = np.full_like(inside, np.inf)
        rim = np.minimum(infinite if first_free else inside, infinite if last_free else self.side - inside)
        return (0.5 - 0.5 * np.cos(np.pi * np.clip(rim / (_RIM * self.side), 0, 1))).astype(np.float32)

    def _inverse(self) -> np.ndarray:
        """(2, 3) from the network's pixels to the picture's."""
        step = 1 / self.scale
        shift = 0.5 * step - 0.5
        return np.array([[step, 0, self.left + shift], [0, step, self.top + shift]])


@dataclass
class FaceImages:
    """Draws a portrait's face as colours: in each pixel, which point of the mean face is seen there.

    A face's part has the same colour whatever its pose and expression, and whoever it is. Colours vary within
    triangles (the paper gives each triangle its centre's, on a mesh a hundred times finer), holes of eyes and mouth
    stay black but for the irises.

    Args:
        portrait: whose face, with its own pose taken out, is moved by the change of β.
        window: what is drawn.

    Source: Doukas 2021 §4.1.
    """

    portrait: Portrait
    window: HeadWindow
    _unposed: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._unposed = self.portrait.unposed()
        mean = self.portrait.model.mean
        low, high = mean[: topology.MESH_POINTS].min(0), mean[: topology.MESH_POINTS].max(0)
        # Black is for what is no face.
        self._colours = np.clip(0.1 + 0.9 * (mean - low) / (high - low), 0.1, 1).astype(np.float32)
        rims = [(iris[0], iris[1 + i], iris[1 + (i + 1) % 4]) for iris in _IRISES for i in range(4)]
        self._triangles = np.concatenate([topology.triangles(), np.array(rims, np.int32)])

    def __call__(self, coefficients: Coefficients) -> np.ndarray:
        """(T, 3, size, size) float32 of T frames: x, y and z on the mean face in 0.1 to 1, and 0 where no face is."""
        return np.stack([self._draw(*row) for row in zip(*self._rows(coefficients), strict=True)])

    def points(self, coefficients: Coefficients) -> np.ndarray:
        """(T, 478, 2) where the vertices are, in the network's pixels."""
        return np.stack([self._place(*row)[0] for row in zip(*self._rows(coefficients), strict=True)])

    @staticmethod
    def _rows(coefficients: Coefficients) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return coefficients.expression, coefficients.pose, coefficients.crop

    def _place(self, expression: np.ndarray, pose: np.ndarray, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        portrait = self.portrait
        rotation, scale, shift = placement(pose.astype(np.float64), crop.astype(np.float64), portrait.size)
        moved = self._unposed + portrait.model.offsets(expression - portrait.coefficients.expression[0])
        posed = scale * moved @ rotation.T + shift
        depth = posed[:, 2].copy()
        depth[topology.IRISES] += _IRIS_DEPTH * scale
        return self.window.points(posed[:, :2]).astype(np.float32), depth.astype(np.float32)

    def _draw(self, expression: np.ndarray, pose: np.ndarray, crop: np.ndarray) -> np.ndarray:
        target, depth = self._place(expression, pose, crop)
        size = self.window.size
        planes = np.zeros((4, size, size), np.float32)
        for first in (0, 2):  # the rasteriser carries two values at once
            source = np.zeros((len(target), 2), np.float32)
            source[:, : min(2, 3 - first)] = self._colours[:, first : first + 2]
            out = (planes[first], planes[first + 1], np.full((size, size), _FAR))
            rasterise(self._triangles, target, depth, source, 0, 0, out)
        return planes[:3]


def to_tensor(pictures: np.ndarray) -> Tensor:
    """Pictures (..., h, w, 3) uint8 as (..., 3, h, w) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3))).float() / 127.5 - 1


def to_pictures(tensor: Tensor) -> np.ndarray:
    """(..., 3, h, w) in -1..1 as pictures (..., h, w, 3) uint8."""
    pixels = (tensor.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(np.moveaxis(pixels, -3, -1))
