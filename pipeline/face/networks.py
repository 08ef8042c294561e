"""MediaPipe's bundled networks as plain functions of an image: face detectors, face mesh, person segmentation.

The ready-made `FaceMesh` hides what a portrait needs: it looks for the face again in every picture, scales
without an anti-aliasing filter and says nothing of how sure it is. Here the mesh network is run on a crop that the
caller lays, and returns its score. Each object belongs to one thread: shared, MediaPipe loses results without a word.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

LANDMARKS = 478
MESH_SIDE = 192  # the mesh network's input
DETECTOR_SIDES = (128, 192)  # the near and the far detector's
PERSON_SIDE = 256  # the segmentation network's input

_MESH_GRAPH = """
input_stream: "image"
input_side_packet: "with_attention"
output_stream: "landmarks"
output_stream: "score"
node {
  calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] {
    output_tensor_width: 192 output_tensor_height: 192 output_tensor_float_range { min: 0.0 max: 1.0 } } }
}
node {
  calculator: "FaceLandmarksModelLoader"
  input_side_packet: "WITH_ATTENTION:with_attention" output_side_packet: "MODEL:model"
}
node { calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:operations" }
node {
  calculator: "InferenceCalculator" input_stream: "TENSORS:input" output_stream: "TENSORS:output"
  input_side_packet: "MODEL:model" input_side_packet: "OP_RESOLVER:operations"
  options { [mediapipe.InferenceCalculatorOptions.ext] { delegate { xnnpack { num_threads: 1 } } } }
}
node {
  calculator: "SplitTensorVectorCalculator" input_stream: "output"
  output_stream: "points" output_stream: "flag"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] {
    ranges: { begin: 0 end: 6 } ranges: { begin: 6 end: 7 } } }
}
node {
  calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:flag" output_stream: "FLOAT:score"
  options { [mediapipe.TensorsToFloatsCalculatorOptions.ext] { activation: NONE } }
}
node {
  calculator: "TensorsToFaceLandmarksWithAttention"
  input_stream: "TENSORS:points" output_stream: "LANDMARKS:landmarks"
}
"""


def _mirror_table() -> np.ndarray:
    """Each point's twin on the face's other side: numbered alike, first the 28 on the midline and the right side."""
    middle = [0, 1, 2, *range(4, 7), *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200]
    right = np.setdiff1d(np.arange(248), middle)
    table = np.arange(LANDMARKS)
    table[right], table[248:468] = np.arange(248, 468), right
    table[468:] = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]  # irises: centre, then rim all around
    return table


MIRROR = _mirror_table()
"""(478,) index of the point that each point becomes in a mirror image."""


class MeshNetwork:
    """The attention mesh (Grishchenko 2020): a face crop to 478 points and how sure the network is of a face."""

    def __init__(self) -> None:
        import mediapipe
        from google.protobuf import text_format

        # These four are not called: importing them registers the options that the graph's text names.
        from mediapipe.calculators.core import split_vector_calculator_pb2  # noqa: F401
        from mediapipe.calculators.tensor import (
            image_to_tensor_calculator_pb2,  # noqa: F401
            inference_calculator_pb2,  # noqa: F401
            tensors_to_floats_calculator_pb2,  # noqa: F401
        )
        from mediapipe.framework import calculator_pb2
        from mediapipe.python import packet_creator, packet_getter
        from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

        with quiet_stderr():
            resource_util.set_resource_dir(os.path.dirname(os.path.dirname(mediapipe.__file__)))
            config = text_format.Parse(_MESH_GRAPH, calculator_pb2.CalculatorGraphConfig())
            self._graph = calculator_graph.CalculatorGraph(graph_config=config)
            self._create, self._get = packet_creator, packet_getter
            self._format = image_frame.ImageFormat.SRGB
            self._results: dict[str, object] = {}
            self._time = 0
            for name in ("landmarks", "score"):
                self._graph.observe_output_stream(name, self._results.__setitem__, True)
            self._graph.start_run({"with_attention": packet_creator.create_bool(True)})
            self(np.zeros((MESH_SIDE, MESH_SIDE, 3), np.uint8))

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Points (478, 3) float32 in units of the crop's side, and the face score as a logit.

        Args:
            crop: (192, 192, 3) uint8 RGB, the face upright, its mesh filling two thirds of the side.
        """
        self._time += 1
        packet = self._create.create_image_frame(image_format=self._format, data=np.ascontiguousarray(crop))
        self._graph.add_packet_to_input_stream("image", packet.at(self._time))
        self._graph.wait_until_idle()
        points = self._get.get_proto(self._results["landmarks"]).landmark
        score = self._get.get_float(self._results["score"])
        return np.array([(p.x, p.y, p.z) for p in points], np.float32), float(score)

    def close(self) -> None:
        """Stop the graph's threads."""
        self._graph.close()


