"""A parametric head as a signed distance field: the shapes that make_portraits.py lights and paints.

Axes: x to the viewer's right, y up, z to the viewer; the eyes lie at y = 0 and a head is about 2.3 high.
Both halves are alike, so most functions take |x|. Distances are lower bounds, short enough to march along.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from numba import njit
from sdf_maths import FAST, ellipsoid, noise, rod, smax, smin, step

SKIN, EYE, HAIR, CLOTH, TEETH, FRAME, METAL, NOTHING = range(8)
BALD, SHORT, BOB, CURLS, BUN, SWEPT = range(6)

_EYE_R = 0.165


class Head(NamedTuple):
    """Shape of one head: lengths in head units, the rest 0 to 1. Numba reads it as a plain tuple."""

    width: float = 1.0
    jaw: float = 0.5
    chin: float = 0.5
    cheek: float = 0.5
    brow_ridge: float = 0.4
    nose_width: float = 0.5
    nose_length: float = 0.5
    nose_bridge: float = 0.5
    lips: float = 0.5
    mouth_width: float = 0.27
    smile: float = 0.1
    mouth_open: float = 0.0
    folds: float = 0.2
    eye_open: float = 0.5
    eye_tilt: float = 0.1
    eye_width: float = 0.165
    brow_arch: float = 0.5
    brow_weight: float = 0.5
    neck: float = 0.42
    shoulders: float = 1.25
    hair: int = SHORT
    hair_volume: float = 0.5
    hairline: float = 0.5
    part: float = 0.15
    beard: float = 0.0
    moustache: float = 0.0
    spectacles: float = 0.0
    earrings: float = 0.0
    collar: int = 0


@njit(**FAST)
def mouth_y(h):
    """Height of the mouth's line at its middle."""
    return -0.665 - 0.06 * (h.nose_length - 0.5)


@njit(**FAST)
def mouth_line(x, h):
    """Height of the line between closed lips at |x|: a shallow bow, its corners lifted by a smile."""
    t = min(x / h.mouth_width, 1.15)
    return mouth_y(h) + (0.085 * h.smile - 0.008) * t * t - 0.008 * math.exp(-((x / 0.05) ** 2))


@njit(**FAST)
def _lip_z(x, h):
    return 0.836 - (1.2 + 0.7 * h.smile) * x * x


@njit(**FAST)
def mouth_hole(x, y, h):
    """Below 0 inside the opening between the lips, seen from the front."""
    t = min(x / (0.93 * h.mouth_width), 1.2)
    line = mouth_line(x, h)
    top = line + 0.02 * h.mouth_open * (1 - t * t)
    bottom = line - 0.15 * h.mouth_open * (1 - t * t)
    return max(max(y - top, bottom - y), x - 0.93 * h.mouth_width)


@njit(**FAST)
def lips(x, y, z, h):
    """Distances to the upper and to the lower lip, each a tube along the mouth's line."""
    w = h.mouth_width
    t = min(x / w, 1.0)
    over = max(x - w, 0.0)
    full = 0.030 + 0.028 * h.lips
    taper = max(1.0 - t**2.2, 0.0) ** 0.85
    zc = _lip_z(min(x, w), h)
    line = mouth_line(min(x, w), h)
    hole = h.mouth_open * (1 - t * t)
    bow = 0.014 * math.exp(-(((x - 0.075) / 0.06) ** 2))
    upper_r = full * 0.82 * taper + 0.006
    upper_y = line + 0.02 * hole + upper_r * 0.85 + bow
    upper = math.sqrt((y - upper_y) ** 2 + (z - zc + 0.012) ** 2 + over * over) - upper_r
    lower_r = full * 1.02 * taper + 0.006
    lower_y = line - 0.15 * hole - lower_r * 0.78
    lower = math.sqrt((y - lower_y) ** 2 + (z - zc + 0.018 + 0.05 * hole) ** 2 + over * over) - lower_r
    return upper, lower


