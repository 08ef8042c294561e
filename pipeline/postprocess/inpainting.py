"""What may stand behind a person: the background that a picture shows, gone on with behind the edge of the matte.

A smooth fill alone looks like grey smoke where a head uncovers shelves, leaves or stripes. So the strip that a head
can uncover is put together from patches of the background itself: PatchMatch (Barnes 2009, §3) finds for each patch
its nearest in the known part, and overlapping patches vote for each pixel, from coarse to fine (Wexler 2007, §2-3).
That is done on a small picture; the patches found there are then copied out of the picture itself, so what is filled
in is as sharp as what is around it. Deeper than that strip nothing is ever seen, and the smooth fill stays.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

_REACH = 24  # pixels of the strip's depth in the small picture
_LONGEST = 224  # pixels of the small picture's longer side at most
_RADIUS = 3  # of a patch: 7 x 7 pixels
_LEVELS = 4
_ROUNDS = (8, 4, 3, 2)  # of searching and voting, from the coarsest level to the finest
_TRUST = 0.8  # by which a pixel counts less than the one before it, from the known ones inwards
_HALO = 2  # small pixels around the person that are not copied: hair and its shine
_FEWEST = 50  # patches to copy from; with fewer a texture repeats itself, and the smooth fill is better
# Grey levels between a background and its blurred self: plain walls have 0.3 to 1.1, detailed ones from 3.9.
_PLAIN = 1.5
_RIM, _MOST_OFF = 3, 40  # small pixels of the known rim where copies are compared, and grey levels taken off at most


def smooth_fill(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill unknown pixels of (H, W, 3) uint8 smoothly from the (H, W) known ones around, coarse to fine (push-pull)."""
    if not known.any():
        return image.copy()
    weight = known.astype(np.float32)
    colour = image.astype(np.float32) * weight[..., None]
    levels = []
    while min(weight.shape) > 2:
        levels.append((colour, weight))
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        colour = cv2.resize(cv2.GaussianBlur(colour, (5, 5), 0), size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(cv2.GaussianBlur(weight, (5, 5), 0), size, interpolation=cv2.INTER_AREA)
    total = max(float(weight.sum()), 1e-6)
    coarse = np.broadcast_to(colour.sum((0, 1)) / total, (*weight.shape, 3))
    coarse = np.where(weight[..., None] > 1e-3, colour / np.maximum(weight, 1e-6)[..., None], coarse)
    for colour, weight in reversed(levels):
        coarse = cv2.resize(coarse.astype(np.float32), weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        sure = np.minimum(weight, 1)[..., None]
        coarse = np.where(
            weight[..., None] > 1e-3, sure * colour / np.maximum(weight, 1e-6)[..., None] + (1 - sure) * coarse, coarse
        )
    return np.clip(np.rint(coarse), 0, 255).astype(np.uint8)


def continued(image: np.ndarray, known: np.ndarray, reach: float) -> np.ndarray:
    """(H, W, 3) uint8: the picture with its unknown pixels filled in as its known ones go on.

    Args:
        image: (H, W, 3) uint8.
        known: (H, W), 0 where something else stands before the background.
        reach: pixels from the known ones over which the fill is seen.
    """
    smooth = smooth_fill(image, known)
    plate = np.where(known[..., None] > 0, image, smooth)
    size = min(1.0, _REACH / max(reach, 1.0), _LONGEST / max(known.shape))
    shape = tuple(max(1, round(side * size)) for side in known.shape)
    if min(shape) < 4 * _RADIUS:
        return plate
    small = cv2.resize(plate, shape[::-1], interpolation=cv2.INTER_AREA)
    sure = cv2.resize(known.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) > 0.999
    sure = cv2.erode(sure.astype(np.uint8), np.ones((2 * _HALO + 1, 2 * _HALO + 1), np.uint8))
    strip = (sure == 0) & (cv2.distanceTransform(1 - sure, cv2.DIST_L2, 5) < _REACH + _HALO)
    found = _match(small, sure, strip) if strip.any() and not _plain(small, sure, strip) else None
    if found is None:
        return plate
    depth = cv2.distanceTransform(1 - (known > 0).astype(np.uint8), cv2.DIST_L2, 5)
    share = np.clip(3 * (1 - depth / max(reach, 1.0)), 0, 1)[..., None].astype(np.float32)
    rim = (known > 0) & (cv2.distanceTransform((known > 0).astype(np.uint8), cv2.DIST_L2, 5) < _RIM / size)
    share[known > 0] = 0
    copied = _copy(image, np.where(rim, 1, share[..., 0]), found, smooth)
    # What is copied to the known rim tells by how much copies are too light or too dark there: taken off smoothly.
    short = np.clip(image - copied, -_MOST_OFF, _MOST_OFF) + 128
    copied += smooth_fill(np.rint(short).astype(np.uint8), rim).astype(np.float32) - 128
    return np.where(share > 0, np.rint(smooth + share * (copied - smooth)).clip(0, 255), plate).astype(np.uint8)


def _plain(picture: np.ndarray, known: np.ndarray, strip: np.ndarray) -> bool:
    """Whether the background around the strip is as smooth as a smooth fill, and nothing need be copied."""
    around = (known > 0) & (cv2.distanceTransform(1 - strip.astype(np.uint8), cv2.DIST_L2, 3) < 2 * _REACH)
    fine = np.abs(picture - cv2.GaussianBlur(picture, (0, 0), _REACH / 8).astype(np.float32)).mean(-1)
    return not around.any() or float(fine[around].mean()) < _PLAIN


def _match(picture: np.ndarray, known: np.ndarray, strip: np.ndarray) -> np.ndarray | None:
    """(h, w, 2) int32 y, x of the known patch to copy for each pixel in and around the strip, else -1.

    None where too little is known.
    """
    pictures, knowns, strips = [picture], [known], [strip.astype(np.uint8)]
    while len(pictures) < _LEVELS and min(knowns[-1].shape) > 8 * _RADIUS:
        half = tuple((side + 1) // 2 for side in knowns[-1].shape[::-1])
        pictures.append(cv2.resize(pictures[-1], half, interpolation=cv2.INTER_AREA))
        whole = cv2.resize(knowns[-1].astype(np.float32), half, interpolation=cv2.INTER_AREA) > 0.999
        knowns.append(whole.astype(np.uint8))
        filled = cv2.resize(strips[-1].astype(np.float32), half, interpolation=cv2.INTER_AREA) > 0
        strips.append((filled & (knowns[-1] == 0)).astype(np.uint8))
    field: np.ndarray | None = None
    rounds = iter(_ROUNDS)
    for level in reversed(range(len(pictures))):
        sources = _inside(knowns[level])
        if int(sources.sum()) < _FEWEST:
            continue
        depth = cv2.distanceTransform(1 - knowns[level], cv2.DIST_L2, 3)
        trust = np.where(knowns[level] | strips[level], _TRUST**depth, 0).astype(np.float32)
        canvas = pictures[level].astype(np.float32)
        places = _places(strips[level], trust)
        began = field is None
        field = _start(field, sources, places, knowns[level].shape)
        if began:  # nothing is known of the strip yet: from its edge inwards, each ring from what is there by then
            for ring in range(1, int(depth[strips[level] > 0].max()) + 2):
                filled = strips[level] & (depth < ring)
                by_now = np.where(knowns[level] | filled, trust, 0).astype(np.float32)
                near = places[np.abs(depth[tuple(places.T)] - ring) <= _RADIUS + 1]
                _search(canvas, by_now, sources, near, field, ring)
                _vote(canvas, by_now, strips[level] & (depth >= ring) & (depth < ring + 1), near, field)
        for turn in range(next(rounds)):
            if turn or not began:
                _vote(canvas, trust, strips[level], places, field)
            _search(canvas, trust, sources, places, field, turn)
    return field


def _places(strip: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """(N, 2) int32 y, x of the centres of patches that reach into the strip."""
    reached = cv2.dilate(strip, np.ones((2 * _RADIUS + 1, 2 * _RADIUS + 1), np.uint8))
    return np.argwhere((reached > 0) & (trust > 0)).astype(np.int32)


def _inside(known: np.ndarray) -> np.ndarray:
    """Centres of patches that are known whole and lie in the picture."""
    framed = cv2.copyMakeBorder(known, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    for _ in range(_RADIUS):
        framed = cv2.erode(framed, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.ascontiguousarray(framed[1:-1, 1:-1])


def _start(coarse: np.ndarray | None, sources: np.ndarray, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A field to begin with: the coarser level's where that can be, else patches at random."""
    random = np.random.default_rng(0)
    centres = np.argwhere(sources)
    field = np.full((*shape, 2), -1, np.int32)
    y, x = places.T
    chosen = centres[random.integers(0, len(centres), len(places))]
    if coarse is not None:
        above = coarse[np.minimum(y // 2, coarse.shape[0] - 1), np.minimum(x // 2, coarse.shape[1] - 1)]
        moved = 2 * above + np.stack([y % 2, x % 2], 1)
        fits = (above[:, 0] >= 0) & (moved[:, 0] < shape[0]) & (moved[:, 1] < shape[1])
        fits[fits] &= sources[tuple(moved[fits].T)] > 0
        chosen[fits] = moved[fits]
    field[y, x] = chosen
    return field


@numba.njit(cache=True, nogil=True)
def _distance(canvas, trust, y, x, sy, sx, most):
    """Squared difference of two patches, weighted by trust in the first one's pixels; or more than `most`."""
    height, width = trust.shape
    total = np.float32(0)
    for dy in range(-_RADIUS, _RADIUS + 1):
        ty = y + dy
        if ty < 0 or ty >= height:
            continue
        for dx in range(-_RADIUS, _RADIUS + 1):
            tx = x + dx
            if tx < 0 or tx >= width or trust[ty, tx] == 0:
                continue
            for k in range(3):
                difference = canvas[ty, tx, k] - canvas[sy + dy, sx + dx, k]
                total += trust[ty, tx] * difference * difference
        if total > most:
            return total
    return total


@numba.njit(cache=True, nogil=True)
def _search(canvas, trust, sources, places, field, turn):
    """Two sweeps of PatchMatch: neighbours' offsets, then random places ever nearer to the best one."""
    height, width = trust.shape
    state = np.uint32(12345 + 977 * turn)
    for sweep in range(2):
        step = 1 if sweep == 0 else -1
        for index in range(len(places)):
            y, x = places[index if sweep == 0 else len(places) - 1 - index]
            by, bx = field[y, x]
            best = _distance(canvas, trust, y, x, by, bx, np.float32(1e30))
            for side in range(2):
                ny, nx = (y - step, x) if side == 0 else (y, x - step)
                if ny < 0 or ny >= height or nx < 0 or nx >= width or field[ny, nx, 0] < 0:
                    continue
                sy, sx = field[ny, nx, 0] + y - ny, field[ny, nx, 1] + x - nx
                if 0 <= sy < height and 0 <= sx < width and sources[sy, sx] > 0:
                    cost = _distance(canvas, trust, y, x, sy, sx, best)
                    if cost < best:
                        best, by, bx = cost, sy, sx
            radius = max(height, width)
            while radius >= 1:
                state = np.uint32(state * np.uint32(1664525) + np.uint32(1013904223))
                sy = by + int(state >> np.uint32(16)) % (2 * radius + 1) - radius
                state = np.uint32(state * np.uint32(1664525) + np.uint32(1013904223))
                sx = bx + int(state >> np.uint32(16)) % (2 * radius + 1) - radius
                if 0 <= sy < height and 0 <= sx < width and sources[sy, sx] > 0:
                    cost = _distance(canvas, trust, y, x, sy, sx, best)
                    if cost < best:
                        best, by, bx = cost, sy, sx
                radius //= 2
            field[y, x, 0], field[y, x, 1] = by, bx


@numba.njit(cache=True, nogil=True)
def _vote(canvas, trust, strip, places, field):
    """Each pixel of the strip becomes the mean of what the patches over it have there; outer patches count more."""
    height, width = trust.shape
    total = np.zeros(canvas.shape, np.float32)
    weight = np.zeros(trust.shape, np.float32)
    for index in range(len(places)):
        y, x = places[index]
        sy, sx = field[y, x]
        if trust[y, x] == 0:
            continue
        for dy in range(-_RADIUS, _RADIUS + 1):
            for dx in range(-_RADIUS, _RADIUS + 1):
                ty, tx = y + dy, x + dx
                if 0 <= ty < height and 0 <= tx < width and strip[ty, tx] > 0:
                    weight[ty, tx] += trust[y, x]
                    for k in range(3):
                        total[ty, tx, k] += trust[y, x] * canvas[sy + dy, sx + dx, k]
    for y in range(height):
        for x in range(width):
            if weight[y, x] > 0:
                for k in range(3):
                    canvas[y, x, k] = total[y, x, k] / weight[y, x]


@numba.njit(cache=True, nogil=True)
def _copy(image, share, field, otherwise):
    """(H, W, 3) float32: the picture's own pixels by the small picture's patches, the nearest nine of each pixel."""
    height, width = share.shape
    low, wide = field.shape[:2]
    fy, fx = height / low, width / wide
    out = otherwise.astype(np.float32)
    for y in range(height):
        for x in range(width):
            if share[y, x] <= 0:
                continue
            cy, cx = (y + 0.5) / fy - 0.5, (x + 0.5) / fx - 0.5
            my, mx = int(cy + 0.5), int(cx + 0.5)
            weight = np.float32(0)
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            for py in range(my - 1, my + 2):
                for px in range(mx - 1, mx + 2):
                    if py < 0 or py >= low or px < 0 or px >= wide or field[py, px, 0] < 0:
                        continue
                    sy = y + int(np.floor((field[py, px, 0] - py) * fy + 0.5))
                    sx = x + int(np.floor((field[py, px, 1] - px) * fx + 0.5))
                    if sy < 0 or sy >= height or sx < 0 or sx >= width:
                        continue
                    near = np.float32(np.exp(-2.0 * ((py - cy) ** 2 + (px - cx) ** 2)))
                    weight += near
                    red += near * image[sy, sx, 0]
                    green += near * image[sy, sx, 1]
                    blue += near * image[sy, sx, 2]
            if weight > 0:
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = red / weight, green / weight, blue / weight
    return out
