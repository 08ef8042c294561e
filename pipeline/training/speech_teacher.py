"""What teaches the talking driver's ears: the encoder of a large recogniser of speech, heard from outside.

Moonshine tiny (Jeffries 2024; MIT licence; npm and PyPI carry its encoder) was trained on hundreds of thousands of
hours of speech and tells phones apart in any voice. It is asked while training only, and nothing of it is shipped.

    npm pack @moonshine-ai/moonshine-js@0.1.29 && tar xzf moonshine-ai-moonshine-js-0.1.29.tgz
    pip install onnx onnxruntime
    mv package/dist/model/tiny/quantized/encoder_model.onnx cache/teacher.onnx
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from pipeline.clock import SAMPLES_PER_FRAME, frame_count
from pipeline.drivers.phonetics import STEPS_PER_FRAME
from pipeline.errors import InputError

LAYER_DIM = 288
_MIDDLE = "/layers.3/Add_1_output_0"  # the fourth of six blocks knows more of lips than the last one: r 0.73 to 0.70
_HOP, _CENTRE = 384, 447  # samples between answers, and the middle of the first one's field (strides 64, 3 and 2)
_PIECE, _OVERLAP, _MARGIN = 320_000, 32_000, 1_600  # samples heard at once; the encoder forgets how to hear longer ones


class SpeechTeacher:
    """Calls give (2 T, 576): the encoder's last and fourth block every 20 ms, for sound (N,) at 16 kHz."""

    def __init__(self, path: str | Path) -> None:
        """Open the encoder's ONNX file.

        Raises:
            InputError: if it cannot be read, or onnx and onnxruntime are not installed.
        """
        try:  # by name: they are for those who train, no requirement
            onnx, onnxruntime = import_module("onnx"), import_module("onnxruntime")
        except ImportError as error:
            raise InputError("The teacher of the ears needs two packages: pip install onnx onnxruntime.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            model = onnx.load(str(path))
            model.graph.output.append(onnx.helper.make_tensor_value_info(_MIDDLE, onnx.TensorProto.FLOAT, None))
            self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        except Exception as error:  # onnx and its runtime raise kinds of their own
            raise InputError(
                f"{path} is not the encoder of Moonshine tiny; see pipeline/training/speech_teacher.py."
            ) from error

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        steps = frame_count(len(samples)) * STEPS_PER_FRAME
        step = SAMPLES_PER_FRAME // STEPS_PER_FRAME
        sound = np.pad(samples.astype(np.float32), (0, steps * step - len(samples)))
        middles = (np.arange(steps) + 0.5) * step
        rows = np.zeros((steps, 2 * LAYER_DIM), np.float32)
        for start in range(0, max(1, len(sound) - _OVERLAP), _PIECE - _OVERLAP):
            stop = min(len(sound), start + _PIECE)
            answer = self._hear(sound[start:stop])
            at = (_HOP * np.arange(len(answer)) + _CENTRE - _MARGIN + start).astype(np.float64)
            first = start + (_OVERLAP // 2 if start else 0)
            mine = np.flatnonzero((middles >= first) & (middles < stop))
            where = np.clip((middles[mine] - at[0]) / _HOP, 0, len(answer) - 1.001)
            low = where.astype(int)
            part = (where - low)[:, None]
            rows[mine] = answer[low] * (1 - part) + answer[low + 1] * part
        return rows

    def _hear(self, sound: np.ndarray) -> np.ndarray:
        padded = np.pad(sound, (_MARGIN, _MARGIN + max(0, 2_000 - len(sound))))
        last, middle = self._session.run(None, {"input_values": padded[None]})
        return np.concatenate([last[0], middle[0]], 1)


@dataclass(frozen=True)
class Axes:
    """The principal directions of what a teacher says, each layer's by itself, at even spread.

    Attributes:
        means: (2, 288).
        directions: (2, 288, K).
    """

    means: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, count: int = 96) -> Axes:
        """Those of answers (N, 576): `count` a layer, the weakest ones not blown up to full spread."""
        means, directions = [], []
        for layer in (rows[:, :LAYER_DIM], rows[:, LAYER_DIM:]):
            middle = layer.mean(0)
            _, sizes, axes = np.linalg.svd(layer - middle, full_matrices=False)
            floor = 0.05 * (sizes**2).mean()
            means.append(middle)
            directions.append(axes[:count].T / np.sqrt((sizes[:count] ** 2 + floor) / len(layer)))
        return cls(np.stack(means), np.stack(directions))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(2 T, 2 K) float16 of answers (2 T, 576)."""
        layers = np.split(rows, 2, 1)
        parts = [(layer - mean) @ axes for layer, mean, axes in zip(layers, self.means, self.directions, strict=True)]
        return np.concatenate(parts, 1).astype(np.float16)

    @property
    def weights(self) -> np.ndarray:
        """(2 K,) how much each direction counts when somebody learns them: the root of its share of a layer's life."""
        spread = 1 / np.linalg.norm(self.directions, axis=1)
        shares = np.sqrt(spread / spread.mean(1, keepdims=True)).ravel()
        return (shares / shares.mean()).astype(np.float32)