@njit(**FAST)
def eye_hole(u, v, h):
    """Below 0 inside the opening of the lids; (u, v) from the eye's middle, u outwards."""
    w = h.eye_width
    v = v - h.eye_tilt * 0.25 * u
    t = min(abs(u + 0.004) / w, 1.3)
    arch = 1.0 - t**2.3
    squint = 0.018 * h.smile
    top = (0.028 + 0.085 * h.eye_open) * arch * (1.0 - 0.10 * u / w)
    bottom = -(0.03 + 0.04 * h.eye_open - squint) * arch * (1.0 + 0.12 * u / w)
    return max(v - top, bottom - v) * 0.8


@njit(**FAST)
def brow(x, y, h):
    """How much of an eyebrow is at |x|, y: 0 to 1, without its hairs."""
    t = min(max((x - 0.13) / 0.42, 0.0), 1.0)
    middle = 0.205 + 0.07 * h.brow_arch * math.sin(math.pi * min(t * 0.86 + 0.02, 1.0)) - 0.035 * t
    half = (0.016 + 0.026 * h.brow_weight) * (1.0 - 0.65 * t)
    ends = step(0.10, 0.17, x) * step(0.58, 0.50, x)
    return ends * step(half * 1.5, half * 0.45, abs(y - middle))


@njit(**FAST)
def beard_cover(x, y, z, h):
    """How much of the beard or moustache is at |x|, y, z: 0 to 1."""
    mouth = mouth_y(h)
    cover = 0.0
    if h.beard > 0.0:
        line = mouth + 0.02 - 0.02 * step(0.2, 0.45, x) + 0.78 * step(0.34, 0.74, x) ** 1.2
        cheeks = step(line + 0.07, line - 0.07, y) * step(-1.32, -1.12, y + 0.22 * step(0.6, 0.1, z))
        around = step(0.8, 1.2, math.sqrt((x / (h.mouth_width * 1.02)) ** 2 + ((y - mouth + 0.015) / 0.105) ** 2))
        cover = cheeks * around * step(-0.35, -0.1, z)
    if h.moustache > 0.0:
        middle = mouth + 0.115 - 0.33 * x * x - 0.05 * step(0.1, 0.32, x)
        lip = step(0.085, 0.035, abs(y - middle)) * step(0.38, 0.26, x) * step(0.5, 0.7, z)
        cover = max(cover, lip * (0.35 + 0.65 * step(0.0, 0.04, x)))
    return cover


