"""Coefficients: the currency between drivers, renderers and metrics.

As in ViCo (Huang 2022 §3.2) each frame is described by an expression β ∈ R^64, a pose p ∈ R^6 (three
rotations, three translations) and a crop c ∈ R^3. Here, with an image of W × H pixels:

- ``pose[:3]``: pitch, yaw, roll in radians about x (right), y (down), z (away from the viewer);
  the head's rotation is ``Rz(roll) @ Ry(yaw) @ Rx(pitch)``. Pitch > 0 lowers the nose, yaw > 0 turns it
  towards the image's left, roll > 0 tips the crown towards the image's right.
- ``pose[3:5]``: the head's shift from the crop, in face heights, right and down;
  ``pose[5]``: natural logarithm of the head's size relative to the crop.
- ``crop``: where the head is placed: x / W, y / H of its origin, and face height / H.

Where a face was seen and not only heard there is a fourth part, which renderers may use or leave: ``inside``, what
shows between the lips (`face.mouth_inside`).
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.clock import FPS
from pipeline.errors import InputError, OutputError
from pipeline.face.mouth_inside import INSIDE_DIM

EXPRESSION_DIM = 64
POSE_DIM = 6
CROP_DIM = 3
_WIDTHS = {"expression": EXPRESSION_DIM, "pose": POSE_DIM, "crop": CROP_DIM}


@dataclass(frozen=True)
class Coefficients:
    """Expression (T, 64), pose (T, 6), crop (T, 3) and perhaps the mouth's inside (T, 27) of T frames, float32, finite.

    Raises:
        ValueError: if the shapes disagree or a value is not finite.
    """

    expression: np.ndarray
    pose: np.ndarray
    crop: np.ndarray
    fps: float = FPS
    inside: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, width in self.widths().items():
            array = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            if array.ndim != 2 or array.shape[1] != width:
                raise ValueError(f"{name} must have shape (T, {width}), not {array.shape}.")
            if len(array) != len(self.expression):
                raise ValueError(f"{name} has {len(array)} frames but expression has {len(self.expression)}.")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite.")
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.expression)

    def widths(self) -> dict[str, int]:
        """The parts that there are, by name, and how many numbers of each a frame has."""
        return _WIDTHS if self.inside is None else {**_WIDTHS, "inside": INSIDE_DIM}

    def __getitem__(self, index: int | slice) -> Coefficients:
        """Frames `index`; an integer keeps the time axis, so that the result is again a clip (of one frame)."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        return Coefficients(**{name: getattr(self, name)[index] for name in self.widths()}, fps=self.fps)

    @staticmethod
    def concatenate(parts: list[Coefficients]) -> Coefficients:
        """Join clips end to end; they must share a frame rate, and all or none tell of the mouth's inside."""
        if not parts:
            raise ValueError("There is nothing to concatenate.")
        if len({part.fps for part in parts}) > 1:
            raise ValueError("Clips of different frame rates cannot be concatenated.")
        names = parts[0].widths()
        if any(part.widths() != names for part in parts):
            raise ValueError("Clips with and without the mouth's inside cannot be concatenated.")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return Coefficients(**joined, fps=parts[0].fps)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the arrays and the frame rate in its metadata; whole or not at all.

        Raises:
            OutputError: if it cannot be written.
        """
        from safetensors.numpy import save

        path = Path(path)
        data = save({name: getattr(self, name) for name in self.widths()}, {"fps": str(self.fps)})
        part = path.parent / f".{path.name[:80]}.{uuid.uuid4().hex[:12]}.part"
        try:
            try:
                part.write_bytes(data)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error

    @staticmethod
    def load(path: str | Path) -> Coefficients:
        """Read what `save` wrote.

        Raises:
            InputError: if the file is not such a file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                fps = float((file.metadata() or {}).get("fps", FPS))
                names = [*_WIDTHS, *({"inside"} & set(file.keys()))]
                return Coefficients(**{name: file.get_tensor(name) for name in names}, fps=fps)
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"{path} is not a coefficients file; make one with `--coefficients FILE`.") from error
