"""The rasteriser against cases worked out by hand."""

from __future__ import annotations

import numpy as np

from pipeline.face.raster import rasterise

FAR = 1e9


def drawn(triangles, target, depth, source, size=(12, 10), corner=(0, 0)):
    width, height = size
    out = (
        np.full((height, width), -1, np.float32),
        np.full((height, width), -1, np.float32),
        np.full((height, width), FAR, np.float32),
    )
    rasterise(
        np.array(triangles, np.int32),
        np.array(target, np.float32),
        np.array(depth, np.float32),
        np.array(source, np.float32),
        *corner,
        out,
    )
    return out


SQUARE = [[1, 1], [9, 1], [9, 7], [1, 7]]
HALVES = [[0, 1, 2], [0, 2, 3]]


def test_a_square_that_stays_samples_itself():
    map_x, map_y, depth = drawn(HALVES, SQUARE, [5] * 4, SQUARE)
    rows, columns = np.mgrid[0:10, 0:12]
    inside = (rows >= 1) & (rows <= 7) & (columns >= 1) & (columns <= 9)
    assert (depth[inside] == 5).all() and (depth[~inside] == FAR).all()
    assert np.abs(map_x - columns)[inside].max() < 1e-4 and np.abs(map_y - rows)[inside].max() < 1e-4
    assert (map_x[~inside] == -1).all()


def test_source_positions_are_interpolated():
    map_x, map_y, _ = drawn(HALVES, SQUARE, [0] * 4, [[0, 0], [80, 0], [80, 60], [0, 60]])
    assert map_x[4, 5] == np.float32(40) and map_y[4, 5] == np.float32(30)


def test_the_nearer_triangle_is_seen_whatever_the_order():
    near, far = [[2, 2], [8, 2], [5, 6]], [[1, 1], [9, 1], [5, 8]]
    target, source = near + far, [[100, 100]] * 3 + [[200, 200]] * 3
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        map_x, _, depth = drawn(triangles, target, [1, 1, 1, 9, 9, 9], source)
        assert map_x[3, 5] == 100 and depth[3, 5] == 1
        assert map_x[1, 1] == 200


def test_depth_is_tested_point_by_point():
    """Two crossing triangles: each is seen where it is nearer."""
    map_x, _, _ = drawn(
        [[0, 1, 2], [3, 4, 5]],
        [[0, 0], [10, 0], [5, 9]] * 2,
        [0, 10, 5, 10, 0, 5],
        [[1, 1]] * 3 + [[2, 2]] * 3,
    )
    assert map_x[1, 2] == 1 and map_x[1, 8] == 2


def test_flipped_flat_and_outside_triangles():
    flipped, _, _ = drawn([[0, 2, 1], [0, 3, 2]], SQUARE, [0] * 4, SQUARE)
    straight, _, _ = drawn(HALVES, SQUARE, [0] * 4, SQUARE)
    assert np.allclose(flipped, straight, atol=1e-4)
    for target in ([[1, 1], [5, 5], [9, 9]], [[-9, -9], [-2, -3], [-5, -1]], [[40, 2], [50, 2], [45, 9]]):
        assert (drawn([[0, 1, 2]], target, [0] * 3, target)[2] == FAR).all()


def test_windows_are_parts_of_the_picture():
    whole, _, _ = drawn(HALVES, SQUARE, [0] * 4, SQUARE)
    part, _, _ = drawn(HALVES, SQUARE, [0] * 4, SQUARE, size=(5, 4), corner=(3, 2))
    assert np.allclose(part, whole[2:6, 3:8], atol=1e-4)