@njit(**FAST)
def skin(sx, y, z, h):
    """Distance to head, ears and neck, with lids, nose and lips."""
    x = math.sqrt(sx * sx + 0.0008)  # |x| without the crease it would leave down the middle
    xw = x / h.width
    d = ellipsoid(xw, y - 0.25, z + 0.15, 0.80, 0.93, 0.97)
    d = smin(d, ellipsoid(xw, y + 0.36, z - 0.12, 0.63 + 0.05 * h.jaw, 0.80, 0.70), 0.3)
    jx, jr = 0.34 + 0.15 * h.jaw, 0.19 + 0.06 * h.jaw
    d = smin(d, rod(xw, y, z, jx, -0.58, 0.0, 0.12, -0.98 - 0.05 * h.chin, 0.50, jr, 0.15 + 0.04 * h.jaw), 0.22)
    d = smin(d, ellipsoid(x, y + 1.0 + 0.05 * h.chin, z - 0.60, 0.15 + 0.06 * h.jaw, 0.12, 0.13), 0.16)
    lift = 0.05 * h.smile
    d = smin(d, ellipsoid(xw - 0.45, y + 0.24 - lift, z - 0.47, 0.20, 0.17, 0.19 + 0.05 * h.cheek), 0.22)
    d = smin(d, ellipsoid(xw - 0.36, y + 0.40 - lift, z - 0.53, 0.18, 0.17, 0.15 + 0.08 * h.smile), 0.2)
    ridge = 0.06 + 0.05 * h.brow_ridge
    d = smin(d, rod(x, y, z, 0.06, 0.17, 0.735, 0.40, 0.23, 0.635, ridge, ridge * 0.9), 0.16)
    # Sockets, then the lids as a shell over the eyeball, opened.
    d = smax(d, -ellipsoid(x - 0.325, y + 0.005, z - 0.84, 0.21, 0.135, 0.20), 0.14)
    ball = math.sqrt((x - 0.335) ** 2 + y * y + (z - 0.50) ** 2)
    d = smin(d, ball - _EYE_R - 0.02, 0.07)
    lid_crease = eye_hole(x - 0.335, y - 0.055, h)
    if z > 0.4:
        d += 0.010 * math.exp(-((lid_crease / 0.011) ** 2)) * step(0.0, 0.05, y)
    # Nose: bridge, ball, wings, nostrils.
    nl, nw = -0.33 - 0.08 * h.nose_length, 0.35 + 0.8 * h.nose_width
    bridge = 0.70 + 0.05 * h.nose_bridge
    nose = rod(x, y, z, 0.0, 0.10, bridge, 0.0, nl, 0.93, 0.055 + 0.015 * nw, 0.075 + 0.02 * nw)
    nose = smin(nose, ellipsoid(x, y - nl, z - 0.925, 0.075 + 0.025 * nw, 0.095, 0.105), 0.06)
    nose = smin(
        nose,
        ellipsoid(x - 0.085 - 0.035 * nw, y - nl + 0.035, z - 0.815, 0.06 + 0.012 * nw, 0.07, 0.10),
        0.07,
    )
    d = smin(d, nose, 0.11)
    hole = ellipsoid(x - 0.045 - 0.02 * nw, y - nl + 0.098, z - 0.875, 0.028 + 0.012 * nw, 0.03, 0.05)
    d = smax(d, -hole, 0.035)
    # Mouth: a mound, a groove above, lips, the line between them or the opening.
    my = mouth_y(h)
    d = smin(d, ellipsoid(x, y - my + 0.01, z - 0.54, 0.30, 0.20, 0.245), 0.16)
    d = smax(d, -rod(x, y, z, 0.0, nl - 0.1, 0.875, 0.0, my + 0.08, 0.885, 0.022, 0.03), 0.05)
    fold = rod(x, y, z, 0.17, nl - 0.0, 0.84, 0.335 + 0.03 * h.smile, my + 0.02, 0.72, 0.012, 0.02)
    d += 0.022 * (h.folds + 0.5 * h.smile) * math.exp(-((max(fold, 0.0) / 0.035) ** 2))
    upper, lower = lips(x, y, z, h)
    if z > 0.3:
        d = smin(d, smin(upper, lower, 0.012), 0.045)
        line = mouth_line(x, h)
        if h.mouth_open <= 0.0:
            t = min(x / h.mouth_width, 1.0)
            crease = math.sqrt((y - line) ** 2 + (z - _lip_z(x, h) - 0.04) ** 2) - 0.012 * (1.0 - t * t)
            d = smax(d, -max(crease, x - h.mouth_width), 0.03)
        else:
            d = smax(d, -max(mouth_hole(x, y, h), 0.42 - z), 0.025)
        dimple = math.sqrt((x - h.mouth_width - 0.012) ** 2 + (y - line) ** 2 + (z - 0.73) ** 2)
        d += 0.012 * math.exp(-((dimple / 0.05) ** 2))
        d = smax(d, -max(eye_hole(x - 0.335, y, h), 0.45 - z), 0.012)
    d = smin(d, ear(x / h.width, y, z), 0.05)
    d = smin(d, rod(x, y, z, 0.0, -0.75, -0.22, 0.0, -1.9, -0.38, h.neck, h.neck * 1.06), 0.16)
    d = smin(d, torso(x, y, z, h), 0.35)
    if z > 0.0 and d < 0.06:
        d -= 0.018 * brow(x, y, h)
        cover = beard_cover(x, y, z, h)
        if cover > 0.0:
            d -= cover * (0.03 + 0.05 * max(h.beard, 0.35 * h.moustache)) * (0.75 + 0.5 * noise(sx * 9, y * 5, z * 9))
    return d


@njit(**FAST)
def ear(x, y, z):
    """Distance to an ear: a tilted bowl with a rim."""
    px, py, pz = x - 0.80, y + 0.10, z + 0.16
    px, pz = 0.80 * px + 0.60 * pz, -0.60 * px + 0.80 * pz
    bowl = ellipsoid(px, py, pz, 0.055, 0.24 - 0.03 * step(0.0, -0.2, py), 0.15)
    ring = math.sqrt((py / 1.5) ** 2 + (pz + 0.01) ** 2)
    bowl = smax(bowl, -ellipsoid(px - 0.07, py - 0.03, pz - 0.01, 0.075, 0.155, 0.085), 0.03)
    return smin(bowl, math.sqrt((ring - 0.125) ** 2 + (px - 0.015) ** 2) - 0.024, 0.04)


