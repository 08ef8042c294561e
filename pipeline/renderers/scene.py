"""The portrait as a scene: mesh, eyeballs, mouth and surroundings, and where each point goes for given coefficients.

Source positions are pixels of the portrait; target positions come from moving the portrait's own vertices by the
*change* of β and of the placement, so that the portrait's own coefficients give back the portrait, pixel for pixel.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay

from pipeline.face import topology
from pipeline.face.morphable import placement
from pipeline.face.portrait import Portrait
from pipeline.renderers.surroundings import RAYS, Surroundings

_EYES = ((topology.RIGHT_EYE, topology.RIGHT_IRIS), (topology.LEFT_EYE, topology.LEFT_IRIS))
_EYE_MARGIN = 1.5  # the eyeball's layer reaches behind the lids, for lids that open wider than the portrait's
_EYE_INSET = 0.86  # and samples the white inside the rim, not the lashes on it
Placement = tuple[np.ndarray, float, np.ndarray]
# How far towards the next ring of the lips their rim and the ring around it are sampled when lips have closed.
_RIM_INSET, _RING_INSET = 1.0, 0.6
_PARTED = 0.008  # face heights between lips that show something
_BEHIND = 0.15  # depth of the eyeballs and the mouth's inside behind the lids and lips, in face heights


class Scene:
    """Vertices and triangles of one portrait.

    Attributes:
        source: (N, 2) float32, where each vertex is in the portrait.
        triangles: (M, 3) int32.
        unposed: (478, 3) the portrait's vertices with the pose taken out, in face heights.
    """

    def __init__(self, portrait: Portrait, surroundings: Surroundings) -> None:
        self.portrait = portrait
        self._surroundings = surroundings
        self.unposed = portrait.unposed()
        own = portrait.coefficients
        self._rotation, self._scale, self._shift = placement(own.pose[0], own.crop[0], portrait.size)
        flat = portrait.landmarks[:, :2].astype(np.float64)
        rings = surroundings.points(flat[topology.OUTLINE], self._scale)
        self._rings = rings.reshape(-1, 2)
        self._follow = surroundings.follow.reshape(-1, 4)
        first_ring = topology.LANDMARKS_COUNT
        first_eye = first_ring + len(self._rings)

        triangles = [topology.triangles(), surroundings.triangles(first_ring, len(surroundings.radii)), _mouth()]
        sources, self._eyes = [flat, self._rings], []
        for eye, iris in _EYES:
            points, source, faces = _eyeball(flat, eye, iris)
            sources.append(source)
            triangles.append(faces + first_eye)
            # Eyeballs don't move with the lids, only with head and gaze: their rim is held to the head.
            self._eyes.append((eye, iris, points - flat[eye].mean(0)))
            first_eye += len(points)
        self.source = np.concatenate(sources).astype(np.float32)
        self._parted = _gaps(self.unposed)
        within = _RING_INSET * (flat[_THIRD_RING] - flat[_SECOND_RING])
        to_next = _RIM_INSET * (flat[_SECOND_RING] - flat[_RIM])
        self._inset = np.concatenate([to_next + 0.6 * within, within]).astype(np.float32)
        self.triangles = np.concatenate(triangles).astype(np.int32)

    def sampled(self, expression: np.ndarray) -> np.ndarray:
        """(N, 2) float32, where in the portrait each vertex is sampled for β (64,): `source`, but for closing lips.

        The rim of lips that are apart in the portrait has teeth against it, and would carry them along as a light
        line when the lips meet: the nearer they come, the further inside the lips their rim is sampled.
        """
        change = self.portrait.model.offsets(expression.astype(np.float64) - self.portrait.coefficients.expression[0])
        now = _gaps(self.unposed + change)
        closed = np.where(self._parted > _PARTED, 1 - now / np.maximum(self._parted, _PARTED), 0).clip(0, 1)
        if not closed.any():
            return self.source
        source = self.source.copy()
        source[_INSET] += np.tile(closed, 4)[:, None].astype(np.float32) * self._inset
        return source

    def place(
        self, expression: np.ndarray, pose: np.ndarray, crop: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Placement]:
        """Where the vertices go: (N, 2) float32 target pixels, (N,) float32 depth in pixels, and the head's placement.

        Args:
            expression: (64,) β.
            pose: (6,) p.
            crop: (3,) c.
        """
        portrait = self.portrait
        rotation, scale, shift = placement(pose.astype(np.float64), crop.astype(np.float64), portrait.size)
        change = portrait.model.offsets(expression.astype(np.float64) - portrait.coefficients.expression[0])
        posed = scale * (self.unposed + change) @ rotation.T + shift
        rigid = scale * self.unposed @ rotation.T + shift
        rings, ring_depth = self._place_rings(rotation, scale, shift, posed, rigid)
        targets, depths = [posed[:, :2], rings], [posed[:, 2], ring_depth]
        behind = _BEHIND * scale
        for eye, iris, rim in self._eyes:
            turn = self._planar(rotation, scale)
            centre = rigid[eye, :2].mean(0)
            # The rim's last points are the iris, which the gaze moves.
            points = centre + rim @ turn.T
            points[-len(iris) :] = posed[iris, :2]
            targets.append(points)
            # Each point behind its own piece of skin: the outer corner lies far deeper than the lids' middle.
            depths.append(
                np.concatenate([rigid[eye, 2], rigid[eye, 2], np.full(len(iris), rigid[eye, 2].mean())]) + behind
            )
        target = np.concatenate(targets).astype(np.float32)
        depth = np.concatenate(depths).astype(np.float32)
        return target, depth, (rotation, scale, shift)

    def _planar(self, rotation: np.ndarray, scale: float) -> np.ndarray:
        """(2, 2) how a flat piece of the portrait facing the viewer turns and shrinks."""
        return (scale / self._scale) * (rotation @ self._rotation.T)[:2, :2]

    def _place_rings(self, rotation, scale, shift, posed, rigid) -> tuple[np.ndarray, np.ndarray]:
        whole = (scale / self._scale) * (rotation @ self._rotation.T)
        moved = (shift - self._shift)[:2]
        turned = (self._rings - self._shift[:2]) @ (whole[:2, :2] - np.eye(2)).T
        in_depth = whole[:2, 2] * self._scale
        outline = np.tile((posed - rigid)[topology.OUTLINE, :2], (len(self._surroundings.radii), 1))
        follow = self._follow
        offset = follow[:, :1] * moved + follow[:, 1:2] * turned + follow[:, 2:3] * in_depth + follow[:, 3:4] * outline
        # Behind the face: where a turn folds the two over one another, the face is seen.
        step = np.repeat(np.arange(1, len(self._surroundings.radii) + 1), RAYS)
        depth = np.tile(posed[topology.OUTLINE, 2], len(self._surroundings.radii)) + 0.1 * scale * step
        return self._rings + offset, depth


def _facing(ring: np.ndarray) -> np.ndarray:
    """A ring of 20 lip points without its corners: 9 upper ones, then the 9 lower ones that face them."""
    return np.concatenate([ring[1:10], ring[:10:-1]])


_RIM = _facing(topology.INNER_LIPS)
_UPPER_RIM, _LOWER_RIM = _RIM[:9], _RIM[9:]
_SECOND_RING, _THIRD_RING = _facing(topology.AROUND_LIPS[20:]), _facing(topology.AROUND_LIPS[:20])
_INSET = np.concatenate([_RIM, _SECOND_RING])


def _gaps(unposed: np.ndarray) -> np.ndarray:
    """(9,) face heights between upper and lower inner lip, from one corner to the other."""
    return unposed[_LOWER_RIM, 1] - unposed[_UPPER_RIM, 1]


def _mouth() -> np.ndarray:
    """Triangles across the inner lips, between upper and lower points that face each other."""
    upper, lower = topology.INNER_UPPER, topology.INNER_LOWER
    faces = []
    for i in range(10):
        faces += [(upper[i], upper[i + 1], lower[i]), (upper[i + 1], lower[i + 1], lower[i])]
    return np.array([face for face in faces if len(set(face)) == 3], np.int32)


def _eyeball(flat: np.ndarray, eye: np.ndarray, iris: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (37, 2), source positions (37, 2) and triangles of an eye's layer: behind the lids, the rim, the iris.

    Inside the rim the layer is the portrait's own eye; behind the lids it goes on with the white inside the rim.
    """
    centre = flat[eye].mean(0)
    rim = flat[eye] - centre
    points = np.concatenate([centre + _EYE_MARGIN * rim, flat[eye], flat[iris]])
    source = np.concatenate([centre + _EYE_INSET * rim, flat[eye], flat[iris]])
    return points, source, Delaunay(points).simplices.astype(np.int32)
