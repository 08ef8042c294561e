"""March rays through sdf_head's scene and light what they hit: key, fill and rim light, soft shadows, skin, hair."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from sdf_head import (
    BOB,
    CLOTH,
    CURLS,
    EYE,
    FRAME,
    HAIR,
    METAL,
    NOTHING,
    SHORT,
    SKIN,
    TEETH,
    Head,
    beard_cover,
    brow,
    eye_hole,
    lips,
    mouth_hole,
    mouth_line,
    mouth_y,
    scene,
    strand,
)
from sdf_maths import FAST, noise, step

RGB = tuple[float, float, float]

_CAMERA_Y, _CAMERA_Z = -0.22, 9.0
_HALF_VIEW = 0.205  # tangent of half the angle of view


class Look(NamedTuple):
    """Colours in linear light (0 to 1), the head's turn in radians, and which extras are painted on."""

    skin: RGB = (0.62, 0.36, 0.25)
    lips: RGB = (0.50, 0.17, 0.15)
    hair: RGB = (0.05, 0.03, 0.02)
    beard: RGB = (0.05, 0.03, 0.02)
    iris: RGB = (0.16, 0.08, 0.04)
    cloth: RGB = (0.10, 0.22, 0.35)
    frame: RGB = (0.03, 0.02, 0.02)
    wall: RGB = (0.30, 0.36, 0.40)
    glow: RGB = (0.62, 0.60, 0.55)
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    freckles: float = 0.0
    stubble: float = 0.0
    stripes: float = 0.0
    stone: float = 0.0
    key_x: float = -0.55
    key_y: float = 0.55
    key: float = 2.3
    ambient: float = 0.55
    rim: float = 1.2


@njit(**FAST)
def _mix(a, b, t):
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


@njit(**FAST)
def _unit(x, y, z):
    n = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-12)
    return x * n, y * n, z * n


@njit(**FAST)
def _normal(x, y, z, h, e):
    a = scene(x + e, y - e, z - e, h)[0]
    b = scene(x - e, y - e, z + e, h)[0]
    c = scene(x - e, y + e, z - e, h)[0]
    d = scene(x + e, y + e, z + e, h)[0]
    return _unit(a - b - c + d, -a - b + c + d, -a + b - c + d)


@njit(**FAST)
def _shadow(x, y, z, lx, ly, lz, h):
    """How much of a broad lamp is seen from a point: 0 to 1."""
    light, t = 1.0, 0.03
    for _ in range(26):
        d = scene(x + lx * t, y + ly * t, z + lz * t, h)[0]
        light = min(light, 0.5 + 0.5 * d / (0.13 * t))
        if light <= 0.0 or t > 2.6:
            break
        t += min(max(d, 0.025), 0.25)
    light = max(light, 0.0)
    return light * light * (3.0 - 2.0 * light)


@njit(**FAST)
def _occlusion(x, y, z, nx, ny, nz, h):
    dark, weight = 0.0, 1.0
    for i in range(5):
        t = 0.015 + 0.075 * i
        d = scene(x + nx * t, y + ny * t, z + nz * t, h)[0]
        dark += (t - d) * weight
        weight *= 0.72
    return min(max(1.0 - 1.7 * dark, 0.0), 1.0)


@njit(**FAST)
def _gloss(n, light, view, rough):
    hx, hy, hz = _unit(light[0] + view[0], light[1] + view[1], light[2] + view[2])
    nh = max(n[0] * hx + n[1] * hy + n[2] * hz, 0.0)
    vh = max(view[0] * hx + view[1] * hy + view[2] * hz, 0.0)
    a = rough**4
    d = a / (math.pi * (nh * nh * (a - 1.0) + 1.0) ** 2)
    return d * (0.04 + 0.96 * (1.0 - vh) ** 5) * 0.25