@njit(**FAST)
def torso(x, y, z, h):
    """Distance to shoulders and chest."""
    d = rod(x, y, z, 0.0, -1.98, -0.42, h.shoulders, -2.26, -0.5, 0.42, 0.38)
    return smin(d, ellipsoid(x, y + 2.85, z + 0.3, h.shoulders, 1.15, 0.72), 0.3)


@njit(**FAST)
def cloth(sx, y, z, h):
    """Distance to the garment; `collar` 0 is a round neck, 1 a V, 2 a roll neck, 3 a shirt."""
    x = abs(sx)
    body = smin(rod(x, y, z, 0.0, -0.75, -0.22, 0.0, -1.9, -0.38, h.neck, h.neck * 1.06), torso(x, y, z, h), 0.35)
    wrinkle = 0.02 * noise(sx * 2.2 + y * 1.2, y * 2.0 - sx, z * 2.0)
    d = body - 0.045 - wrinkle
    if h.collar == 1:
        v = max(-1.45 - y, 0.0) * 0.55
        return smax(d, -(max(x - 0.52 + v, -0.4 - z)), 0.03) if y < -1.3 else max(d, y + 1.42)
    if h.collar == 2:
        roll = math.sqrt(x * x + (z + 0.3) ** 2) - h.neck - 0.075
        roll = max(abs(roll) - 0.05, abs(y + 1.5 + 0.12 * z) - 0.16) - 0.03
        return smin(smax(d, y + 1.52, 0.05), roll, 0.06)
    cut = math.sqrt(x * x + (z + 0.12) ** 2 * 0.8 + ((y + 1.40) * 1.1) ** 2) - 0.60
    d = smax(d, -cut, 0.03)
    d = smax(d, y + 1.35, 0.05)
    if h.collar == 3:
        lean = rod(x, y, z, 0.12, -1.93, 0.30, 0.47, -1.5, -0.25, 0.10, 0.12)
        d = smin(d, max(lean, abs(body - 0.09) - 0.035), 0.02)
    return d


@njit(**FAST)
def strand(sx, y, z, h):
    """Azimuth about the axis from which the hair falls: constant along a strand."""
    if h.hair == SWEPT or h.hair == BUN:
        return math.atan2(sx - h.part * 0.5, y + 0.25)
    return math.atan2(sx - h.part, z - 0.05 + 0.25 * (y - 1.0))


