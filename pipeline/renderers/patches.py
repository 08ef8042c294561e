"""Patches: the mouth and the eyes, each laid flat in the head's own frame, where small networks correct the mesh.

A patch is a rectangle fixed to the skull (the mouth's to the upper jaw), so whatever a network paints there moves
with the head and nothing else: teeth do not swim when lips and jaw move over them (Lv 2022 §3.3.2 completes the mouth
in the picture's frame). The left eye is mirrored, so that one network serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pipeline.face import topology

_SUBPIXEL = 4  # fractional bits of polygon corners
# Gaps between the lips in face heights, and the share of light that is taken from them where a portrait shows no
# inside: real gaps of 0.01 to 0.03 have 0.53 to 0.58 of the lips' light, a network's mean over teeth and dark 0.65 to
# 0.75 (20 clips of `split=train`), and lips parted by so little then look shut.
_SLIT, _SLIT_SHADE = (0.0, 0.01, 0.02, 0.045), (0.0, 0.4, 0.55, 0.0)
_WIDER = (0.004, 0.02)  # face heights by which a mouth is open hardly and plainly wider
_STREAK = 0.06  # face heights over which streaks are blurred
_SHOWS_INSIDE = (0.02, 0.045)  # face heights that lips are apart in a portrait that begins to show it, and that does


@dataclass(frozen=True)
class PatchKind:
    """Where a patch is and how large: `width` × `height` pixels of `pixel` face heights each, centred `offset` from
    the mean of the `anchors`; `rings` are the openings (inner, outer) whose outlines the network is told."""

    name: str
    width: int
    height: int
    pixel: float
    anchors: tuple[int, ...]
    offset: tuple[float, float]
    inner: np.ndarray
    outer: np.ndarray
    mirrored: bool = False


MOUTH = PatchKind("mouth", 96, 80, 0.005, (2,), (0.0, 0.18), topology.INNER_LIPS, topology.OUTER_LIPS)
_RIGHT_SOCKET = np.array([130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25], int)
_LEFT_SOCKET = np.array([359, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255], int)
RIGHT_EYE = PatchKind("eye", 64, 48, 0.004, (33, 133), (0.0, -0.01), topology.RIGHT_EYE, _RIGHT_SOCKET)
LEFT_EYE = PatchKind("eye", 64, 48, 0.004, (263, 362), (0.0, -0.01), topology.LEFT_EYE, _LEFT_SOCKET, mirrored=True)
PATCHES = (MOUTH, RIGHT_EYE, LEFT_EYE)


class PatchFrame:
    """One patch on one portrait: how its pixels map to the picture's for any placement of the head."""

    def __init__(self, kind: PatchKind, unposed: np.ndarray) -> None:
        self.kind = kind
        anchor = unposed[list(kind.anchors)].mean(0)
        self._anchor = anchor + np.array([*kind.offset, 0.0])

    def to_picture(self, rotation: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
        """(2, 3) affine map from patch pixels to picture pixels, for a placement as `placement` gives it."""
        kind = self.kind
        step = kind.pixel * np.array([-1.0 if kind.mirrored else 1.0, 1.0])
        linear = scale * rotation[:2, :2] * step
        centre = scale * rotation[:2] @ self._anchor + shift[:2]
        middle = np.array([(kind.width - 1) / 2, (kind.height - 1) / 2])
        return np.concatenate([linear, (centre - linear @ middle)[:, None]], 1)

    def cut(self, picture: np.ndarray, to_picture: np.ndarray, left: int = 0, top: int = 0) -> np.ndarray:
        """(h, w, 3) uint8: the patch's pixels out of a picture whose corner is at (left, top)."""
        matrix = to_picture.copy()
        matrix[:, 2] -= (left, top)
        # A patch much smaller than its place in the picture is sampled with care for aliasing.
        spread = int(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        size = (self.kind.width, self.kind.height)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if spread < 2:
            return cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        fine = matrix.copy()
        fine[:, 2] += fine[:, :2] @ np.full(2, -0.5 + 0.5 / spread)
        fine[:, :2] /= spread
        large = cv2.warpAffine(
            picture, fine, (size[0] * spread, size[1] * spread), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return cv2.resize(large, size, interpolation=cv2.INTER_AREA)

    def openings(self, points: np.ndarray, to_picture: np.ndarray) -> np.ndarray:
        """(h, w, 2) uint8: the inner and the outer opening of the picture's vertices (478+, 2), filled."""
        inverse = cv2.invertAffineTransform(to_picture)
        out = np.zeros((self.kind.height, self.kind.width, 2), np.uint8)
        for channel, ring in enumerate((self.kind.inner, self.kind.outer)):
            corners = points[ring] @ inverse[:, :2].T + inverse[:, 2]
            layer = np.zeros(out.shape[:2], np.uint8)
            fixed = np.rint(corners * (1 << _SUBPIXEL)).astype(np.int32)
            cv2.fillPoly(layer, [fixed], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL)
            out[..., channel] = layer
        return out


def allowed(openings: np.ndarray, reference_openings: np.ndarray, kind: PatchKind) -> np.ndarray:
    """(h, w) float32 0..1: where a network may paint: around the openings of the frame and of the portrait.

    It fades to nothing before the patch's border, so a patch leaves no seam.
    """
    area = np.maximum.reduce([*np.moveaxis(openings, -1, 0), *np.moveaxis(reference_openings, -1, 0)])
    reach = 9 if kind.name == "mouth" else 7
    area = cv2.blur(cv2.dilate(area, np.ones((reach, reach), np.uint8)), (reach, reach))
    return area.astype(np.float32) * (_border(kind.height, kind.width) / 255.0)


@lru_cache
def _border(height: int, width: int, margin: int = 6) -> np.ndarray:
    rows = np.minimum(np.arange(height), np.arange(height)[::-1])
    columns = np.minimum(np.arange(width), np.arange(width)[::-1])
    edge = np.minimum(rows[:, None], columns[None]) / margin
    return np.clip(edge, 0, 1).astype(np.float32)


def fill_mouth(
    patch: np.ndarray, reference: np.ndarray, openings: np.ndarray, reference_openings: np.ndarray
) -> np.ndarray:
    """The mouth's patch (h, w, 3) with its inside laid in anew: what the portrait shows of it, where it shows it.

    The mesh stretches the inside with the lips, and streaks their seam over a mouth that was shut. Since patches are
    fixed to the upper jaw, the portrait's own teeth belong just where they are in its own patch; the rest is a dark
    hollow in the lips' colour, from which the network starts. Both fade out at the lips, and in narrow slits.
    """
    inside = (
        cv2.blur(cv2.erode(openings[..., 0], np.ones((3, 3), np.uint8)), (3, 3))[..., None].astype(np.float32) / 255
    )
    if inside.sum() < 8:
        return patch
    shown = cv2.GaussianBlur(reference_openings[..., 0], (7, 7), 0)[..., None].astype(np.float32) / 255
    shown = shown * shown  # the lips' own edge is not inside
    around = reference_openings[..., 1] > reference_openings[..., 0]
    lips = reference[around].mean(0) if around.any() else reference.mean((0, 1))
    hollow = lips * np.array([0.42, 0.34, 0.34], np.float32)
    laid = shown * reference + (1 - shown) * hollow
    return np.rint(patch * (1 - inside) + laid * inside).astype(np.uint8)


def shade_slit(patch: np.ndarray, openings: np.ndarray, reference_openings: np.ndarray) -> np.ndarray:
    """The mouth's patch (h, w, 3) with narrow gaps between the lips as dark as they are, in the patch's own type.

    A network that cannot know whether a narrow gap shows teeth or the dark paints their mean, which is as bright as
    the lips. A portrait whose lips are apart tells it, and is left as it is; so are wide openings.
    """
    share = np.interp(_gaps(openings), _SLIT, _SLIT_SHADE) * shut_share(reference_openings)
    if not share.any():
        return patch
    shade = cv2.blur(openings[..., 0] * (share / 255).astype(np.float32), (3, 3))
    return np.rint(patch * (1 - shade[..., None])).astype(patch.dtype)


def shut_share(openings: np.ndarray) -> float:
    """1 where openings (h, w, 2) of a mouth's patch are of one that shows nothing inside, 0 of one that does."""
    middle = slice(openings.shape[1] * 3 // 8, openings.shape[1] * 5 // 8)
    return float(np.interp(_gaps(openings)[middle].mean(), _SHOWS_INSIDE, (1.0, 0.0)))


def wider_share(openings: np.ndarray, reference_openings: np.ndarray) -> float:
    """1 where a mouth is open plainly wider than the portrait's, 0 where it is not, of openings (h, w, 2)."""
    return float(np.interp(_gaps(openings).max() - _gaps(reference_openings).max(), _WIDER, (0.0, 1.0)))


def blur_streaks(frame: np.ndarray, ring: np.ndarray, share: float, scale: float) -> None:
    """Blur a frame (H, W, 3) uint8 from side to side between the lips, in place.

    Lips that are shut in the portrait leave the mesh only the line on which they meet to draw an opened mouth with:
    every pixel of it becomes an upright streak, which patches are too coarse to take away whole.

    Args:
        frame: as the mesh drew it.
        ring: (20, 2) the inner lips' outline in its pixels.
        share: of the blur that is laid in, 0 to 1.
        scale: pixels a face height.
    """
    height, width = frame.shape[:2]
    x0, y0 = np.maximum(np.floor(ring.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(ring.max(0)).astype(int) + 2, (width, height))
    if share <= 0 or x1 - x0 < 3 or y1 - y0 < 3:
        return
    part = frame[y0:y1, x0:x1]
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint((ring - (x0, y0)) * (1 << _SUBPIXEL)).astype(np.int32)], 255, cv2.LINE_AA, _SUBPIXEL)
    if not mask.any():
        return
    # Within the lips' own soft edge, which the mask's is laid over.
    weight = cv2.blur(mask, (3, 3)).astype(np.float32)[..., None] * (share / 255)
    reach = max(3, round(_STREAK * scale) | 1)
    smooth = cv2.blur(part, (reach, 1), borderType=cv2.BORDER_REPLICATE)
    part[:] = np.rint(part + weight * (smooth.astype(np.float32) - part)).astype(np.uint8)


def _gaps(openings: np.ndarray) -> np.ndarray:
    """(w,) face heights between the lips in each of the mouth's columns."""
    return openings[..., 0].sum(0) * (MOUTH.pixel / 255)