@njit(**FAST)
def _skin_colour(x, y, z, h, look):
    """Colour, how much of it is hair, how wet: of the skin at a point."""
    ax = abs(x)
    c = look.skin
    if look.stone > 0.0:
        warp = noise(x * 2.3, y * 2.3, z * 2.3) + 0.5 * noise(x * 7, y * 7, z * 7)
        vein = abs(noise(x * 1.4 + 2.5 * warp, y * 1.1, z * 1.4) - 0.5)
        return _mix(c, (c[0] * 0.72, c[1] * 0.74, c[2] * 0.78), step(0.05, 0.0, vein) * 0.22), 0.0, 0.25
    red = (c[0] * 1.02, c[1] * 0.66, c[2] * 0.60)
    dark = (c[0] * 0.60, c[1] * 0.48, c[2] * 0.46)
    blush = math.exp(-(((ax - 0.42) / 0.2) ** 2) - (((y + 0.30) / 0.16) ** 2))
    tip = math.exp(-((ax / 0.16) ** 2) - (((y + 0.40) / 0.13) ** 2)) * step(0.6, 0.9, z)
    ears = step(0.74, 0.82, ax) * step(0.4, -0.2, y) * step(-0.6, -0.45, y)
    c = _mix(c, red, min(0.55 * blush + 0.5 * tip + 0.4 * ears, 1.0))
    mottle = noise(x * 9, y * 9, z * 9) * 0.6 + noise(x * 31, y * 31, z * 31) * 0.4
    c = _mix(c, red, 0.22 * (mottle - 0.35))
    if look.freckles > 0.0 and z > 0.3:
        spot = noise(x * 42, y * 42, z * 42) * step(0.55, 0.2, abs(y + 0.22)) * step(0.66, 0.2, ax)
        c = _mix(c, dark, look.freckles * step(0.56, 0.8, spot))
    if look.stubble > 0.0:
        jaw = step(-0.36, -0.62, y + 0.55 * max(0.42 - ax, 0.0)) * step(-1.35, -1.1, y) * step(-0.2, 0.1, z)
        jaw = max(jaw, step(0.1, 0.03, abs(y - mouth_y(h) - 0.11)) * step(0.36, 0.2, ax) * step(0.4, 0.6, z))
        grain = 0.55 + 0.45 * noise(x * 60, y * 60, z * 60)
        c = _mix(c, (0.35 * c[0] + 0.02, 0.36 * c[1] + 0.02, 0.4 * c[2] + 0.03), look.stubble * jaw * grain)
    wet = 0.0
    if z > 0.35:
        upper, lower = lips(ax, y, z, h)
        lip = step(0.016, -0.004, min(upper, lower))
        shade = 0.88 if upper < lower else 1.06
        streak = 0.9 + 0.2 * noise(x * 60, y * 5, 0.5)
        c = _mix(c, (look.lips[0] * shade * streak, look.lips[1] * shade * streak, look.lips[2] * shade * streak), lip)
        wet = 0.8 * lip
        seam = step(0.016, 0.002, abs(y - mouth_line(ax, h))) * step(1.0, 0.8, ax / h.mouth_width)
        if h.mouth_open <= 0.0:
            c = _mix(c, (0.25 * c[0], 0.16 * c[1], 0.16 * c[2]), 0.8 * seam * step(0.02, 0.0, min(upper, lower)))
        if h.mouth_open > 0.0:
            inside = step(0.01, -0.012, mouth_hole(ax, y, h)) * step(0.80, 0.72, z + 1.7 * x * x)
            c = _mix(c, (0.10, 0.018, 0.016), inside)
        rim = eye_hole(ax - 0.335, y, h)
        lash = step(0.030, 0.004, rim) * step(-0.012, 0.012, y - 0.25 * h.eye_tilt * (ax - 0.335))
        lash *= step(0.52, 0.58, z)
        c = _mix(c, (0.012, 0.008, 0.007), 0.92 * lash)
        low = step(0.014, 0.0, rim) * step(0.0, -0.02, y)
        c = _mix(c, (c[0] * 0.75, c[1] * 0.45, c[2] * 0.42), 0.7 * low)
        shadow = step(0.13, 0.03, rim) * step(0.0, 0.04, y)
        c = _mix(c, dark, 0.38 * shadow)
    hairy = 0.0
    if z > -0.2:
        cover = brow(ax, y, h)
        if cover > 0.0 and z > 0.3:
            hairs = noise(x * 24 + (y * 30 if x > 0 else -y * 30), y * 9 - ax * 22, 2.2)
            hairy = cover * step(0.15, 0.5, 0.4 * hairs + 0.75 * cover)
            c = _mix(c, look.beard if look.beard[0] < 0.25 else _mix(look.beard, look.hair, 0.5), 0.92 * hairy)
        cover = beard_cover(ax, y, z, h)
        if cover > 0.0:
            hairs = 0.6 * noise(x * 26, y * 7, z * 26) + 0.4 * noise(x * 55, y * 15, z * 55)
            grown = step(0.1, 0.62, cover * 1.15 - 0.45 * (hairs - 0.2))
            tone = 0.55 + 0.9 * hairs
            c = _mix(c, (look.beard[0] * tone, look.beard[1] * tone, look.beard[2] * tone), grown)
            hairy = max(hairy, grown)
    return c, hairy, wet


