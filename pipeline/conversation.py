"""ConversationalHeadPipeline: the one object that the page, the command line and programs use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clip import HeadClip, Progress
from pipeline.clock import SAMPLE_RATE, frame_count
from pipeline.coefficients import Coefficients
from pipeline.errors import InputError
from pipeline.face.morphable import MorphableModel
from pipeline.face.portrait import Portrait
from pipeline.hub import HubOptions, Weights, find_weights
from pipeline.hub_share import SharedWeights

if TYPE_CHECKING:
    from typing import Unpack

    from PIL.Image import Image

    from pipeline.drivers.talking import TalkingDriver
    from pipeline.face.tracker import FaceTracker
    from pipeline.renderers.mesh import MeshRenderer

    Picture = str | os.PathLike[str] | np.ndarray | Image

LONGEST_SIDE = 1920
_LEAST_SIDE, _MOST_SIDE = 64, 4096
_MOST_SEED = 2**63 - 1
RENDERERS = ("mesh",)
_SILENT = "The sound is silent throughout, so the lips rest; give sound with speech in it to see them move."


class ConversationalHeadPipeline(SharedWeights):
    """From one portrait and sound (or a driving video) to a clip of that head.

    Components are loaded when first needed and then shared; the object may be used by several threads.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._local = threading.local()
        self._loading = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        **options: Unpack[HubOptions],
    ) -> ConversationalHeadPipeline:
        """Use the weights of a folder, of "owner/repo" on the Hub, or (None) the embedded ones.

        Args:
            source: see above; "owner/repo@revision" names a revision too.
            revision: branch, tag or commit on the Hub.
            options: cache_dir, token, local_files_only, force_download, as `huggingface_hub` knows them.

        Raises:
            WeightsError: if they cannot be found or read.
        """
        return cls(find_weights(source, revision, **options))

    @cached_property
    def model(self) -> MorphableModel:
        """The morphable model that all coefficients belong to."""
        return MorphableModel.load(self.weights.component("face"))

    @cached_property
    def driver(self) -> TalkingDriver:
        """The talking driver."""
        from pipeline.drivers.talking import TalkingDriver

        with self._loading:
            return TalkingDriver.from_pretrained(self.weights.component("talking"))

    def warm_up(self) -> None:
        """Load everything and run it once, so that the first clip is not the slow one."""
        from pipeline.renderers.mesh import MeshRenderer

        grey = np.full((64, 64, 3), 128, np.uint8)
        self._tracker().find(grey)
        model = self.model
        points = (model.mean * 40 + (32, 32, 0)).astype(np.float32)
        portrait = Portrait.fit(grey, points, np.ones(grey.shape[:2], np.float32), model)
        renderer = MeshRenderer.load(self.weights, portrait)
        for part in self.driver(np.zeros(SAMPLE_RATE, np.float32), portrait.coefficients):
            next(renderer.render(part))

    def portrait(self, image: Picture, size: int | None = None) -> Portrait:
        """Read, check, track, cut out and fit a portrait.

        Args:
            image: a file, a (H, W, 3) uint8 RGB array or a PIL image.
            size: pixels of the longer side of the result; None keeps the picture's own, up to 1920.

        Raises:
            PortraitError: if the picture cannot be read or holds no usable face.
            InputError: if `size` is out of range.
        """
        from pipeline.face.checks import check_portrait
        from pipeline.face.image import read_picture
        from pipeline.face.segmentation import person_alpha

        _check_range("size", size, _LEAST_SIDE, _MOST_SIDE)
        # The face is tracked and judged in the picture as it came: a small copy of a good portrait is a good portrait.
        picture = read_picture(image)
        pixels = _even(picture.pixels)
        faces = self._tracker().find(pixels)
        check = check_portrait(pixels, faces)
        resized, note = _at_size(pixels, size)
        ratio = np.array(resized.shape[1::-1]) / pixels.shape[1::-1]
        stretch = np.array([*ratio, ratio.mean()], np.float32)
        landmarks = check.face.landmarks * stretch
        others = [face.landmarks * stretch for face in faces if face is not check.face]
        alpha = person_alpha(resized, landmarks, others)
        warnings = (*picture.warnings, *note, *check.warnings)
        return Portrait.fit(resized, landmarks, alpha, self.model, warnings=warnings)

    def talk(
        self,
        portrait: Picture | Portrait,
        audio: str | os.PathLike[str],
        seed: int = 0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        size: int | None = None,
        renderer: str = "mesh",
        progress: Progress | None = None,
    ) -> HeadClip:
        """The portrait says what is heard.

        Args:
            portrait: the reference image: a file, an array, a PIL image, or what `portrait()` returned.
            audio: a sound or video file.
            seed: chooses blinks, gaze and head motion; the same seed gives the same coefficients to the byte.
            expression_scale: 0 to 2, how far lips and face move.
            motion_scale: 0 to 2, how far the head moves.
            size: pixels of the longer side; None keeps the picture's own, up to 1920.
            renderer: "mesh".
            progress: called with stage, done and total; raise `Cancelled` in it to stop.

        Returns:
            A clip of `ceil(seconds * 25)` frames with the file's sound.

        Raises:
            InputError: if an input or option cannot be used; its text says why and what to do.
        """
        from pipeline.audio.reading import probe_audio, stream_audio

        _check_range("seed", seed, 0, _MOST_SEED)
        _check_range("expression_scale", expression_scale, 0, 2)
        _check_range("motion_scale", motion_scale, 0, 2)
        info = probe_audio(audio)
        scene, draw = self._prepare(portrait, size, renderer, progress)
        warnings = list(scene.warnings)

        def coefficients() -> Iterator[Coefficients]:
            return self.driver(
                _noting_silence(stream_audio(audio), warnings),
                scene.coefficients,
                seed=seed,
                expression_scale=expression_scale,
                motion_scale=motion_scale,
                identity=scene.identity,
            )

        settings = {
            "mode": "talk",
            "seed": seed,
            "expression_scale": expression_scale,
            "motion_scale": motion_scale,
            "size": list(scene.size),
            "renderer": renderer,
        }
        frames = frame_count(max(1, round(info.seconds * SAMPLE_RATE)))
        return HeadClip(coefficients, draw.render, scene.size, audio, frames, settings, warnings, progress)

    def reenact(
        self,
        portrait: Picture | Portrait,
        video: str | os.PathLike[str],
        relative: bool = True,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        smoothing: int = 1,
        size: int | None = None,
        renderer: str = "mesh",
        progress: Progress | None = None,
    ) -> HeadClip:
        """The portrait moves as the face in a video does.

        Args:
            portrait: the reference image, as for `talk`.
            video: the driving video; its sound becomes the clip's.
            relative: True moves the portrait by the *change* of the driving face since the moment at which it is
                most like the portrait, so that identity and framing stay; False takes over expression and
                placement as they are, which is right only for the same person in the same framing.
            expression_scale: 0 to 2.
            motion_scale: 0 to 2.
            smoothing: 0 to 5, neighbours on each side over which coefficients are averaged against jitter.
            size: pixels of the longer side; None keeps the picture's own, up to 1920.
            renderer: "mesh".
            progress: called with stage, done and total; raise `Cancelled` in it to stop.

        Raises:
            InputError: if an input or option cannot be used. A video without a face is found out before the first
                frame is drawn.
        """
        from pipeline.drivers.reenactment import ReenactmentDriver
        from pipeline.postprocess.smoothing import stream_smooth_coefficients
        from pipeline.video import VideoReader

        _check_range("expression_scale", expression_scale, 0, 2)
        _check_range("motion_scale", motion_scale, 0, 2)
        _check_range("smoothing", smoothing, 0, 5)
        reader = VideoReader(video)
        scene, draw = self._prepare(portrait, size, renderer, progress)
        warnings = list(scene.warnings)
        driver = ReenactmentDriver(reader, scene, relative, expression_scale, motion_scale, warnings)
        driver.check()

        def coefficients() -> Iterator[Coefficients]:
            return stream_smooth_coefficients(driver(), smoothing)

        settings = {
            "mode": "reenact",
            "relative": relative,
            "expression_scale": expression_scale,
            "motion_scale": motion_scale,
            "smoothing": smoothing,
            "size": list(scene.size),
            "renderer": renderer,
        }
        audio = video if reader.has_sound else None
        return HeadClip(coefficients, draw.render, scene.size, audio, reader.frames, settings, warnings, progress)

    def stream(
        self, portrait: Picture | Portrait, audio: str | os.PathLike[str], **options: Any
    ) -> Iterator[np.ndarray]:
        """Frames of `talk` as they are ready: (H, W, 3) uint8 RGB."""
        yield from self.talk(portrait, audio, **options).frames

    def _prepare(
        self, portrait: Picture | Portrait, size: int | None, renderer: str, progress: Progress | None
    ) -> tuple[Portrait, MeshRenderer]:
        from pipeline.renderers.mesh import MeshRenderer

        if renderer not in RENDERERS:
            raise InputError(f"There is no renderer {renderer!r}; choose one of: {', '.join(RENDERERS)}.")
        if progress is not None:
            progress("portrait", 0, 1)
        scene = portrait if isinstance(portrait, Portrait) else self.portrait(portrait, size)
        draw = MeshRenderer.load(self.weights, scene)
        if progress is not None:
            progress("portrait", 1, 1)
        return scene, draw

    def _tracker(self) -> FaceTracker:
        """This thread's own tracker: MediaPipe's may not be shared."""
        from pipeline.face.tracker import FaceTracker

        if not hasattr(self._local, "tracker"):
            self._local.tracker = FaceTracker()
        return self._local.tracker


