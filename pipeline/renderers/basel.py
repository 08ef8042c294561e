"""The bridge between our coefficients and those of the Basel model as Deep3DFaceRecon and PIRenderer use it.

Basel's model may not be passed on, so the bridge is solved where a user has it:

    python -m pipeline.renderers.basel FOLDER_WITH_BASEL WEIGHTS/pirenderer

The folder holds `BFM_model_front.mat` and `similarity_Lm3D_all.mat`, as Deep3DFaceRecon prepares them. Each of our
vertices is paired with one of Basel's; expressions are then mapped onto one another by least squares over all pairs,
and a head's placement by the geometry of that project's alignment and camera. Conventions after Deng 2019 ("Accurate
3D Face Reconstruction with Weakly-Supervised Learning") and the layout of the 73 numbers after Ren 2021.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM, Coefficients
from pipeline.errors import WeightsError
from pipeline.face.geometry import align, rotation_angles, rotation_matrices
from pipeline.face.morphable import MorphableModel, placement
from pipeline.face.topology import MESH_POINTS
from pipeline.hub import EMBEDDED
from pipeline.renderers.neural import HeadWindow

FOCAL, DISTANCE, CENTRE = 1015.0, 10.0, 112.0  # of the camera that Basel's faces are seen through, in a 224-pixel crop
_FACE_SCALE = 102.0  # pixels that a standard face gets in that crop
_FLIP = np.diag([1.0, -1.0, -1.0])  # from x right, y down, z away to x right, y up, z towards the viewer
_RIDGE = 1e-4
# Which of MediaPipe's points the 68 landmarks' brows, nose, eyes and lips (numbers 17 to 67) are, and the chin's tip.
_INNER = np.array(
    "71 63 105 66 107 336 296 334 293 301 168 197 5 4 75 97 2 326 305 33 160 158 133 153 144 362 385 387 263 373 380 "
    "61 39 37 0 267 269 291 405 314 17 84 181 78 82 13 312 308 317 14 87".split(),
    int,
)
PAIRS = np.concatenate([np.stack([np.arange(17, 68), _INNER], 1), [[8, 152]]])
_FIVE = ((36, 39), (42, 45), (30,), (48,), (54,))  # landmarks whose means are eyes, nose tip and corners of the mouth


@dataclass(frozen=True)
class BaselModel:
    """What is needed of a Basel model.

    Attributes:
        mean: (N, 3) decimetres about its centre, x right, y up, z towards the viewer.
        expression: (N, 3, 64).
        landmarks: (68,) indices of vertices.
        standard: (5, 3) eyes, nose tip and mouth's corners by which pictures are aligned.
    """

    mean: np.ndarray
    expression: np.ndarray
    landmarks: np.ndarray
    standard: np.ndarray

    @staticmethod
    def read(folder: str | Path) -> BaselModel:
        """Read Deep3DFaceRecon's folder `BFM`.

        Raises:
            WeightsError: if files are missing or are something else.
        """
        from scipy.io import loadmat

        folder = Path(folder)
        try:
            model = loadmat(str(folder / "BFM_model_front.mat"))
            faces = loadmat(str(folder / "similarity_Lm3D_all.mat"))["lm"]
            mean = np.asarray(model["meanshape"], np.float64).reshape(-1, 3)
            expression = np.asarray(model["exBase"], np.float64).reshape(len(mean), 3, EXPRESSION_DIM)
            landmarks = np.asarray(model["keypoints"]).reshape(68).astype(int) - 1
            eyes = [faces[[36, 39]].mean(0), faces[[42, 45]].mean(0)]
            standard = np.stack([*eyes, faces[30], faces[48], faces[54]]).astype(np.float64)
        except (OSError, KeyError, ValueError, IndexError, NotImplementedError, TypeError) as error:
            raise WeightsError(
                f"{folder} holds no Basel model that can be read; give the folder BFM of Deep3DFaceRecon with "
                "BFM_model_front.mat and similarity_Lm3D_all.mat."
            ) from error
        return BaselModel(mean - mean.mean(0), expression, landmarks, standard)


@dataclass(frozen=True)
class BaselBridge:
    """Maps between ours and Basel's; float64 arrays.

    Attributes:
        forward: (64, 64) Basel's expression is `forward @ β`.
        backward: (64, 64) β is `backward @` Basel's expression.
        rotation, scale, shift: (3, 3), (1,) and (3,) with `ours = scale * rotation @ basel + shift` for mean faces.
        five: (5, 3) eyes, nose tip and mouth's corners of Basel's mean face.
        five_expression: (5, 3, 64) how expression moves them.
        standard: (5, 3), see `BaselModel`.
    """

    forward: np.ndarray
    backward: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    five: np.ndarray
    five_expression: np.ndarray
    standard: np.ndarray

    @staticmethod
    def solve(model: MorphableModel, basel: BaselModel) -> BaselBridge:
        """Solve the bridge from both models' mean faces and expressions."""
        theirs, ours = basel.mean[basel.landmarks[PAIRS[:, 0]]], model.mean[PAIRS[:, 1]].astype(np.float64)
        rotation, scale, shift = align(theirs, ours, np.ones(len(PAIRS)))
        index = _partners(((model.mean[:MESH_POINTS] - shift) @ rotation) / scale, basel)
        # Both expressions in Basel's frame; what a rigid motion can do is not the expressions' affair.
        own = np.einsum("ij,vik->vjk", rotation, model.expression_basis[:MESH_POINTS].astype(np.float64)) / scale
        other, rigid = basel.expression[index], _rigid(basel.mean[index])
        weights = np.sqrt(model.fit_weights[:MESH_POINTS].astype(np.float64))[:, None, None]
        flat = [(weights * part).reshape(3 * MESH_POINTS, -1) for part in (own, other, rigid)]
        five = np.stack([basel.mean[basel.landmarks[list(group)]].mean(0) for group in _FIVE])
        moves = np.stack([basel.expression[basel.landmarks[list(group)]].mean(0) for group in _FIVE])
        return BaselBridge(
            forward=_regress(flat[1], flat[2], flat[0]),
            backward=_regress(flat[0], flat[2], flat[1]),
            rotation=rotation,
            scale=np.array([scale]),
            shift=shift,
            five=five,
            five_expression=moves,
            standard=basel.standard,
        )

    def to_basel(self, coefficients: Coefficients, window: HeadWindow, size: tuple[int, int]) -> np.ndarray:
        """(T, 73) float32: Basel's expression (64), angles (3), translation (3) and crop (3).

        Args:
            coefficients: of T frames of a picture.
            window: what PIRenderer sees of it.
            size: the picture's width and height.
        """
        expression = coefficients.expression @ self.forward.T
        rotation, scale, shift = placement(
            coefficients.pose.astype(np.float64), coefficients.crop.astype(np.float64), size
        )
        turned = _FLIP @ rotation @ self.rotation
        pixels = scale * window.scale * self.scale[0]  # of the window for a decimetre
        middle = (scale[:, None, None] * rotation @ self.shift[:, None])[..., 0] + shift
        middle = self._upwards(window.points(middle[:, :2]), window)
        points = self.five + np.einsum("vik,tk->tvi", self.five_expression, expression)
        seen = pixels[:, None, None] * (points @ np.swapaxes(turned, 1, 2))[..., :2] + middle[:, None]
        ratio, corner = self._alignment(seen)
        depth = FOCAL / (pixels * ratio)
        across = (middle - corner) * (ratio * depth / FOCAL)[:, None]
        translation = np.concatenate([across, (DISTANCE - depth)[:, None]], 1)
        crop = np.concatenate([ratio[:, None], corner], 1)
        return np.concatenate([expression, rotation_angles(turned), translation, crop], 1).astype(np.float32)

    def from_basel(self, rows: np.ndarray, window: HeadWindow, size: tuple[int, int], crop: np.ndarray) -> Coefficients:
        """Our coefficients for rows (T, 73) as `to_basel` gives them, with crop (3,)."""
        rows = rows.astype(np.float64)
        turned = rotation_matrices(rows[:, 64:67])
        rotation = _FLIP @ turned @ self.rotation.T
        translation, ratio, corner = rows[:, 67:70], rows[:, 70], rows[:, 71:73]
        depth = DISTANCE - translation[:, 2]
        pixels = FOCAL / depth / ratio
        middle = translation[:, :2] * (FOCAL / depth / ratio)[:, None] + corner
        scale = pixels / (window.scale * self.scale[0])
        places = (self._upwards(middle, window) + 0.5) / window.scale + (window.left, window.top) - 0.5
        shift = places - (scale[:, None, None] * rotation @ self.shift[:, None])[:, :2, 0]
        base = crop[2] * size[1]
        pose = np.concatenate(
            [rotation_angles(rotation), (shift - crop[:2] * size) / base, np.log(scale / base)[:, None]], 1
        )
        return Coefficients(rows[:, :64] @ self.backward.T, pose, np.tile(crop, (len(rows), 1)))

    @staticmethod
    def _upwards(points: np.ndarray, window: HeadWindow) -> np.ndarray:
        """Points with y counted upwards from the window's last row, or back again."""
        return np.stack([points[..., 0], window.size - 1 - points[..., 1]], -1)

    def _alignment(self, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Magnification (T,) and shift (T, 2) by which a picture with five points (T, 5, 2) is aligned.

        They are those of the affine map of the standard points onto the five, its scale the mean of both rows'.
        """
        solver = np.linalg.pinv(np.concatenate([self.standard, np.ones((5, 1))], 1))
        affine = solver @ seen
        return _FACE_SCALE / np.linalg.norm(affine[:, :3], axis=1).mean(1), affine[:, 3]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        arrays = {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}
        save_file(arrays, str(path))

    @staticmethod
    def load(path: str | Path) -> BaselBridge:
        """Read what `save` wrote.

        Raises:
            WeightsError: if it is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return BaselBridge(**load_file(str(path)))
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise WeightsError(f"The bridge {path} cannot be read; solve it again from the Basel model.") from error


def _partners(ours: np.ndarray, basel: BaselModel) -> np.ndarray:
    """(468,) the Basel vertex that each of our vertices, given in Basel's frame, stands for.

    Our mean face is bent so that the landmarks meet, then nearest vertices are taken; landmarks keep their own.
    """
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    index = basel.landmarks[PAIRS[:, 0]]
    bend = RBFInterpolator(ours[PAIRS[:, 1]], basel.mean[index] - ours[PAIRS[:, 1]], kernel="thin_plate_spline")
    nearest = cKDTree(basel.mean).query(ours + bend(ours))[1]
    nearest[PAIRS[:, 1]] = index
    return nearest


def _rigid(points: np.ndarray) -> np.ndarray:
    """(V, 3, 7) how points (V, 3) move under a small shift, turn and growth."""
    centred = points - points.mean(0)
    turns = [np.cross(axis, centred) for axis in np.eye(3)]
    shifts = [np.broadcast_to(axis, points.shape) for axis in np.eye(3)]
    return np.stack([*shifts, *turns, centred], -1)


def _regress(basis: np.ndarray, rigid: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(64, K) such that basis @ (it @ x) is nearest to target @ x, rigid motion apart; a ridge keeps it tame."""
    columns = np.concatenate([basis, rigid], 1)
    gram = columns.T @ columns
    penalty = _RIDGE * np.trace(gram[:EXPRESSION_DIM, :EXPRESSION_DIM]) / EXPRESSION_DIM
    gram += np.diag(np.r_[np.full(EXPRESSION_DIM, penalty), np.full(rigid.shape[1], 1e-12)])
    return np.linalg.solve(gram, columns.T @ target)[:EXPRESSION_DIM]


def main(folder: Path, output: Path) -> None:
    """Solve the bridge from a Basel model and write it beside PIRenderer's weights."""
    from pipeline.renderers.pirenderer import BRIDGE

    bridge = BaselBridge.solve(MorphableModel.load(EMBEDDED / "face"), BaselModel.read(folder))
    output.mkdir(parents=True, exist_ok=True)
    bridge.save(output / BRIDGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Solve the bridge to the Basel model's coefficients.")
    parser.add_argument("folder", type=Path, help="Deep3DFaceRecon's folder BFM")
    parser.add_argument("output", type=Path, help="folder of PIRenderer's weights")
    main(**vars(parser.parse_args()))
