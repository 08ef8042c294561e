"""Each frame's face restored by a network, steadily and without a seam (Lv 2022 §3.4.2).

Where the face is, is known from the coefficients and not searched for in the frame. It is aligned by the skull alone:
a mouth that opens must not shift the picture that the network sees, or all that it paints moves along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.coefficients import Coefficients
from pipeline.devices import Runtime
from pipeline.face.portrait import Portrait
from pipeline.postprocess.alignment import TEMPLATE_SIDE, cut_face, face_mask, paste_difference, to_template
from pipeline.postprocess.moving_face import MovingFace
from pipeline.postprocess.steadying import Steadier
from pipeline.threads import every_core, one_thread

if TYPE_CHECKING:
    from torch import nn

_BYTES_A_FACE = 3 << 30  # of memory that a face of 512 × 512 takes at most, with room for torch's own copies
_MOST_FACES = 8
_LARGE = 1 << 20  # parameters from which a network gains by several threads


class FaceNetwork:
    """A network that restores aligned faces.

    Args:
        network: takes and returns (B, 3, side, side), -1 to 1.
        side: of the aligned faces.
        runtime: where it runs; None takes the GPU if there is one.

    Attributes:
        batch: faces restored at once: on a GPU as many as its memory holds, else one.
        on_gpu: whether it runs on a GPU.
    """

    def __init__(self, network: nn.Module, side: int, runtime: Runtime | None = None) -> None:
        self.side = side
        self._runtime = runtime or Runtime.best()
        self.on_gpu = self._runtime.on_gpu
        self._network = network.to(self._runtime.device)
        self._threads = every_core if sum(p.numel() for p in network.parameters()) > _LARGE else one_thread
        self._bytes = int(_BYTES_A_FACE * (side / TEMPLATE_SIDE) ** 2)
        self.batch = min(_MOST_FACES, self._runtime.batch(self._bytes)) if self.on_gpu else 1

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Restored faces (B, side, side, 3) float32 in 0 to 255, of uint8 RGB faces of that shape.

        Raises:
            InputError: if there is no memory for a single face.
            WeightsError: if the network's answer holds values that are no numbers, in single precision too.
        """
        inputs = torch.from_numpy(faces).to(self._runtime.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with self._threads():
            made = torch.cat(list(self._runtime.run(len(faces), self._bytes, lambda part: self._network(inputs[part]))))
        return ((made.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()


class FaceRestoration:
    """Restores the face in the frames of one portrait.

    Args:
        portrait: whose face it is.
        network: what restores aligned faces.
        steady: hold flicker down; False leaves each frame as the network makes it, for measuring.
        warnings: sentences that the user should see.
    """

    def __init__(
        self, portrait: Portrait, network: FaceNetwork, steady: bool = True, warnings: tuple[str, ...] = ()
    ) -> None:
        self.warnings = warnings
        self._face = MovingFace(portrait)
        self._network = network
        self._steady = steady

    def start(self) -> Callable[[Iterator[np.ndarray], Coefficients], Iterator[np.ndarray]]:
        """What restores the parts of one run through a clip, in order: it takes a part's frames (H, W, 3) uint8 RGB
        and coefficients, and yields the frames, changed in place and in the face only."""
        steadier = Steadier(self._network.side) if self._steady else None

        def restore(frames: Iterator[np.ndarray], coefficients: Coefficients) -> Iterator[np.ndarray]:
            frames = iter(frames)
            for first in range(0, len(coefficients), self._network.batch):
                part = coefficients[first : first + self._network.batch]
                batch = list(islice(frames, len(part)))
                self._restore(batch, part, steadier)
                yield from batch

        return restore

    def _restore(self, frames: list[np.ndarray], coefficients: Coefficients, steadier: Steadier | None) -> None:
        side = self._network.side
        rows = list(zip(coefficients.expression, coefficients.pose, coefficients.crop, strict=True))
        matrices = [to_template(self._face.rigid(pose, crop), side) for _, pose, crop in rows]
        faces = np.stack([cut_face(frame, matrix, side) for frame, matrix in zip(frames, matrices, strict=True)])
        restored = self._network(faces)
        for frame, matrix, row, face, better in zip(frames, matrices, rows, faces, restored, strict=True):
            points = self._face.points(*row)
            scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
            aligned = np.column_stack([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], scale * points[:, 2]])
            difference = better - face
            if steadier is not None:
                difference = steadier(difference, aligned)
            difference = difference * face_mask(aligned[:, :2], side)[..., None]
            paste_difference(frame, difference.astype(np.float32), matrix)
