"""Which of MediaPipe's 478 points are what, and the triangles between them.

MediaPipe publishes the mesh as a set of edges only; its 852 triangles are the closed loops of three edges, less
two loops around the nostrils' corners that enclose smaller triangles. "Left" and "right" are the subject's own.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LANDMARKS_COUNT = 478
MESH_POINTS = 468
FOREHEAD, CHIN = 10, 152
# Rings, in order around: the face's outline, the inner lips, the eyes' openings.
OUTLINE = np.array(
    "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 58 132 93 "
    "234 127 162 21 54 103 67 109".split(),
    int,
)
INNER_LIPS = np.array("78 191 80 81 82 13 312 311 310 415 308 324 318 402 317 14 87 178 88 95".split(), int)
OUTER_LIPS = np.array("61 185 40 39 37 0 267 269 270 409 291 375 321 405 314 17 84 181 91 146".split(), int)
# The inner lips from the right corner to the left, both with the corners: points of one index face each other.
INNER_UPPER = INNER_LIPS[:11]
INNER_LOWER = np.concatenate([INNER_LIPS[:1], INNER_LIPS[:10:-1], INNER_LIPS[10:11]])
RIGHT_EYE = np.array("33 246 161 160 159 158 157 173 133 155 154 153 145 144 163 7".split(), int)
LEFT_EYE = np.array("263 466 388 387 386 385 384 398 362 382 381 380 374 373 390 249".split(), int)
RIGHT_IRIS, LEFT_IRIS = np.arange(468, 473), np.arange(473, 478)
# Second rings: the skin just around lips and lids, which follows them.
AROUND_LIPS = np.array(
    "76 184 74 73 72 11 302 303 304 408 306 307 320 404 315 16 85 180 90 77 "
    "62 183 42 41 38 12 268 271 272 407 292 325 319 403 316 15 86 179 89 96".split(),
    int,
)
RIGHT_LIDS = np.concatenate([RIGHT_EYE, "247 30 29 27 28 56 190 243 112 26 22 23 24 110 25 130".split()]).astype(int)
LEFT_LIDS = np.concatenate(
    [LEFT_EYE, "467 260 259 257 258 286 414 463 341 256 252 253 254 339 255 359".split()]
).astype(int)
RIGHT_BROW = np.array("70 63 105 66 107 46 53 52 65 55".split(), int)
LEFT_BROW = np.array("300 293 334 296 336 276 283 282 295 285".split(), int)
# Points that hardly move with expression: bridge and sides of the nose, forehead, temples, eye corners.
STABLE = np.array(
    "10 109 338 67 297 103 332 54 284 21 251 162 389 127 356 151 9 8 168 6 197 195 5 108 337 69 299 104 333 68 298 "
    "33 133 263 362 234 454 122 351 196 419 3 248 51 281 45 275 4 1".split(),
    int,
)
LIPS = np.concatenate([INNER_LIPS, OUTER_LIPS, AROUND_LIPS])
LIDS = np.concatenate([RIGHT_LIDS, LEFT_LIDS])
IRISES = np.concatenate([RIGHT_IRIS, LEFT_IRIS])


@lru_cache(maxsize=1)
def triangles() -> np.ndarray:
    """The mesh's 852 triangles as (852, 3) indices; eyes and mouth are holes."""
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    neighbours: dict[int, set[int]] = {}
    for a, b in FACEMESH_TESSELATION:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    loops = {tuple(sorted((a, b, c))) for a in neighbours for b in neighbours[a] for c in neighbours[a] & neighbours[b]}
    return np.array(sorted(loops - {(49, 64, 129), (279, 294, 358)}), np.int32)


def mirror_indices(mean: np.ndarray) -> np.ndarray:
    """For each of the (478, 3) points of a symmetric face, the index of its mirror image."""
    flipped = mean * np.array([-1, 1, 1], mean.dtype)
    distance = np.linalg.norm(mean[:, None] - flipped[None], axis=-1)
    # The irises' names swap as wholes: nearest points alone would confuse the four rim points.
    index = distance.argmin(0)
    index[RIGHT_IRIS] = LEFT_IRIS[[0, 3, 2, 1, 4]]
    index[LEFT_IRIS] = RIGHT_IRIS[[0, 3, 2, 1, 4]]
    return index