@njit(**FAST)
def _eye_colour(x, y, z, look):
    """Colour of the eyeball at a point; the gaze is straight ahead of the face."""
    u, v = abs(x) - 0.335, y + 0.004
    # Both irises look to the camera: turn the gaze back by the head's own turn.
    u = u - (1.0 if x > 0 else -1.0) * (-0.155 * math.sin(look.yaw)) + 0.008
    v = v - 0.155 * math.sin(look.pitch) * 0.7
    r = math.sqrt(u * u + v * v)
    angle = math.atan2(v, u)
    if look.stone > 0.0:
        c = look.skin
        return _mix(
            c, (c[0] * 0.5, c[1] * 0.5, c[2] * 0.5), step(0.012, 0.0, abs(r - 0.075)) * 0.5 + step(0.03, 0.02, r) * 0.6
        )
    corner = step(0.07, 0.17, abs(u))
    white = _mix((0.74, 0.71, 0.68), (0.62, 0.42, 0.38), 0.55 * corner)
    fibre = 0.55 + 0.9 * noise(angle * 9.0, r * 40.0, 3.0)
    light = 1.0 + 0.9 * step(0.02, -0.06, v)
    iris = (look.iris[0] * fibre * light, look.iris[1] * fibre * light, look.iris[2] * fibre * light)
    iris = _mix(iris, (0.01, 0.008, 0.008), 0.85 * step(0.062, 0.083, r))
    c = _mix(white, iris, step(0.087, 0.080, r))
    return _mix(c, (0.004, 0.004, 0.004), step(0.038, 0.032, r))


@njit(**FAST)
def _wall(sx, sy, look):
    """The backdrop: a wall with a soft pool of light behind the head."""
    r = math.sqrt((sx - 0.12) ** 2 + (sy - 0.12) ** 2)
    glow = math.exp(-((r / 0.72) ** 2))
    cloud = noise(sx * 2.2 + 3.1, sy * 2.2, 0.3) * 0.65 + noise(sx * 5.0, sy * 5.0, 9.1) * 0.35
    return _mix(look.wall, look.glow, min(max(0.8 * glow + 0.22 * (cloud - 0.5), 0.0), 1.0))