@njit(**FAST)
def hair(sx, y, z, h):
    """Distance to the hair of the scalp."""
    x = abs(sx)
    xw = x / h.width
    v = h.hair_volume
    grow = 0.05 + 0.10 * v
    cap = ellipsoid(xw, y - 0.27, z + 0.19, 0.82 + grow, 0.94 + grow * 1.2, 1.0 + grow * 0.7)
    if cap > 1.2:
        return cap - 0.6
    line = 0.62 + 0.2 * h.hairline
    wave = 0.05 * noise(sx * 6.0, y * 3.0, 3.7) - 0.025
    if h.hair == CURLS:
        cap = ellipsoid(xw, y - 0.42, z + 0.22, 0.98 + 0.3 * v, 0.98 + 0.32 * v, 1.0 + 0.2 * v)
        window = ellipsoid(xw, y + 0.42, z - 0.95, 0.70, 0.42 + line, 0.85)
        d = smax(cap, -window, 0.12)
        d = smax(d, -0.42 - y - 0.1 * v, 0.15)
        if d < 0.25:
            bumps = noise(sx * 5.5, y * 5.5, z * 5.5) + 0.6 * noise(sx * 11.0, y * 11.0, z * 11.0)
            d -= 0.10 * (bumps - 0.6) + 0.028 * (noise(sx * 24.0, y * 24.0, z * 24.0) - 0.5)
        return d * 0.62
    sweep = 0.0
    if h.hair in (SHORT, BOB):
        sweep = 0.16 * step(h.part - 0.05, h.part - 0.6, sx) + 0.10 * step(h.part + 0.05, h.part + 0.5, sx)
    window = ellipsoid(xw, y + 0.36, z - 0.98 - 0.06, 0.735, 0.36 + line - sweep * 1.2 + wave, 0.92)
    d = smax(cap, -window, 0.06)
    if h.hair == SHORT or h.hair == SWEPT:
        d = smax(d, -0.02 - y - 0.55 * step(0.35, -0.3, z) - 0.12 * step(0.25, 0.0, z), 0.10)
        d = smax(d, -(ellipsoid(xw - 0.86, y + 0.12, z + 0.10, 0.16, 0.27, 0.20)), 0.05)
    elif h.hair == BUN:
        d = smax(d, -0.05 - y - 0.7 * step(0.2, -0.4, z), 0.12)
        d = smax(d, -(ellipsoid(xw - 0.86, y + 0.12, z + 0.10, 0.16, 0.27, 0.20)), 0.05)
        d = smin(d, ellipsoid(x, y - 1.30, z + 0.42, 0.40, 0.34, 0.38), 0.08)
    else:
        flow = 0.05 * math.sin(y * 3.2 + 0.6)
        side = ellipsoid(xw - 0.70 - flow, y + 0.42, z + 0.10, 0.26 + 0.08 * v, 0.92, 0.50)
        side = smax(side, -1.16 - y + 0.05 * noise(sx * 7.0, 0.5, z * 7.0), 0.10)
        back = ellipsoid(xw, y + 0.35, z + 0.45, 0.84 + grow, 0.95, 0.6)
        d = smin(d, side, 0.16)
        d = smin(d, smax(back, -1.1 - y, 0.1), 0.2)
    if d < 0.2:
        a = strand(sx, y, z, h)
        lock = noise(a * 7.0, y * 0.8 + 2.0, 1.5)
        fine = noise(a * 30.0, y * 1.2, 7.3)
        d -= 0.055 * (lock - 0.5) + 0.022 * (fine - 0.5)
    return d * 0.72


@njit(**FAST)
def teeth(x, y, z, h):
    """Distance to the upper row of teeth."""
    front = z - (0.79 - 1.7 * x * x) + 0.01 * abs(math.sin(x * 42.0)) ** 8
    edge = mouth_y(h) - 0.075 + 0.45 * x * x + 0.006 * abs(math.sin(x * 42.0)) ** 4
    return max(max(max(front, edge - y), y - edge - 0.22), max(x - 0.24, 0.4 - z)) * 0.6


@njit(**FAST)
def spectacles(x, y, z, h):
    """Distance to round rims, bridge and side pieces."""
    bend = 0.10 * max(x - 0.30, 0.0)
    px, py, pz = x - 0.345, y + 0.03, z - 0.90 + bend
    ring = math.sqrt((px / 1.06) ** 2 + py * py + 0.25 * px * px * py * py) - 0.235
    d = math.sqrt(ring * ring + pz * pz) - 0.021
    d = min(d, rod(x, y, z, 0.0, 0.045, 0.925, 0.12, 0.02, 0.905, 0.018, 0.018))
    return min(d, rod(x, y, z, 0.585, 0.02, 0.86, 0.86 * h.width, 0.05, -0.15, 0.018, 0.018))


@njit(**FAST)
def scene(sx, y, z, h):
    """Distance to the nearest surface, and whose it is."""
    x = abs(sx)
    best, what = skin(sx, y, z, h), SKIN
    d = math.sqrt((x - 0.335) ** 2 + y * y + (z - 0.50) ** 2) - _EYE_R
    if d < best:
        best, what = d, EYE
    d = cloth(sx, y, z, h)
    if d < best:
        best, what = d, CLOTH
    if h.hair != BALD:
        d = hair(sx, y, z, h)
        if d < best:
            best, what = d, HAIR
    if h.mouth_open > 0.0 and z > 0.2:
        d = teeth(x, y, z, h)
        if d < best:
            best, what = d, TEETH
    if h.spectacles > 0.0:
        d = spectacles(x, y, z, h)
        if d < best:
            best, what = d, FRAME
    if h.earrings > 0.0:
        d = math.sqrt((x - 0.86 * h.width) ** 2 + (y + 0.44) ** 2 + (z + 0.04) ** 2) - 0.05
        if d < best:
            best, what = d, METAL
    return best, what