@dataclass(frozen=True)
class Detection:
    """A face box with the two eyes, all in pixels: centre (2,), side, eyes (2, 2), score 0 to 1."""

    centre: np.ndarray
    side: float
    eyes: np.ndarray
    score: float

    @property
    def roll(self) -> float:
        """Angle of the line from the eye on the left to the eye on the right, in radians, clockwise."""
        across = self.eyes[1] - self.eyes[0]
        return float(np.arctan2(across[1], across[0]))


class FaceDetectors:
    """BlazeFace (Bazarevsky 2019), short and full range: the first finds large faces, the second small ones."""

    def __init__(self, min_confidence: float = 0.5) -> None:
        from mediapipe.python.solutions.face_detection import FaceDetection

        with quiet_stderr():
            self._detectors = [FaceDetection(min_confidence, model_selection=kind) for kind in (0, 1)]
            for detector in self._detectors:  # what MediaPipe logs, it logs in the first run
                detector.process(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, image: np.ndarray, near: bool = True, far: bool = True) -> list[Detection]:
        """Faces in (H, W, 3) uint8 RGB, shrunk with an anti-aliasing filter: brush strokes must not become noise."""
        height, width = image.shape[:2]
        size = np.array([width, height], np.float64)
        found = []
        for detector, side, wanted in zip(self._detectors, DETECTOR_SIDES, (near, far), strict=True):
            if not wanted:
                continue
            detections = detector.process(np.ascontiguousarray(shrunk(image, side / max(height, width)))).detections
            for detection in detections or []:
                place = detection.location_data
                box = place.relative_bounding_box
                corner, extent = np.array([box.xmin, box.ymin]) * size, np.array([box.width, box.height]) * size
                eyes = np.array([(point.x, point.y) for point in place.relative_keypoints[:2]]) * size
                found.append(Detection(corner + extent / 2, float(extent.max()), eyes, float(detection.score[0])))
        return found

    def close(self) -> None:
        """Free both graphs."""
        for detector in self._detectors:
            detector.close()


class PersonNetwork:
    """MediaPipe's selfie segmentation, general model."""

    def __init__(self) -> None:
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        with quiet_stderr():
            self._network = SelfieSegmentation(model_selection=0)
            self(np.zeros((PERSON_SIDE, PERSON_SIDE, 3), np.uint8))

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """Probability of a person (256, 256) float32 for a crop (256, 256, 3) uint8 RGB."""
        return self._network.process(np.ascontiguousarray(crop)).segmentation_mask

    def close(self) -> None:
        """Free the graph."""
        self._network.close()


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """`image` made smaller by the mean over areas; given back as it is if `scale` is 1 or more."""
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


_STDERR = threading.RLock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send the process's standard error nowhere while MediaPipe starts: its C++ logs there and takes no setting."""
    with _STDERR:
        os.environ.setdefault("GLOG_minloglevel", "3")
        try:
            saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        except OSError:  # no standard error: nothing to keep quiet
            yield
            return
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)
