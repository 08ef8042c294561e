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
from pipeline.errors import WeightsError
from pipeline.face.portrait import Portrait
from pipeline.postprocess.alignment import cut_face, face_mask, paste_difference, to_template
from pipeline.postprocess.moving_face import MovingFace
from pipeline.postprocess.steadying import Steadier
from pipeline.threads import every_core, one_thread

if TYPE_CHECKING:
    from torch import nn

_BYTES_A_FACE = 3 << 30  # of GPU memory that a face of 512 × 512 takes at most, with room for torch's own copies
_MOST_FACES = 8
_LARGE = 1 << 20  # parameters from which a network gains by several threads


class FaceNetwork:
    """A network that restores aligned faces, on the GPU in half precision where there is one.

    Args:
        network: takes and returns (B, 3, side, side), -1 to 1.
        side: of the aligned faces.
        device: such as "cuda"; None takes the GPU if there is one.

    Attributes:
        batch: faces restored at once, as many as the memory that is free now holds.
        on_gpu: whether it runs on a GPU.
    """

    def __init__(self, network: nn.Module, side: int, device: str | None = None) -> None:
        self.side = side
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.on_gpu = self._device.type == "cuda"
        self._type = torch.float16 if self.on_gpu else torch.float32
        self._network = network.to(self._device, self._type)
        self._threads = every_core if sum(p.numel() for p in network.parameters()) > _LARGE else one_thread
        self.batch = 1
        if self.on_gpu:
            free, _ = torch.cuda.mem_get_info(self._device)
            self.batch = int(np.clip(free * (512 / side) ** 2 // _BYTES_A_FACE, 1, _MOST_FACES))

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Restored faces (B, side, side, 3) float32 in 0 to 255, of uint8 RGB faces of that shape.

        Raises:
            WeightsError: if the network's answer holds values that are no numbers, in single precision too.
        """
        with torch.inference_mode(), self._threads():
            inputs = torch.from_numpy(faces).to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
            out = self._network(inputs.to(self._type)).float()
            if not bool(out.isfinite().all()) and self._type is not torch.float32:
                # Black squares are what half precision leaves where it overflows: never show them.
                self._type = torch.float32
                self._network.float()
                out = self._network(inputs)
            if not bool(out.isfinite().all()):
                raise WeightsError("The restoring network answers with values that are no numbers; convert it again.")
            return ((out.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).cpu().numpy()


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