def _even(image: np.ndarray) -> np.ndarray:
    """The picture without its last row or column where H.264, which wants even sides, would have to add one."""
    height, width = (side - side % 2 if side > 1 else side for side in image.shape[:2])
    return np.ascontiguousarray(image[:height, :width])


def _at_size(image: np.ndarray, size: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture with its longer side at `size`, its own size if that is None, and a note if it was reduced."""
    import cv2

    longer = max(image.shape[:2])
    wanted = size or min(longer, LONGEST_SIDE)
    if wanted == longer:
        return image, ()
    width, height = (max(2, 2 * round(side * wanted / longer / 2)) for side in image.shape[1::-1])
    note = ()
    if size is None:
        note = (f"The picture was reduced from {image.shape[1]} x {image.shape[0]} to {width} x {height} pixels.",)
    method = cv2.INTER_AREA if wanted < longer else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method), note


def _noting_silence(blocks: Iterator[np.ndarray], warnings: list[str]) -> Iterator[np.ndarray]:
    """The blocks of a sound as they are, and a warning when it has ended and was silent throughout."""
    from pipeline.audio.reading import is_silent

    silent = True
    for block in blocks:
        silent = silent and is_silent(block)
        yield block
    if silent and _SILENT not in warnings:
        warnings.append(_SILENT)


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"{name} must be between {low} and {high}, not {value}.")
