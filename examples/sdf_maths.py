"""What signed distance fields are made of: smooth minima, ellipsoids, rods, noise. Compiled by Numba."""

from __future__ import annotations

import math

from numba import njit

FAST = {"fastmath": True}


@njit(**FAST)
def smin(a, b, k):
    """Smooth minimum: the two shapes flow together over a width of `k`."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@njit(**FAST)
def smax(a, b, k):
    """Smooth maximum: `smax(a, -b, k)` carves `b` out of `a`."""
    return -smin(-a, -b, k)


@njit(**FAST)
def step(low, high, value):
    """0 below `low`, 1 above `high`, a smooth ramp between (also downwards, when low > high)."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(**FAST)
def ellipsoid(x, y, z, rx, ry, rz):
    """Distance to an ellipsoid about the origin."""
    k0 = math.sqrt((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2)
    k1 = math.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + (z / rz**2) ** 2)
    return k0 * (k0 - 1.0) / max(k1, 1e-9)


@njit(**FAST)
def rod(x, y, z, ax, ay, az, bx, by, bz, ra, rb):
    """Distance to a rod from a to b whose radius goes from `ra` to `rb`."""
    px, py, pz = x - ax, y - ay, z - az
    dx, dy, dz = bx - ax, by - ay, bz - az
    t = min(max((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz), 0.0), 1.0)
    return math.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2 + (pz - t * dz) ** 2) - (ra + t * (rb - ra))


@njit(**FAST)
def _hash(i, j, k):
    n = (i * 73856093) ^ (j * 19349663) ^ (k * 83492791)
    n = (n ^ (n >> 13)) * 1274126177 & 0x7FFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


@njit(**FAST)
def noise(x, y, z):
    """Value noise, 0 to 1, one bump a unit."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(i), int(j), int(k)
    near = (_hash(i, j, k) * (1 - u) + _hash(i + 1, j, k) * u) * (1 - v) + (
        _hash(i, j + 1, k) * (1 - u) + _hash(i + 1, j + 1, k) * u
    ) * v
    far = (_hash(i, j, k + 1) * (1 - u) + _hash(i + 1, j, k + 1) * u) * (1 - v) + (
        _hash(i, j + 1, k + 1) * (1 - u) + _hash(i + 1, j + 1, k + 1) * u
    ) * v
    return near * (1 - w) + far * w