@njit(**FAST)
def _shade(x, y, z, what, vx, vy, vz, key, h, look):
    view = (-vx, -vy, -vz)
    n = _normal(x, y, z, h, 0.0012 if what != HAIR else 0.003)
    hairy, wet, c = 0.0, 0.0, (0.5, 0.5, 0.5)
    rough, soft = 0.50, 0.0
    if what == SKIN:
        c, hairy, wet = _skin_colour(x, y, z, h, look)
        rough, soft = 0.52 - 0.20 * wet, 1.0 - hairy
        bump = 0.10 * (1.0 - wet)
        n = _unit(
            n[0] + bump * (noise(x * 90, y * 90, z * 90) - 0.5),
            n[1] + bump * (noise(x * 90 + 7, y * 90, z * 90) - 0.5),
            n[2] + bump * (noise(x * 90, y * 90 + 7, z * 90) - 0.5),
        )
    elif what == EYE:
        c = _eye_colour(x, y, z, look)
        rough = 0.16 if look.stone <= 0.0 else 0.4
    elif what == HAIR:
        a = strand(x, y, z, h)
        lock = noise(a * 40.0, y * 1.4, 1.0) * 0.6 + noise(a * 95.0, y * 1.6, 4.0) * 0.4
        if h.hair == CURLS:
            lock = noise(x * 26, y * 26, z * 26)
        tone = 0.45 + 1.1 * lock
        c = (look.hair[0] * tone, look.hair[1] * tone, look.hair[2] * tone)
        hairy = 1.0
    elif what == CLOTH:
        weave = 0.88 + 0.16 * noise(x * 70, y * 70, z * 30) + 0.10 * noise(x * 16, y * 16, z * 16)
        c = (look.cloth[0] * weave, look.cloth[1] * weave, look.cloth[2] * weave)
        if look.stripes > 0.0:
            c = _mix(c, (0.75, 0.73, 0.68), look.stripes * step(0.35, 0.5, math.sin(y * 30.0)))
        rough, soft = 0.9, 0.25
    elif what == TEETH:
        c, rough = (0.70, 0.65, 0.56), 0.28
    elif what == FRAME:
        c, rough = look.frame, 0.25
    elif what == METAL:
        c, rough = (0.75, 0.50, 0.18), 0.22
    shadow = _shadow(x + n[0] * 0.012, y + n[1] * 0.012, z + n[2] * 0.012, key[0], key[1], key[2], h)
    open_ = _occlusion(x, y, z, n[0], n[1], n[2], h)
    nl = n[0] * key[0] + n[1] * key[1] + n[2] * key[2]
    lit = max(nl, 0.0) * shadow
    # Light that enters the skin leaves it redder, round the edge of the shadow.
    wrap = 0.35 * soft * (1.0 - look.stone)
    red = max((nl + wrap) / (1.0 + wrap), 0.0) * (
        shadow + 0.22 * wrap * (1.0 - shadow) + 0.3 * wrap * shadow * (1 - shadow) * 4
    )
    green = max((nl + 0.4 * wrap) / (1.0 + 0.4 * wrap), 0.0) * shadow
    sky = 0.5 + 0.5 * n[1]
    ambient = look.ambient * open_
    fill = max(0.75 * n[0] + 0.1 * n[1] + 0.65 * n[2], 0.0) * open_ * 0.34
    fresnel = (1.0 - max(n[0] * view[0] + n[1] * view[1] + n[2] * view[2], 0.0)) ** 3
    back = max(0.72 * n[0] + 0.25 * n[1] - 0.65 * n[2], 0.0) * look.rim * open_
    bounce = 0.06 * open_ * (1.0 - sky) * look.ambient
    r = c[0] * (look.key * red * 1.06 + ambient * (0.42 + 0.40 * sky) + fill * 1.0 + back + bounce * 2)
    g = c[1] * (look.key * (green if soft > 0 else lit) + ambient * (0.42 + 0.44 * sky) + fill * 1.05 + back + bounce)
    b = c[2] * (look.key * lit * 0.94 + ambient * (0.45 + 0.50 * sky) + fill * 1.15 + back * 1.05 + bounce)
    if hairy > 0.5:
        # Hair shines across its strands (Kajiya and Kay 1989).
        axis = (0.0, 1.0, 0.0) if h.hair in (BOB, SHORT) else (0.0, 0.25, 0.97)
        t = _unit(*_along(n, axis))
        hx, hy, hz = _unit(key[0] + view[0], key[1] + view[1], key[2] + view[2])
        jitter = 0.35 * (noise(x * 30, y * 4, z * 30) - 0.5)
        th = t[0] * hx + t[1] * hy + t[2] * hz + jitter
        across = math.sqrt(max(1.0 - th * th, 0.0))
        if h.hair == CURLS:
            across = 0.0
        shine = (0.05 * across**60 + 0.10 * across**14 * (0.3 + look.hair[0])) * max(nl + 0.25, 0.0) * shadow * look.key
        weight = 0.5 if what == SKIN else 1.0
        r += weight * shine * (0.5 + 0.5 * min(c[0] * 6, 1.0))
        g += weight * shine * (0.5 + 0.5 * min(c[1] * 6, 1.0))
        b += weight * shine * (0.5 + 0.5 * min(c[2] * 6, 1.0))
    else:
        strength = 1.0 if what not in (SKIN, CLOTH) else (0.75 + 1.2 * wet if what == SKIN else 0.25)
        shine = _gloss(n, key, view, rough) * max(nl, 0.0) * shadow * look.key * strength
        side = _unit(0.6, 0.25, 0.75)
        shine += _gloss(n, side, view, rough) * 0.5 * open_ * strength * look.ambient
        shine += 0.05 * fresnel * open_ * strength
        if what == EYE and look.stone <= 0.0:
            lamp = _unit(key[0] * 0.62, key[1] * 0.62, 0.9)
            hx, hy, hz = _unit(lamp[0] + view[0], lamp[1] + view[1], lamp[2] + view[2])
            shine += 1.6 * step(0.9945, 0.9975, n[0] * hx + n[1] * hy + n[2] * hz)
        r, g, b = r + shine, g + shine, b + shine
    return r, g, b


