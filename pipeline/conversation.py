"""ConversationalHeadPipeline: the one object that the page, the command line and programs use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.arguments import check_choice, check_range, told_name
from pipeline.attitudes import ATTITUDES
from pipeline.clip import HeadClip, Progress
from pipeline.clock import SAMPLE_RATE, frame_count
from pipeline.coefficients import Coefficients
from pipeline.errors import InputError
from pipeline.face.morphable import MorphableModel
from pipeline.face.portrait import Portrait
from pipeline.hub import HubOptions, Weights, find_weights
from pipeline.hub_share import SharedWeights
from pipeline.portraits import PortraitReading
from pipeline.renderers import DEFAULT_RENDERER, RENDERERS, load_renderer
from pipeline.sounding import with_sound

if TYPE_CHECKING:
    from typing import Unpack

    from pipeline.drivers.listening import ListeningDriver
    from pipeline.drivers.talking import TalkingDriver
    from pipeline.portraits import Picture
    from pipeline.postprocess.restoration import Drawing

_MOST_SEED = 2**63 - 1
LAYOUTS = ("listener", "side-by-side")


class ConversationalHeadPipeline(PortraitReading, SharedWeights):
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

    @cached_property
    def listener(self) -> ListeningDriver:
        """The listening driver."""
        from pipeline.drivers.listening import ListeningDriver

        with self._loading:
            return ListeningDriver.from_pretrained(self.weights.component("listening"))

    def warm_up(self) -> None:
        """Load everything and run it once, so that the first clip is not the slow one."""
        grey = np.full((64, 64, 3), 128, np.uint8)
        self._tracker().find(grey)
        model = self.model
        points = (model.mean * 40 + (32, 32, 0)).astype(np.float32)
        portrait = Portrait.fit(grey, points, np.ones(grey.shape[:2], np.float32), model)
        renderer = load_renderer(DEFAULT_RENDERER, self.weights, portrait)
        for driver in (self.driver, self.listener):
            for part in driver(np.zeros(SAMPLE_RATE, np.float32), portrait.coefficients):
                next(renderer.render(part))

    def talk(
        self,
        portrait: Picture | Portrait,
        audio: str | os.PathLike[str],
        seed: int = 0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        size: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        restore: str = "none",
        visible_tag: bool = False,
        progress: Progress | None = None,
    ) -> HeadClip:
        """The portrait says what is heard. By calling it you state that you may use this face and this voice.

        Args:
            portrait: the reference image: a file, an array, a PIL image, or what `portrait()` returned.
            audio: a sound or video file.
            seed: chooses blinks, gaze and head motion; the same seed gives the same coefficients to the byte.
            expression_scale: 0 to 2, how far lips and face move.
            motion_scale: 0 to 2, how far the head moves.
            size: pixels of the longer side; None keeps the picture's own, up to 1920.
            renderer: "refiner", or "mesh" alone; "headgan" or "pirenderer" if the weights in use hold them.
            restore: "none", "detail" or "gfpgan", see `pipeline.postprocess.restoration`.
            visible_tag: draw "AI-generated" into a corner of every frame.
            progress: called with stage, done and total; raise `Cancelled` in it to stop.

        Returns:
            A clip of `ceil(seconds * 25)` frames with the file's sound.

        Raises:
            InputError: if an input or option cannot be used; its text says why and what to do.
        """
        from pipeline.audio.notes import noting_silence
        from pipeline.audio.reading import probe_audio, stream_audio

        check_range("seed", seed, 0, _MOST_SEED)
        check_range("expression_scale", expression_scale, 0, 2)
        check_range("motion_scale", motion_scale, 0, 2)
        info = probe_audio(audio)
        scene, draw = self._prepare(portrait, size, renderer, restore, progress)
        draw.renderer = with_sound(draw.renderer, audio, lambda: self.driver.phone_net)
        warnings = [*scene.warnings, *draw.warnings]

        def coefficients() -> Iterator[Coefficients]:
            return self.driver(
                noting_silence(stream_audio(audio), warnings),
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
            "restore": restore,
            "visible_tag": visible_tag,
        }
        frames = frame_count(max(1, round(info.seconds * SAMPLE_RATE)))
        size = scene.size
        return HeadClip(coefficients, draw.start, size, audio, frames, settings, warnings, progress, None, visible_tag)

    def listen(
        self,
        portrait: Picture | Portrait,
        audio: str | os.PathLike[str] | None = None,
        attitude: str = "neutral",
        speaker_video: str | os.PathLike[str] | None = None,
        seed: int = 0,
        attitude_scale: float = 1.0,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        layout: str = "listener",
        transcript: str | None = None,
        language_model: str | None = None,
        size: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        restore: str = "none",
        visible_tag: bool = False,
        progress: Progress | None = None,
    ) -> HeadClip:
        """The portrait listens to a speaker: nods, smiles or frowns, looks, blinks; its lips stay shut.

        By calling it you state that you may use these faces and this voice.

        Args:
            portrait: the reference image, as for `talk`.
            audio: the speaker's sound, a sound or video file; None takes the sound of `speaker_video`.
            attitude: "positive", "neutral" or "negative".
            speaker_video: a video of the speaker, whose face is watched too.
            seed: chooses one of many fitting reactions; the same seed gives the same coefficients to the byte.
            attitude_scale: 0 to 2, how plainly the attitude shows.
            expression_scale: 0 to 2, how far the face moves.
            motion_scale: 0 to 2, how far the head moves.
            layout: "listener" alone, or "side-by-side" with the speaker's video on the left.
            transcript: what is said, as plain text; used with a language model only.
            language_model: a BERT's name on the Hub, or its folder, that tells the driver what the words mean; where
                there is no transcript, a recogniser from the Hub makes one. None leaves the words out.
            size: pixels of the listener's longer side; None keeps the picture's own, up to 1920.
            renderer: "refiner", or "mesh" alone; "headgan" or "pirenderer" if the weights in use hold them.
            restore: "none", "detail" or "gfpgan", see `pipeline.postprocess.restoration`.
            visible_tag: draw "AI-generated" into a corner of every frame.
            progress: called with stage, done and total; raise `Cancelled` in it to stop.

        Returns:
            A clip of `ceil(seconds * 25)` frames with the speaker's sound.

        Raises:
            InputError: if an input or option cannot be used. A speaker's video without a face is found out before
                the first frame is drawn.
        """
        from pipeline.audio.notes import noting_no_speech
        from pipeline.audio.reading import probe_audio, stream_audio
        from pipeline.side_by_side import SideBySide
        from pipeline.speaker import Speaker, sound_of, words_of
        from pipeline.video import VideoReader

        check_choice("attitude", attitude, ATTITUDES)
        check_choice("layout", layout, LAYOUTS)
        check_range("seed", seed, 0, _MOST_SEED)
        check_range("attitude_scale", attitude_scale, 0, 2)
        check_range("expression_scale", expression_scale, 0, 2)
        check_range("motion_scale", motion_scale, 0, 2)
        video = None if speaker_video is None else VideoReader(speaker_video)
        if audio is None:
            audio = sound_of(video)
        frames = frame_count(max(1, round(probe_audio(audio).seconds * SAMPLE_RATE)))
        if video is None and layout == "side-by-side":
            raise InputError("There is no video of the speaker to show at the side; give one, or leave the layout.")
        scene, draw = self._prepare(portrait, size, renderer, restore, progress)
        warnings = [*scene.warnings, *draw.warnings]
        speaker = None if video is None else Speaker(video, frames, self.model, warnings, progress)
        words = words_of(audio, transcript, language_model, self.listener, warnings)

        def coefficients() -> Iterator[Coefficients]:
            faces = None if speaker is None else speaker.faces()
            yield from self.listener(
                noting_no_speech(stream_audio(audio), warnings),
                scene.coefficients,
                attitude=attitude,
                seed=seed,
                attitude_scale=attitude_scale,
                expression_scale=expression_scale,
                motion_scale=motion_scale,
                identity=scene.identity,
                speaker=faces,
                words=words,
            )
            for _ in faces or ():  # what is odd about the video is known at its end
                pass

        settings = {
            "mode": "listen",
            "attitude": attitude,
            "seed": seed,
            "attitude_scale": attitude_scale,
            "expression_scale": expression_scale,
            "motion_scale": motion_scale,
            "layout": layout,
            "language_model": language_model and told_name(language_model),
            "size": list(scene.size),
            "renderer": renderer,
            "restore": restore,
            "visible_tag": visible_tag,
        }
        beside = SideBySide(video, speaker.box, scene.size) if layout == "side-by-side" else None
        size_shown = scene.size if beside is None else beside.size
        return HeadClip(
            coefficients, draw.start, size_shown, audio, frames, settings, warnings, progress, beside, visible_tag
        )

    def reenact(
        self,
        portrait: Picture | Portrait,
        video: str | os.PathLike[str],
        relative: bool = True,
        expression_scale: float = 1.0,
        motion_scale: float = 1.0,
        smoothing: int = 1,
        size: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        restore: str = "none",
        visible_tag: bool = False,
        progress: Progress | None = None,
    ) -> HeadClip:
        """The portrait moves as the face in a video does. By calling it you state that you may use both faces.

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
            renderer: "refiner", or "mesh" alone; "headgan" or "pirenderer" if the weights in use hold them.
            restore: "none", "detail" or "gfpgan", see `pipeline.postprocess.restoration`.
            visible_tag: draw "AI-generated" into a corner of every frame.
            progress: called with stage, done and total; raise `Cancelled` in it to stop.

        Raises:
            InputError: if an input or option cannot be used. A video without a face is found out before the first
                frame is drawn.
        """
        from pipeline.drivers.reenactment import ReenactmentDriver
        from pipeline.postprocess.smoothing import stream_smooth_coefficients
        from pipeline.video import VideoReader

        check_range("expression_scale", expression_scale, 0, 2)
        check_range("motion_scale", motion_scale, 0, 2)
        check_range("smoothing", smoothing, 0, 5)
        reader = VideoReader(video)
        scene, draw = self._prepare(portrait, size, renderer, restore, progress)
        audio = video if reader.has_sound else None
        draw.renderer = with_sound(draw.renderer, audio, lambda: self.driver.phone_net)
        warnings = [*scene.warnings, *draw.warnings]
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
            "restore": restore,
            "visible_tag": visible_tag,
        }
        length, size = reader.frames, scene.size
        return HeadClip(coefficients, draw.start, size, audio, length, settings, warnings, progress, None, visible_tag)

    def stream(
        self, portrait: Picture | Portrait, audio: str | os.PathLike[str], **options: Any
    ) -> Iterator[np.ndarray]:
        """Frames of `talk` as they are ready: (H, W, 3) uint8 RGB."""
        yield from self.talk(portrait, audio, **options).frames

    def _prepare(
        self, portrait: Picture | Portrait, size: int | None, renderer: str, restore: str, progress: Progress | None
    ) -> tuple[Portrait, Drawing]:
        from pipeline.postprocess.restoration import Drawing, check_restoration, load_restoration

        check_choice("renderer", renderer, tuple(RENDERERS))
        check_restoration(restore, self.weights)
        if progress is not None:
            progress("portrait", 0, 1)
        scene = portrait if isinstance(portrait, Portrait) else self.portrait(portrait, size)
        draw = Drawing(load_renderer(renderer, self.weights, scene), load_restoration(restore, self.weights, scene))
        if progress is not None:
            progress("portrait", 1, 1)
        return scene, draw