@njit(**FAST)
def _along(n, axis):
    d = n[0] * axis[0] + n[1] * axis[1] + n[2] * axis[2]
    return axis[0] - d * n[0] + 1e-4, axis[1] - d * n[1], axis[2] - d * n[2]


@njit(**FAST)
def _film(v):
    """Linear light to display: a filmic shoulder, then the sRGB curve."""
    v = max(v * 0.92, 0.0)
    v = v * (2.51 * v + 0.03) / (v * (2.43 * v + 0.59) + 0.14)
    v = min(v, 1.0)
    return 12.92 * v if v < 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055


@njit(nogil=True, **FAST)
def _render(image, depth, samples, h, look):
    side = image.shape[0]
    cy, sy = math.cos(look.yaw), math.sin(look.yaw)
    cp, sp = math.cos(look.pitch), math.sin(look.pitch)
    cr, sr = math.cos(look.roll), math.sin(look.roll)
    kx, ky, kz = _unit(look.key_x, look.key_y, 0.72)
    key = _turn(kx, ky, kz, cy, sy, cp, sp, cr, sr)
    ox, oy, oz = _turn(0.0, _CAMERA_Y, _CAMERA_Z, cy, sy, cp, sp, cr, sr)
    for row in range(side):
        for column in range(side):
            r, g, b, far = 0.0, 0.0, 0.0, 0.0
            for i in range(samples):
                for j in range(samples):
                    px = (column + (j + 0.5) / samples) / side * 2.0 - 1.0
                    py = 1.0 - (row + (i + 0.5) / samples) / side * 2.0
                    vx, vy, vz = _unit(px * _HALF_VIEW, py * _HALF_VIEW, -1.0)
                    vx, vy, vz = _turn(vx, vy, vz, cy, sy, cp, sp, cr, sr)
                    t, what = 6.5, NOTHING
                    for _ in range(140):
                        d, m = scene(ox + vx * t, oy + vy * t, oz + vz * t, h)
                        if d < 0.0006:
                            what = m
                            break
                        t += d * 0.75
                        if t > 12.5:
                            break
                    if what == NOTHING:
                        c = _wall(px, py, look)
                    else:
                        c = _shade(ox + vx * t, oy + vy * t, oz + vz * t, what, vx, vy, vz, key, h, look)
                    r, g, b, far = r + _film(c[0]), g + _film(c[1]), b + _film(c[2]), far + min(t, 12.5)
            n = samples * samples
            image[row, column, 0], image[row, column, 1], image[row, column, 2] = r / n, g / n, b / n
            depth[row, column] = far / n


@njit(**FAST)
def _turn(x, y, z, cy, sy, cp, sp, cr, sr):
    """From the camera's axes into the head's: undo its roll, pitch and yaw."""
    x, y = cr * x + sr * y, -sr * x + cr * y
    y, z = cp * y + sp * z, -sp * y + cp * z
    return cy * x - sy * z, y, sy * x + cy * z


def render(head: Head, look: Look, side: int, samples: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Picture (side, side, 3) float32 sRGB in 0..1 and depth (side, side) in head units.

    Args:
        samples: rays a pixel along each axis.
    """
    image = np.zeros((side, side, 3), np.float32)
    depth = np.zeros((side, side), np.float32)
    _render(image, depth, samples, head, look)
    return image, depth


def project(point: RGB, look: Look, side: int) -> tuple[float, float]:
    """Where a point of the head, in head units, lies in the picture: x right, y down, in pixels."""
    x, y, z = point
    x, z = math.cos(look.yaw) * x + math.sin(look.yaw) * z, -math.sin(look.yaw) * x + math.cos(look.yaw) * z
    y, z = math.cos(look.pitch) * y - math.sin(look.pitch) * z, math.sin(look.pitch) * y + math.cos(look.pitch) * z
    x, y = math.cos(look.roll) * x - math.sin(look.roll) * y, math.sin(look.roll) * x + math.cos(look.roll) * y
    scale = side / 2 / (_HALF_VIEW * (_CAMERA_Z - z))
    return side / 2 + scale * x, side / 2 - scale * (y - _CAMERA_Y)
